"""Thousands of damaged files: each is refused with a FormatError, or is a model proven to the last byte."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load

from minibert.errors import FormatError
from minibert.format import ModelFile, expected_tensors, read_model
from minibert.format.constants import BLOCK_KINDS
from tests.format.forge import Forge
from tests.format.mutations import mutate


def test_damaged_files_are_refused_or_whole(model_files, tmp_path, fuzz_rounds):
    whole = {kind: Forge(path.read_bytes(), tmp_path) for kind, path in model_files.items()}
    path = tmp_path / "fuzzed.safetensors"
    accepted = changed = 0
    for number in range(fuzz_rounds):
        rng = random.Random(number)  # so that one failing round can be repeated alone
        kind = rng.choice(list(whole))
        content = mutate(whole[kind].copy(), rng)
        path.write_bytes(content)
        file, refusal = outcome(lambda: read_model(path), f"round {number} ({kind})")
        if file is None:
            assert refusal.startswith(f"{path}: "), number
            assert len(refusal) < 1000, number
            continue
        accepted += 1
        changed += file.config != read_model(model_files[kind]).config
        assert_proven(file, content, number)
        text, refusal = outcome(file.tokenizer_json, f"round {number} ({kind}), tokenizer")
        assert isinstance(text, str) or "tokenizer.json" in refusal, number
    # Most damage must be found, and some (weights, words of a label, sizes that cancel out) can't be: both happened.
    if fuzz_rounds >= 500:
        assert 0.02 * fuzz_rounds < accepted < 0.5 * fuzz_rounds
        assert changed


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork, mprotect and /proc")
def test_files_that_pass_run_within_their_own_memory(fuzz_rounds):
    """In a process of its own, which has no threads to fork with."""
    command = [sys.executable, "-m", "tests.format.fuzz", "--seed", "0", "--rounds", str(max(1, fuzz_rounds // 10))]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert " 0 failures, {'answered': " in found.stdout


def outcome(call, what):
    """What a call returns, or the message of its FormatError; any other exception fails the test."""
    try:
        return call(), ""
    except FormatError as error:
        return None, str(error)
    except BaseException as error:
        raise AssertionError(f"{what} raised {error!r}") from error


def assert_proven(file: ModelFile, content: bytes, number: int) -> None:
    """What the kernels rely on, established anew: by the safetensors library and by addresses."""
    plain = load(content)
    specs = expected_tensors(file.config)
    assert set(file.tensors) == {*specs, "tokenizer.json"}, number
    buffer = np.frombuffer(_base(file.tensors["tokenizer.json"]), np.uint8)
    start, end = buffer.ctypes.data, buffer.ctypes.data + buffer.size
    assert buffer.size == len(content) == file.size, number
    dtypes = {"F32": np.float32, "I32": np.int32, "U16": np.uint16, "I8": np.int8, "U8": np.uint8}
    places = [f"{name}.{part}" for name in file.config.linears for part in ("index", "starts")]
    for name, spec in specs.items():
        tensor = file.tensors[name]
        assert tensor.dtype == dtypes[spec.dtype], number
        assert tensor.shape == spec.shape, number
        assert tensor.flags.c_contiguous, number
        assert not tensor.flags.writeable, number
        assert tensor.ctypes.data % 64 == 0, number
        inside = start <= tensor.ctypes.data <= tensor.ctypes.data + tensor.nbytes <= end
        assert inside != (name in places), number  # these are copies, which no change of the file reaches
        np.testing.assert_array_equal(tensor, plain[file.config.aliases.get(name, name)])
    for name, linear in file.config.linears.items():
        if linear.kind in BLOCK_KINDS:
            assert_blocks_lie_within(name, linear, file.tensors, number)
        if linear.kind == "int4-4x4":
            assert len(file.tensors[f"{name}.codes"]) == 8 * len(file.tensors[f"{name}.multiplier"]), number
            assert 0 <= len(file.tensors[f"{name}.codes"]) - linear.blocks < 8, number
            assert not file.tensors[f"{name}.codes"][linear.blocks :].any(), number
        if linear.kind in ("int4", "int4-4x4"):
            assert set(file.tensors[f"{name}.multiplier"].reshape(-1).tolist()) <= set(range(1, 19)), number


def assert_blocks_lie_within(name, linear, tensors, number) -> None:
    """A kernel's walk over the blocks, taken slowly."""
    seen = set()
    index, starts = tensors[f"{name}.index"].tolist(), tensors[f"{name}.starts"].tolist()
    for group in range(len(starts) - 1):
        for block in range(starts[group], starts[group + 1]):
            assert 0 <= block < linear.blocks == len(index), number
            assert 4 * group < linear.out_features, number
            assert 0 <= 4 * index[block] < linear.in_features, number
            assert block == starts[group] or index[block] > index[block - 1], number
            assert block not in seen, number
            seen.add(block)
    assert len(seen) == linear.blocks, number


def _base(tensor):
    while isinstance(tensor, np.ndarray):
        tensor = tensor.base
    return getattr(tensor, "obj", tensor)  # NumPy holds a memoryview of the mapping
