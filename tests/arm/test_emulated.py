"""The engine on emulated cores, those of Raspberry Pis first: the same integers, never an instruction they lack."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from tests.arm.answers import answers
from tests.arm.conftest import Pi


@pytest.fixture(scope="session")
def expected() -> dict[str, list[float]]:
    """What NumPy answers on this machine."""
    return answers("numpy")


def test_kernels_are_those_of_the_core(pi: Pi):
    done = pi.python("-m", "minibert", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["backend"], found["kernels"]) == ("prebuilt", pi.isa)
    assert found["instruction_sets"][0] == pi.isa
    assert ("asimddp" in found["features"], "i8mm" in found["features"]) == (pi.isa != "neon", pi.isa == "neon-i8mm")


def test_answers_have_the_bits_of_this_machine(pi: Pi, expected):
    done = pi.python("-m", "tests.arm.answers", "prebuilt")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if not name.startswith("float32"):
            assert found[name] == values, name
        else:
            size = max(float(np.abs(values).max()), 1.0)
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * size, err_msg=name)


@pytest.mark.parametrize("newer", ["neon-dotprod", "neon-i8mm"])
def test_newer_kernels_are_refused_where_a_core_lacks_them(pi: Pi, newer: str):
    """Asked for by name they are refused; loaded by force, the core dies of them: the emulator does tell."""
    asked = pi.python("-m", "tests.arm.answers", "prebuilt", MINIBERT_ISA=newer)
    force = (
        "from minibert.engine import library, prebuilt; from tests.models import random_model; "
        f"library.chosen_isa = lambda isa: '{newer}'; model = random_model(); "
        "model.engine(backend='prebuilt').forward([[1, 2, 3]])"
    )
    forced = pi.python("-c", force)
    if newer == pi.isa or pi.isa == "neon-i8mm":
        assert asked.returncode == forced.returncode == 0, asked.stderr + forced.stderr
    else:
        assert f"this CPU cannot run kernels for '{newer}'" in asked.stderr
        assert forced.returncode in (-signal.SIGILL, 128 + signal.SIGILL)


def test_block_sparse_models(pi: Pi):
    done = pi.python("-m", "pytest", "-q", "-x", "-p", "tests.arm.guest", "tests/engine/test_blocks.py")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "5 passed" in done.stdout


@pytest.mark.slow
def test_the_engines_own_tests(pi: Pi):
    files = ["tests/kernels", "tests/engine/test_backends.py", "tests/engine/test_same_bits.py"]
    done = pi.python("-m", "pytest", "-q", "-x", "-p", "tests.arm.guest", *files, timeout=3000)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
