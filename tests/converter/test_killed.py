"""Work that is killed at any moment, or runs out of disk or memory, leaves the old file or the new one, whole."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from minibert.cli.main import main
from minibert.errors import MinibertError
from minibert.format import read_model
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint
from tests.forked import forked

ROOT = Path(__file__).parents[2]
TEXTS = ["a good book", "a bad film", "the money was in the bank", "what a day"] * 4
#: Each works again and again on one file, to two results in turn, so that a kill meets every moment of the work.
WORK = {
    "convert": """
from minibert_converter.convert import convert
def work(turn):
    convert(source, target, quantize=("none", "int8")[turn], calibrate=TEXTS if turn else None)
""",
    "search": """
from minibert_converter.budget import Goal, search
def work(turn):
    search(source, target, Goal(max_size=(36_000, 50_000)[turn]), texts=TEXTS)  # four bits; int8
""",
    "distill": """
import torch
from minibert_converter.distill.dataset import Examples
from minibert_converter.distill.distill import distill
from minibert_converter.distill.snapshot import Snapshot
from minibert_converter.recipe import Recipe
Snapshot.due = lambda self: True
def work(turn):
    table = {"distill": 1, "batch_size": 8, "int8_from": (0.0, 1.0)[turn]}
    recipe = Recipe.from_json({"pass": [table], "seed": 1})
    distill(source, Examples(TEXTS, None), target, recipe, threads=1, fresh=True, cache=target + ".cache")
""",
}
#: A search makes many files: of a network small enough that a kill meets each of its stages now and then.
SMALL = {**CONFIG, "hidden_size": 48, "intermediate_size": 48, "num_hidden_layers": 1}
_ENDLESS = """
import sys
source, target, TEXTS = sys.argv[1], sys.argv[2], {texts!r}
{work}
print("ready", flush=True)
for turn in range(int(sys.argv[3])):
    work(turn % 2)
"""


def start(kind: str, folder: Path, out: Path, turns: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "converter")]),
        "MINIBERT_BACKEND": "numpy",
    }
    code = _ENDLESS.format(texts=TEXTS, work=WORK[kind])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(out), str(turns)], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", CONFIG, bert_weights(CONFIG))


@pytest.fixture
def kills(request) -> int:
    return request.config.getoption("--kills")


@pytest.mark.parametrize("kind", ["convert", pytest.param("search", marks=pytest.mark.slow), "distill"])
def test_the_old_file_or_the_new(tmp_path, kills, kind):
    """`--kills 60` is what docs/SECURITY.md speaks of."""
    if kind == "distill" and find_spec("torch") is None:
        pytest.skip("needs torch")
    config = SMALL if kind == "search" else CONFIG
    folder = write_checkpoint(tmp_path / "checkpoint", config, bert_weights(config))
    out = tmp_path / "made" / "model"
    out.parent.mkdir()
    checkpoint, whole = contents(folder), set()
    for turns in (1, 2):
        with start(kind, folder, out, turns) as process:
            begun = time.monotonic()
            assert process.wait() == 0
            cycle = time.monotonic() - begun
        whole.add(out.read_bytes())
    assert len(whole) == 2
    seed, seen = random.Random(kind), set()
    for _ in range(kills):
        with start(kind, folder, out, 1_000_000) as process:
            time.sleep(seed.uniform(0.0, cycle))
            process.send_signal(signal.SIGKILL)
        content = out.read_bytes()
        assert content in whole
        read_model(out)
        seen.add(content)
        assert contents(folder) == checkpoint
    # What a kill leaves beside the file is never taken for it, and the next work removes it.
    with start(kind, folder, out, 2) as process:
        assert process.wait() == 0
    assert out.read_bytes() in whole
    assert {path.name for path in out.parent.iterdir()} - {"model.cache"} == {"model"}
    assert kills < 20 or seen == whole


def told(words: list[str], capsys) -> str:
    """The last line of a command that fails."""
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("minibert: error: ")
    return said


@pytest.mark.parametrize("limit", [0, 5_000, 200_000])
@pytest.mark.parametrize("option", ["-o", "--report", "--npy"])
def test_a_full_disk(tmp_path, folder, option, limit, capsys, monkeypatch):
    """At the limit of a file's size writing fails as on a full disk."""
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    model, target = tmp_path / "model", tmp_path / "target"
    convert(folder, model, quantize="none", task="sentence-embedding")
    target.write_bytes(model.read_bytes())
    before, checkpoint = target.read_bytes(), contents(folder)
    words = {
        "-o": ["convert", str(folder), "-o", str(target), "--quantize", "none"],
        "--report": ["convert", str(folder), "-o", str(model), "--quantize", "none", "--report", str(target)],
        "--npy": ["encode", str(model), *(["a good book"] * (1 + limit // 300)), "--npy", str(target)],
    }[option] + ["--force"]

    def work() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return told(words, capsys)

    said = forked(work)
    assert "cannot write" in said
    assert "File too large" in said
    assert target.read_bytes() == before
    assert contents(folder) == checkpoint
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "model", "target"}


def test_a_full_disk_under_the_state_of_a_search(tmp_path):
    from minibert_converter.budget.state import State

    state = State(tmp_path / "model", {})
    state.get("first", lambda: "kept")

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        state.get("second", lambda: "x" * 10_000)

    assert forked(work).startswith("MinibertError: cannot write")
    measured = json.loads((tmp_path / "model.search/measured.json").read_text())["measured"]
    assert measured == {"first": "kept"}


@pytest.mark.parametrize("survivors", range(10))
def test_a_state_whose_removal_was_killed(tmp_path, monkeypatch, survivors):
    """It is still known for the state of a search, which the next one takes up or removes."""
    from minibert_converter.budget.state import State

    state = State(tmp_path / "model", "inputs")
    for number in range(8):
        (state.folder / f"{number}").write_bytes(b"a model")
    left, unlink = len(list(state.folder.iterdir())), os.unlink

    def killed(*arguments, **options) -> None:
        nonlocal left
        if left == survivors:
            raise KeyboardInterrupt
        left -= 1
        unlink(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        with suppress(KeyboardInterrupt):
            state.remove()
    State(tmp_path / "model", "other inputs").remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("megabytes", [0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 512])
@pytest.mark.parametrize("command", ["convert", "encode"])
def test_no_memory(tmp_path, folder, command, megabytes, capsys, monkeypatch):
    """Wherever memory ends, a message ends the command, and each file is the old one or the new one."""
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    model, target = tmp_path / "model", tmp_path / "target"
    convert(folder, model, quantize="none", task="sentence-embedding")
    convert(folder, target, quantize="none", task="sentence-embedding", max_length=9)
    before, checkpoint = target.read_bytes(), contents(folder)
    words = {
        "convert": ["convert", str(folder), "-o", str(target), "--quantize", "none", "--task", "sentence-embedding"],
        "encode": ["encode", str(model), "a good book", "--npy", str(target)],
    }[command]

    def work() -> str:
        code = main(words)
        return "done" if code == 0 else capsys.readouterr().err.splitlines()[-1]

    said = forked(work, memory=(megabytes << 20) + 1)
    if said == "done":
        assert target.read_bytes() != before
        assert command == "encode" or target.read_bytes() == model.read_bytes()
    else:
        assert said.startswith("minibert: error: "), said
        assert "memory" in said, said
        assert target.read_bytes() == before
    assert contents(folder) == checkpoint
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "model", "target"}


def test_a_failed_write_is_minibert_s_own_error(tmp_path, folder):
    said = forked(lambda: convert(folder, tmp_path / "model", quantize="none"), file_size=1000)
    assert said.startswith(f"{MinibertError.__name__}: cannot write {tmp_path / 'model'}: File too large")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
