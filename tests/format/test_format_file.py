from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from minibert.errors import FormatError, InputError, MinibertError
from minibert.format import (
    Config,
    HeadLayer,
    Linear,
    Table,
    expected_tensors,
    pack_tokenizer,
    read_model,
    unpack_tokenizer,
    write_model,
)
from minibert.format import writer as writer_module
from tests.format.models import CONFIGS, TOKENIZER, make_config, make_tensors, shared_layers
from tests.format.tokenizers import small_json

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_written_is_what_is_read(kind, tmp_path):
    config = CONFIGS[kind]
    tensors = make_tensors(config)
    path = tmp_path / "model.safetensors"
    size = write_model(path, config, tensors)
    file = read_model(str(path))
    assert size == path.stat().st_size == file.size
    assert file.path == str(path)
    assert file.config == config
    if config.text.tables is None:
        assert file.tokenizer_json() == TOKENIZER
    else:
        assert json.loads(file.tokenizer_json()) == json.loads(small_json("words"))
    assert list(file.tensors) == [*expected_tensors(config), "tokenizer.json"]
    for name, tensor in file.tensors.items():
        written = tensors[config.aliases.get(name, name)]
        assert tensor.dtype == written.dtype
        np.testing.assert_array_equal(tensor, written)


def test_tensors_are_aligned_views_that_nobody_can_write(model_path):
    file = read_model(model_path)
    for name, tensor in file.tensors.items():
        assert not tensor.flags.owndata
        assert not tensor.flags.writeable
        assert tensor.flags.c_contiguous
        if name != "tokenizer.json":
            assert tensor.ctypes.data % 64 == 0, name
        with pytest.raises(ValueError, match="read-only"):
            tensor[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            tensor.flags.writeable = True


def test_any_safetensors_reader_opens_the_file(model_path):
    file = read_model(model_path)
    plain = load_file(model_path)
    with safe_open(model_path, "numpy") as opened:
        metadata = opened.metadata()
        assert {key: metadata[key] for key in ("format", "version")} == {"format": "minibert", "version": "1"}
    stored = {name for name in file.tensors if name not in file.config.aliases}
    assert {name for name in plain if not name.endswith(".padding")} == stored
    for name in stored:
        assert plain[name].dtype == file.tensors[name].dtype
        np.testing.assert_array_equal(plain[name], file.tensors[name])


def test_tables_that_would_spoil_the_alignment_are_padded(model_files):
    # 23 rows of 48 bytes are 1104, 16 short of a multiple of 64.
    plain = load_file(model_files["int8"])
    assert plain["embeddings.word.weight.padding"].shape == (48,)
    assert plain["embeddings.word.weight.padding"].dtype == np.int8
    assert not any(name.endswith(".padding") for name in read_model(model_files["int8"]).tensors)


def test_an_alias_is_the_very_same_array_and_stored_once(model_files):
    file = read_model(model_files["shared"])
    assert file.config.aliases
    for name, target in file.config.aliases.items():
        assert file.tensors[name] is file.tensors[target]
    alone = make_config(layers=4)
    assert file.size < 0.6 * sum(tensor.nbytes for tensor in make_tensors(alone).values())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    """In other processes too: the library's own order of the metadata changes with the seed of its hashes."""
    script = (
        "import sys; from minibert.format import write_model; from tests.format.models import CONFIGS, make_tensors;"
        "write_model(sys.argv[1], CONFIGS['int8'], make_tensors(CONFIGS['int8']))"
    )
    contents = set()
    for number in range(3):
        path = tmp_path / f"{number}.safetensors"
        subprocess.run([sys.executable, "-c", script, path], check=True, cwd=ROOT)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_rewriting_what_was_read(model_path, tmp_path):
    file = read_model(model_path)
    write_model(tmp_path / "again.safetensors", file.config, file.tensors)
    assert (tmp_path / "again.safetensors").read_bytes() == model_path.read_bytes()


def test_a_file_can_be_replaced_while_it_is_mapped(tmp_path, model):
    config, tensors = model
    path = tmp_path / "model.safetensors"
    write_model(path, config, tensors)
    old = read_model(path)
    write_model(path, config, make_tensors(config, seed=1))
    np.testing.assert_array_equal(old.tensors["layers.0.ffn.up.weight"], tensors["layers.0.ffn.up.weight"])
    assert not np.array_equal(read_model(path).tensors["layers.0.ffn.up.weight"], tensors["layers.0.ffn.up.weight"])


def test_reading_leaves_the_weights_on_disk(tmp_path):
    """Of 48 MB no more comes into memory than of 0.2 MB: the header, and what the reader proves."""
    in_memory = {}
    for rows in (1_000, 250_000):
        config = make_config()
        architecture = replace(config.architecture, vocab_size=rows)
        tables = {**config.tables, "embeddings.word": Table("float32", rows)}
        config = replace(config, architecture=architecture, tables=tables)
        path = tmp_path / f"{rows}.safetensors"
        size = write_model(path, config, make_tensors(config))
        file = read_model(path)
        in_memory[rows] = bytes_in_memory(path)
    assert size > 40_000_000
    assert 0 < in_memory[250_000] <= in_memory[1_000] + (1 << 18)  # the system reads ahead
    file.tensors["embeddings.word.weight"].sum()
    assert bytes_in_memory(path) > 40_000_000  # and now all of it is there


def bytes_in_memory(path) -> int:
    """How much of a file this process has in memory, by its maps of it."""
    resident, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.partition(" ")[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            resident += 1024 * int(line.split()[1])
    return resident


def test_a_model_of_minilm_size(tmp_path):
    from minibert.format import Architecture, Layer, Task, TextConfig

    linears = {}
    for number in range(6):
        linears[f"layers.{number}.attention.qkv"] = Linear("int8", 384, 1152, True)
        linears[f"layers.{number}.attention.output"] = Linear("int8", 384, 384, True)
        linears[f"layers.{number}.ffn.up"] = Linear("int8", 384, 1536, True)
        linears[f"layers.{number}.ffn.down"] = Linear("int8", 1536, 384, True)
    config = Config(
        Architecture("bert", 384, 32, 30522, 512, 2, 1e-12, "gelu", (Layer(12, 1536),) * 6, "mean", normalize=True),
        Task("sentence-embedding"),
        TextConfig(256),
        linears,
        {
            "embeddings.word": Table("int8", 30522),
            "embeddings.position": Table("int8", 512),
            "embeddings.token_type": Table("int8", 2),
        },
    )
    path = tmp_path / "minilm.safetensors"
    assert write_model(path, config, make_tensors(config)) < 24_000_000
    assert read_model(path).config == config
    assert bytes_in_memory(path) < 1_000_000


def test_reading_imports_neither_safetensors_nor_compression(model_files):
    script = (
        "import sys; from minibert.format import read_model; read_model(sys.argv[1]);"
        "names = {'safetensors', 'tokenizers', 'numba', 'minibert_converter'} & set(sys.modules);"
        "sys.exit(str(names) if names else 0)"
    )
    subprocess.run([sys.executable, "-c", script, model_files["int8"]], check=True, cwd=ROOT)


def test_the_mapping_outlives_the_file_object(model_files):
    tensor = read_model(model_files["int8"]).tensors["layers.1.ffn.norm.bias"]
    assert np.isfinite(tensor).all()


def test_open_files_do_not_pile_up(model_files):
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        pytest.skip("counts open files by /proc")
    before = len(os.listdir(folder))
    for _ in range(50):
        read_model(model_files["int8"])
    assert len(os.listdir(folder)) <= before + 1


# Writing what must not be written.


def test_writer_names_the_tensor_that_is_wrong(tmp_path, model):
    config, tensors = model
    path = tmp_path / "model.safetensors"
    weight = tensors["layers.0.ffn.up.weight"]
    bias = tensors["layers.0.ffn.up.bias"]
    infinite = bias.copy()
    infinite[3] = np.inf
    lowest = weight.copy()
    lowest[0, 0, 0, 0] = -128
    changes = [
        ("layers.0.ffn.up.weight", None, "missing"),
        ("layers.0.ffn.up.weight", weight[:1], "calls for"),
        ("layers.0.ffn.up.weight", weight.astype(np.int16), "calls for"),
        ("layers.0.ffn.up.weight", lowest, "-128"),
        ("layers.0.ffn.up.weight_sum", np.zeros_like(tensors["layers.0.ffn.up.weight_sum"]), "sums"),
        ("layers.0.ffn.up.bias", bias.astype(np.float64), "calls for"),
        ("layers.0.ffn.up.bias", infinite, "not finite"),
        ("embeddings.norm.weight", np.full(48, np.nan, np.float32), "not finite"),
        ("surprise", bias, "not one that the config calls for"),
        ("tokenizer.json", None, "missing"),
        ("tokenizer.json", np.zeros(9, np.uint8), "damaged"),
        ("tokenizer.json", pack_tokenizer("{}")[:-1], "damaged"),
        ("tokenizer.json", bias, "missing"),
    ]
    for name, tensor, words in changes:
        spoiled = {**tensors, name: tensor}
        if tensor is None:
            del spoiled[name]
        with pytest.raises(FormatError, match=words) as caught:
            write_model(path, config, spoiled)
        assert f"'{name}'" in str(caught.value)
        assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_writer_names_what_is_wrong_with_blocks(tmp_path):
    config = CONFIGS["sparse"]
    tensors = make_tensors(config)
    path = tmp_path / "model.safetensors"
    name = "layers.0.ffn.down"
    blocks, index, starts = (tensors[f"{name}.{part}"] for part in ("blocks", "index", "starts"))
    lowest, beyond, falling = blocks.copy(), index.copy(), starts.copy()
    lowest[3, 2, 1] = -128
    beyond[7] = 16
    falling[5] = falling[6] + 1
    changes = [
        ("blocks", blocks[:-1], "calls for"),
        ("blocks", blocks.reshape(-1, 16), "calls for"),
        ("blocks", lowest, "-128"),
        ("blocks", None, "missing"),
        ("index", index.astype(np.int32), "calls for"),
        ("index", beyond, "block 7"),
        ("index", index[::-1], "must rise"),
        ("starts", starts.astype(np.int64), "calls for"),
        ("starts", starts + 1, "begins at block 1"),
        ("starts", falling, "group 5 "),
        ("weight_sum", tensors[f"{name}.weight_sum"] + 1, "sums"),
    ]
    for part, tensor, words in changes:
        spoiled = {**tensors, f"{name}.{part}": tensor}
        if tensor is None:
            del spoiled[f"{name}.{part}"]
        with pytest.raises(FormatError, match=words) as caught:
            write_model(path, config, spoiled)
        assert f"'{name}.{part}'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "value", "words"), [("codes", 0x80, "-8"), ("codes", 8, "-8"), ("multiplier", 19, "18")]
)
def test_writer_names_what_is_wrong_with_4_bit_codes(tmp_path, part, value, words):
    config = CONFIGS["compact"]
    tensors = make_tensors(config)
    name = f"embeddings.position.{part}"
    tensors[name][3, 1] = value
    with pytest.raises(FormatError, match=words) as caught:
        write_model(tmp_path / "model.safetensors", config, tensors)
    assert f"'{name}'" in str(caught.value)


def test_writer_proves_what_an_alias_stands_for(tmp_path):
    """An alias joins tensors that are right by themselves; together they may be wrong."""
    config = CONFIGS["shared_sparse"]
    tensors = make_tensors(config)
    name = "layers.1.ffn.up.weight_sum"
    config = replace(config, aliases={key: value for key, value in config.aliases.items() if key != name})
    write_model(tmp_path / "model.safetensors", config, {**tensors, name: tensors["layers.0.ffn.up.weight_sum"]})
    with pytest.raises(FormatError, match=name):
        write_model(
            tmp_path / "other.safetensors", config, {**tensors, name: tensors["layers.0.ffn.up.weight_sum"] + 1}
        )


@pytest.mark.parametrize(
    "report", [{"loss": float("nan")}, {"loss": np.float32(1)}, {"text": "\ud800"}, {1: object}], ids=str
)
def test_writer_refuses_a_config_that_is_no_json(tmp_path, model, report):
    config, tensors = model
    with pytest.raises(FormatError, match="JSON"):
        write_model(tmp_path / "model.safetensors", replace(config, report=report), tensors)


def test_writer_refuses_a_config_that_the_reader_would_refuse(tmp_path, model):
    config, tensors = model
    for spoiled in (
        replace(config, architecture=replace(config.architecture, hidden_size=np.int64(40))),
        replace(config, architecture=replace(config.architecture, layer_norm_eps=0.0)),
        replace(config, architecture=replace(config.architecture, head=(HeadLayer("pooler"),))),
        replace(config, task=replace(config.task, labels=("a", "b"))),
    ):
        with pytest.raises(FormatError, match=r"model\.safetensors.*config"):
            write_model(tmp_path / "model.safetensors", spoiled, tensors)


def test_writer_refuses_an_alias_that_holds_something_else(tmp_path):
    config = shared_layers(make_config())
    tensors = make_tensors(config)
    name = next(iter(config.aliases))
    with pytest.raises(FormatError, match=name):
        write_model(tmp_path / "model.safetensors", config, {**tensors, name: tensors[config.aliases[name]] + 1})


def test_writer_wants_a_place_to_write(tmp_path, model):
    with pytest.raises(InputError, match="is a folder"):
        write_model(tmp_path, *model)
    with pytest.raises(InputError, match="no such folder"):
        write_model(tmp_path / "nowhere" / "model.safetensors", *model)


def test_the_old_file_survives_a_failure(tmp_path, model, monkeypatch):
    config, tensors = model
    path = tmp_path / "model.safetensors"
    write_model(path, config, tensors)
    before = path.read_bytes()

    def no_space(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer_module.os, "fsync", no_space)
        with pytest.raises(MinibertError, match="No space left"):
            write_model(path, config, make_tensors(config, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "read_model", lambda path: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            write_model(path, config, make_tensors(config, seed=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="symbolic links and modes of POSIX")
def test_writer_follows_links_and_honours_the_umask(tmp_path, model):
    (tmp_path / "store").mkdir()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "store" / "real.safetensors")
    mask = os.umask(0o027)
    try:
        write_model(tmp_path / "link.safetensors", *model)
    finally:
        os.umask(mask)
    assert (tmp_path / "link.safetensors").is_symlink()
    assert (tmp_path / "store" / "real.safetensors").stat().st_mode & 0o777 == 0o640


def test_two_writers_and_a_reader_at_once(tmp_path, model):
    """A reader always finds one whole model or the other."""
    config, _ = model
    path = tmp_path / "model.safetensors"
    models = [make_tensors(config, seed) for seed in (0, 1)]
    write_model(path, config, models[0])
    wanted = {tensors["layers.0.ffn.up.weight"].tobytes() for tensors in models}
    threads = [
        threading.Thread(target=lambda tensors=tensors: [write_model(path, config, tensors) for _ in range(10)])
        for tensors in models
    ]
    for thread in threads:
        thread.start()
    reads = 0
    while any(thread.is_alive() for thread in threads) or not reads:
        assert read_model(path).tensors["layers.0.ffn.up.weight"].tobytes() in wanted
        reads += 1
    for thread in threads:
        thread.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_tokenizer_packs_and_unpacks():
    for text in ("", "{}", "naïve ✓ 🤗\n", "x" * 1_000_000):
        assert unpack_tokenizer(pack_tokenizer(text)) == text
    with pytest.raises(FormatError, match=r"tokenizer\.json"):
        pack_tokenizer("\ud800")
