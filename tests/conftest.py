"""What every test may use: data beside the project where there is any, and the switches for long and short runs."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

# Before anything loads NumPy: for small matrices, threads of its BLAS do little more than wait for each other.
for _blas in ("OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_blas}_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks anybody but tests/hubs.py

# In the background of a shell SIGINT is ignored, by all that is started there too: the programs of tests shall hear it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: What `-m fast` runs: something of every part, and of instruction sets the best one only...
FAST = (
    *(f"tests/{name}/" for name in ("cli", "format", "kernels", "model", "tasks", "text")),
    *(f"tests/engine/test_{name}.py" for name in ("backends", "blocks", "chunks", "expand")),
    *(f"tests/converter/test_{name}.py" for name in ("checkpoints", "golden", "prune_parts", "quantize_parts")),
    *(f"tests/converter/test_{name}.py" for name in ("tokenizer", "torch_file")),
    "tests/test_imports.py",
)
#: ...but none of these, most of which take more than a second each.
LONG = (
    "tests/engine/test_backends.py::test_instruction_sets_agree",
    "tests/cli/test_demo.py",
    "tests/cli/test_files.py::test_bench",
    "tests/converter/test_tokenizer.py::test_real_vocabularies",
    "tests/cli/test_answers.py",
    "tests/format/attacks/",
    "tests/format/test_format_fuzz.py",
    "tests/model/test_misuse.py::test_any_mixture",
    "tests/model/test_misuse.py::test_every_option",
    "tests/model/test_predict.py::test_answers_have_the_same_bits",
    "tests/text/test_sliding.py::test_a_text_of_many_pieces",
    "tests/text/test_tokenizer.py::test_a_megabyte_of_text",
)


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow, which take minutes")
    parser.addoption(
        "--fuzz-rounds",
        type=int,
        default=1000,
        metavar="N",
        help="files the fuzz test mutates (default 1000)",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=3,
        metavar="N",
        help="moments at which each kind of work is killed (default 3)",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config, items):
    from minibert.engine.cpu import supported_isas  # it loads NumPy

    best = supported_isas()[0]
    for item in items:
        if "slow" not in item.keywords and _is_fast(item, best):
            item.add_marker("fast")
    yield  # -m and -k choose
    if config.getoption("--run-slow"):
        return
    slow = [item for item in items if "slow" in item.keywords]
    if len(slow) < len(items):  # thousands, and to skip them takes seconds
        items[:] = [item for item in items if "slow" not in item.keywords]
        config.hook.pytest_deselected(items=slow)
    else:
        for item in slow:
            item.add_marker(pytest.mark.skip(reason="takes long: --run-slow runs it"))


def _is_fast(item, best_isa: str) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    isa = parameters.get("isa", parameters.get("kernels", best_isa))
    return isa == best_isa and item.nodeid.startswith(FAST) and not item.nodeid.startswith(LONG)


@pytest.fixture(scope="session")
def fuzz_rounds(request) -> int:
    return request.config.getoption("--fuzz-rounds")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and data that lies beside the project; a stranger's machine has none."""
    folder = Path(__file__).parents[1] / "../shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared: models and data that are not part of the project")
    return folder.resolve()


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory):
    """Workers that find the cache empty wait for the first of them, instead of compiling the same kernels."""
    from minibert.engine import library  # it loads NumPy

    compiled = library._compiled

    def compiled_once(isa: str) -> bytes:
        with open(tmp_path_factory.getbasetemp().parent / f"{isa}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_EX)
                return library._cached(isa) or compiled(isa)
            return compiled(isa)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_compiled", compiled_once)
        yield


@pytest.fixture(autouse=True)
def _threads_for_the_smallest_model(monkeypatch):
    """All threads take part however little there is to do: tests with small models must not test one thread only."""
    monkeypatch.setattr("minibert.engine.executor.WORTH_WAKING", 0)
