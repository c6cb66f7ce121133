"""Thousands of damaged tables: each is refused with a FormatError, or any text runs through them, to ids of words."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import pytest

from minibert.engine import library
from minibert.format import read_model, write_model
from tests.format.forge import Forge
from tests.format.models import tables_config
from tests.format.random_models import bytes_of, file_of
from tests.format.test_format_fuzz import outcome
from tests.format.token_mutations import mutate_tokens
from tests.format.tokenizers import NAMES, VOCAB_SIZE, read_texts, small_tables


@pytest.fixture(scope="module")
def forges(tmp_path_factory) -> dict[str, Forge]:
    """A small file with each of the tokenizers."""
    made = {}
    for name in NAMES:
        made[name] = Forge(_content(name), tmp_path_factory.mktemp("forges"))
    return made


def _content(name: str) -> bytes:
    return bytes_of(*file_of(tables_config(name, VOCAB_SIZE).to_json(), 0, small_tables(name).rest))


def test_damaged_tables_are_refused_or_run(forges, tmp_path, fuzz_rounds):
    counts: Counter[str] = Counter()
    rounds = fuzz_rounds if fuzz_rounds > 1000 else fuzz_rounds // 4  # some seconds, unless more is asked for
    for number in range(rounds):
        rng = random.Random(f"tokens {number}")  # so that one failing round can be repeated alone
        name = rng.choice(NAMES)
        what = f"round {number} ({name})"
        content = mutate_tokens(forges[name].copy(), rng)
        file, refusal = outcome(lambda content=content: read_model(content), what)
        if file is None or file.config.text.tables is None:
            assert file is not None or refusal.startswith("bytes: "), what
            counts["not read"] += 1
            continue
        tensors, refusal = outcome(file.token_tables, what)
        text, why = outcome(file.tokenizer_json, what)
        outcome(file.tokenizer_rest, what)
        assert isinstance(text, str) or why.startswith("bytes: "), what
        if rng.random() < 0.02:
            target = tmp_path / f"{number}.safetensors"
            arguments = (target, file.config, file.tensors)
            written, unwritten = outcome(lambda arguments=arguments: write_model(*arguments), what)
            assert (written is not None) == (text is not None), f"{what}: {unwritten or why}"
        if tensors is None:
            assert refusal.startswith("bytes: "), what
            assert len(refusal) < 1000, what
            counts["refused"] += 1
            continue
        try:
            ids = [*read_texts(file.config.text.tables, tensors, VOCAB_SIZE)]
            if library.can_compile():  # on raw memory: whoever leaves the tables may end the process
                _ = [*read_texts(file.config.text.tables, tensors, VOCAB_SIZE, library.kernels().run)]
        except BaseException as error:
            raise AssertionError(f"{what}: {error!r}") from error
        counts["ran"] += 1
        counts["like before"] += ids == _whole(name)
    if rounds >= 250:
        for each in ("not read", "refused", "ran"):
            assert counts[each] > 0.05 * rounds, counts
        assert counts["like before"] < counts["ran"]


@cache
def _whole(name: str) -> list[list[int]]:
    """What a tokenizer makes of the texts when nothing is wrong with it."""
    file = read_model(_content(name))
    return [*read_texts(small_tables(name).tokenization, file.token_tables(), VOCAB_SIZE)]
