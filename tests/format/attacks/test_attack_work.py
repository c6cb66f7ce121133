"""Small files that ask for much work: refused in bounded time and memory, with the limit in the message."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from minibert.engine import Engine, executor
from minibert.engine.lower import lower
from minibert.errors import FormatError, MinibertError, UnsupportedError
from minibert.format import Architecture, Config, Layer, Linear, expected_tensors, read_model
from minibert.plan import build_plan
from tests.format.models import CONFIGS, make_config
from tests.format.random_models import bytes_of, file_of

#: Seconds of CPU, where quadratic work would take hours: ten times what these tests take.
BOUND = 30


def test_a_key_that_comes_twice_among_very_many(forge):
    keys = ",".join(f'"{number}":0' for number in range(200_000))
    forge.metadata["config"] = "CONFIG"
    forge.config = None
    text = json.dumps({"__metadata__": forge.metadata})
    start = time.process_time()
    forge.refused("'last'", "twice", content=forge.bytes(f'{{{keys},"last":0,"last":0}}'))
    forge.refused(
        "'last'",
        "twice",
        content=forge.bytes(text.replace("CONFIG", f'{{{keys},"last":0,"last":0}}'.replace('"', '\\"'))),
    )
    forge.refused("'0'", "twice", content=forge.bytes("{" + ",".join([keys] * 2)[: 7 << 20].rpartition(",")[0] + "}"))
    assert time.process_time() - start < BOUND


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("architecture", "layers"), [{}] * 1_000_000),
        (("architecture", "head"), [0] * 1_000_000),
        (("architecture", "exits"), [{}] * 1_000_000),
        (("linears",), lambda: {str(number): {} for number in range(100_000)}),
        (("aliases",), lambda: {f"layers.{number}": "" for number in range(100_000)}),
        (("task", "labels"), [""] * 1_000_000),
        (("report",), lambda: {str(number): [] for number in range(100_000)}),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_very_many_of_each(forge, part, value):
    config = forge.config
    for key in part[:-1]:
        config = config[key]
    config[part[-1]] = value = value() if callable(value) else value
    start = time.process_time()
    if part == ("report",):
        assert forge.read().config.report == value
    else:
        forge.refused("config.")
    assert time.process_time() - start < BOUND


@pytest.mark.parametrize(
    "number", ["1." + "1" * 7_000_000, "1e" + "9" * 7_000_000, "0." + "0" * 7_000_000 + "1"], ids=len
)
def test_numbers_as_long_as_a_header(forge, number):
    forge.metadata["config"] = json.dumps(forge.config)[:-1] + f', "recipe": {{"x": {number}}}, "x": 1}}'
    forge.config = None
    start = time.process_time()
    forge.refused("config")
    assert time.process_time() - start < BOUND


def wide(**changes) -> Config:
    """An embedding model whose only unusual parts are as the caller says."""
    config = make_config("float32", "float32", layers=1, **changes)
    return replace(config, task=replace(config.task, kind="sentence-embedding", labels=()))


def with_head(config: Config, *outputs: int) -> Config:
    """The config with a head of so many outputs, each layer of 16-fold inputs."""
    names = [layer.name for layer in config.architecture.head]
    linears = dict(config.linears)
    for name, inputs, count in zip(names, (48, *outputs), outputs, strict=False):
        linears[name] = Linear("int8-4x4", inputs, count)
    return replace(config, linears=linears)


def changed(config: Config, **changes) -> Config:
    return replace(config, architecture=replace(config.architecture, **changes))


def test_matrices_without_blocks_that_multiply_for_hours():
    fine = with_head(wide(), 65536, 1 << 17)
    expected_tensors(fine)
    with pytest.raises(FormatError, match=r"for each token; the limit is 17179869184"):
        expected_tensors(with_head(wide(), 65536, 1 << 18))


def test_rows_as_wide_as_a_vocabulary_for_every_position():
    config = changed(with_head(wide(), 16, 1 << 17), position_table=False, max_positions=16384)
    tables = {name: table for name, table in config.tables.items() if name != "embeddings.position"}
    config = replace(config, tables=tables)
    expected_tensors(config)
    with pytest.raises(
        FormatError, match=r"2148\d+ numbers for a text of max_positions tokens; the limit is 2147483648"
    ):
        expected_tensors(changed(config, max_positions=16390))


def test_a_base_of_rotation_for_each_layer():
    config = make_config("float32", layers=8)
    layers = [replace(layer, rotary_base=2.0 + number % 4) for number, layer in enumerate(config.architecture.layers)]
    expected_tensors(changed(config, layers=tuple(layers)))
    layers[0] = replace(layers[0], rotary_base=9.0)
    with pytest.raises(FormatError, match="5 values of rotary_base and rotary; the limit is 4"):
        expected_tensors(changed(config, layers=tuple(layers)))


@pytest.fixture
def engine(model_files) -> Engine:
    engine = Engine(read_model(model_files["four_bit"]), threads=1)
    if engine.backend == "numpy":
        pytest.skip("the workspace is the kernels'")
    return engine


def test_a_workspace_beyond_the_limit(engine, monkeypatch):
    monkeypatch.setattr(executor, "MAX_WORKSPACE", 1000)
    with pytest.raises(UnsupportedError, match="to work in; the limit is 1000"):
        engine.forward([[1]])


def test_a_machine_without_memory(engine, model_files, monkeypatch):
    def nothing(size):
        raise MemoryError

    engine.warmup()
    monkeypatch.setattr("minibert.engine.executor.empty", nothing)
    with pytest.raises(MinibertError, match="not enough memory for 2 tokens"):
        engine.forward([[1, 2]])
    monkeypatch.setattr("minibert.format.reader.parse_json", lambda *_: nothing(0))
    with pytest.raises(MinibertError, match="not enough memory to read its header"):
        read_model(model_files["int8"])


def test_layers_that_share_blocks_share_their_dense_copy(model_files):
    """Else 256 layers would make 256 copies of what the file holds once."""
    file = read_model(model_files["shared_sparse"])
    program = lower(build_plan(file.config), file.config, file.tensors, 64, 64, "avx2", lambda density: range(8))
    names = {name: file.config.aliases.get(f"{name}.blocks", f"{name}.blocks") for name in file.config.linears}
    stored = {id(tensor) for tensor in file.tensors.values()}
    copies = [t for t in program.tensors if t.dtype == np.int8 and t.ndim == 4 and id(t) not in stored]
    sparse = [target for name, target in names.items() if file.config.linears[name].kind == "int8-4x4"]
    assert len(copies) == len(set(sparse)) < len(sparse)


def test_thresholds_below_all_float32(forge):
    """What engines compare with is one by the threshold: it overflowed."""
    config = CONFIGS["int8"].to_json()
    config["architecture"]["exits"] = [{"after": 0, "threshold": 1e-300}]
    config["linears"]["exits.0"] = Linear("float32", 48, 3).__dict__
    file = forge.read(bytes_of(*file_of(config, 0)))
    for backend in ("numpy", None):
        assert np.isfinite(Engine(file, backend=backend, threads=1).forward([[1, 2, 3]])).all()


def test_the_limits_are_above_the_largest_real_models():
    xxl = Architecture("xlm-roberta", 4096, 128, 250880, 514, 1, 1e-5, "gelu", (Layer(32, 16384),) * 48, "cls")
    multiplied = len(xxl.layers) * (4 * 4096 * 4096 + 2 * 4096 * 16384) + 250880 * 4096
    from minibert.format.agreement import MAX_ACTIVATIONS, MAX_MULTIPLICATIONS

    assert multiplied < MAX_MULTIPLICATIONS
    assert MAX_ACTIVATIONS >= 8192 * 250112  # a vocabulary of 250,000, and 8,192 positions
