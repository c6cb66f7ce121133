"""docs/FORMAT.md says what the code does: its limits, its example and its snippet are tried."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from minibert.format import (
    Config,
    constants,
    expand_four_bit,
    expected_tensors,
    read_model,
    schema,
    token_tables,
    tokenizer,
    unpack_blocks,
    unpack_int8,
)
from minibert.format.agreement import MAX_ACTIVATIONS, MAX_MULTIPLICATIONS
from minibert.format.reader import DTYPES, MAX_HEADER_BYTES
from minibert.format.values import MAX_DEPTH, MAX_NUMBER_LENGTH
from minibert.reference.linear import int8_weight
from minibert.text.components import MAX_GROWTH, MAX_WORD

PAGE = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[number]


@pytest.mark.parametrize(
    "limit",
    [
        f"at most 8 MiB ({MAX_HEADER_BYTES:,} bytes)",
        f"more than {MAX_NUMBER_LENGTH} characters",
        f"at most {MAX_DEPTH} deep",
        f"at most 64 MiB ({tokenizer.MAX_TOKENIZER_BYTES:,} bytes) expanded",
        f"`hidden_size` | 1 to {constants.MAX_HIDDEN_SIZE:,}",
        f"`head_size` | 1 to {constants.MAX_HEAD_SIZE}",
        f"`vocab_size` | 1 to {constants.MAX_VOCAB_SIZE:,}",
        f"`max_positions` | 1 to {constants.MAX_POSITIONS:,}",
        f"`token_types` | 0 to {constants.MAX_TOKEN_TYPES}",
        f"`layers` | 0 to {constants.MAX_LAYERS}",
        f"`text.characters_per_token` | default 0, up to {constants.MAX_CHARACTERS_PER_TOKEN:,}",
        f"1 to {constants.MAX_HEADS:,} heads, 1 to {constants.MAX_WIDTH:,} neurons",
        f"`head` | 0 to {constants.MAX_HEAD_LAYERS}",
        f"at most {constants.MAX_WIDTH:,} inputs, a multiple of {constants.LANES}",
        f"at most {constants.MAX_OUTPUTS:,} outputs",
        f"blocks ≤ {constants.MAX_BLOCKS:,}",
        f"multiplier from 1 to {constants.MAX_MULTIPLIER}",
        f"code in [-{constants.INT4_LIMIT}, {constants.INT4_LIMIT}]",
        f"`NAME.codebook` | I8 [P, {constants.CODEBOOK_VALUES}]",
        f"inputs / 4 ≤ {constants.MAX_WIDTH // constants.GROUP:,}",
        f"at most {constants.MAX_WIDTH * 255 * 128:,} < 2³¹",
        f"each time ≤ {MAX_MULTIPLICATIONS:,}",
        f"of any linear ≤ {MAX_ACTIVATIONS:,}",
        f"`rotary` ≤ {constants.MAX_ROTARIES}",
        f"at most {MAX_GROWTH} times as long, words of at most {MAX_WORD} characters",
        f"| `version` | `{schema.FORMAT_VERSION}` |",
        f"multiple of {constants.ALIGNMENT} bytes",
        f"up to {token_tables.MAX_NODES:,} nodes",
        f"`passes` | 0 to {token_tables.MAX_PASSES}",
        f"default 0, up to {token_tables.MAX_WORD} | of WordPiece",
        f"keys have at most {token_tables.MAX_PIECE_BYTES:,} bytes",
        f"together at most {token_tables.MAX_TRIE_BYTES >> 20} MiB",
        f"Room is nodes + {token_tables.LABELS_AT_ONCE}, rounded up to {token_tables.BLOCK_NODES}",
        f"pages U16 [{token_tables.CODE_POINTS // token_tables.PAGE:,}]",
        f"pages[c // {token_tables.PAGE}]",
        f"has {token_tables.LAST:,} added",
        f"clusters of at most {token_tables.CLUSTER_BYTES} bytes",
        f"at most {token_tables.MAX_GROWTH:,} times as long",
        *(f"| `{name}` |" for name in get_args(token_tables.PassKind)),
        *(f"`{name}`" for name in get_args(token_tables.TokenModel)),
        *(f"`{name}`" for name in DTYPES),
        *(
            f"`{name}`"
            for name in constants.ACTIVATIONS + constants.POOLINGS + constants.PROBLEM_TYPES + constants.SIMILARITIES
        ),
        *(
            f"`{name}`"
            for name in constants.TASK_KINDS + constants.LINEAR_KINDS + constants.TABLE_KINDS + constants.MODEL_TYPES
        ),
    ],
)
def test_limits_of_the_page_are_those_of_the_code(limit):
    assert limit in TEXT
    assert constants.MAX_ELEMENTS == 1 << 40
    assert constants.MAX_VOCAB_SIZE == 1 << 24
    assert constants.MAX_BLOCKS < 2**31
    assert constants.MAX_WIDTH // constants.GROUP <= 65535


def test_the_example_is_a_config():
    value = json.loads(block("json", 1))
    del value["linears"]["..."], value["tables"]["..."]
    assert set(value) == set(Config.from_json(value).to_json())


def test_the_snippet_reads_a_file(model_files, tmp_path):
    code = block("python").replace("model.safetensors", str(model_files["int8"]))
    names: dict = {}
    exec(code, names)  # the snippet of our own page
    file = read_model(model_files["int8"])
    weight = unpack_int8(file.tensors["layers.0.ffn.up.weight"])
    np.testing.assert_array_equal(names["rows"], weight)
    np.testing.assert_array_equal(names["weight"], weight * file.tensors["layers.0.ffn.up.scale"][:, None])


def test_the_snippet_for_blocks_reads_a_file(model_files):
    names: dict = {}
    for code in (block("python", 0).split("\n\nwith")[0], block("python", 1)):
        exec(code.replace("model.safetensors", str(model_files["sparse"])), names)
    file = read_model(model_files["sparse"])
    name = "layers.0.ffn.down"
    parts = [file.tensors[f"{name}.{part}"] for part in ("blocks", "index", "starts")]
    weight = unpack_blocks(*parts, file.config.linears[name].in_features)
    assert weight.any()
    np.testing.assert_array_equal(names["rows"], weight)


def test_the_snippet_for_blocks_of_four_bits_reads_a_file(model_files):
    before, read, *loop = re.split(r"(?<=\n)(?=    blocks|    index|\nrows)", block("python", 1))
    codes = "".join(f"    {line}\n" for line in block("python", 2).splitlines())
    names: dict = {}
    for code in (block("python", 0).split("\n\nwith")[0], before + codes + "".join(loop)):
        exec(code.replace("model.safetensors", str(model_files["sparse_four_bit"])), names)
    assert "blocks" in read
    file = read_model(model_files["sparse_four_bit"])
    name = "layers.0.ffn.down"
    weight = int8_weight(name, file.config.linears[name], file.tensors)
    assert weight.any()
    np.testing.assert_array_equal(names["rows"], weight)


@pytest.mark.parametrize("name", ["layers.0.ffn.down", "layers.0.ffn.up"])  # int4, codebook
def test_the_snippet_for_four_bits_reads_a_file(model_files, name):
    names: dict = {}
    for code in (block("python", 0).split("\n\nwith")[0], block("python", 3).replace("layers.0.ffn.down", name)):
        exec(code.replace("model.safetensors", str(model_files["four_bit"])), names)
    file = read_model(model_files["four_bit"])
    weight = unpack_int8(expand_four_bit(name, file.config.linears[name], file.tensors))
    assert weight.any()
    np.testing.assert_array_equal(names["rows"], weight)


def test_every_tensor_has_its_row_on_the_page(model_files):
    for path in model_files.values():
        for name in expected_tensors(read_model(path).config):
            assert f"`NAME.{name.rpartition('.')[2]}`" in PAGE or f"`{name}`" in PAGE, name


def test_every_key_of_tables_has_its_row_on_the_page():
    for kind in (token_tables.Tokenization, token_tables.Pass, token_tables.FrameTokens, token_tables.TrieSize):
        for key in fields(kind):
            assert re.search(rf"[`{{ ]{key.name}[`, =}}]", PAGE), key.name
