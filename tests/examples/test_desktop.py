"""examples/desktop: the window under Xvfb, typed into by xdotool; and the program that the row's command makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from minibert.engine.cpu import supported_isas
from tests.examples.rows import ROOT, rows, run, running

pytestmark = [
    pytest.mark.skipif(not find_spec("tkinter"), reason="this Python has no Tk"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs X11"),
]
SOURCE = "python examples/desktop/notes.py"
NOTES = "Refunds take\nfive days.\n\n\nThe museum is closed on Mondays.\n \nWater the tomatoes in the evening. 🍅\n"


@pytest.fixture
def display():
    """A screen of its own."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("needs Xvfb and xdotool")
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write)], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as told:
            yield f":{told.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def window(command: str, folder, display: str):
    """The program, and what types into its window."""
    (folder / "own.txt").write_text(NOTES, encoding="utf-8")
    (folder / "more.md").write_text("\n\n".join(f"Number {number}." for number in range(100)))
    environ = {**os.environ, "DISPLAY": display}

    def do(*words: str) -> None:
        find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "^Notes$", "windowfocus"]
        closes = "Escape" in words  # the window is gone before the key is up, which xdotool calls a failure
        subprocess.run([*find, *words], env=environ, check=not closes, timeout=300, capture_output=True)

    with running(f"{command} own.txt more.md", folder, DISPLAY=display) as process:
        yield process, do


def check_window(command: str, folder, display: str) -> None:
    with window(command, folder, display) as (process, do):
        do("type", "which day can i see the paintings")
        do("key", "Return")
        assert process.stdout.readline() == "The museum is closed on Mondays.\n"
        do("key", "ctrl+a", "ctrl+k")  # to the beginning, and away to the end
        do("type", "how long until they pay")
        do("key", "Return")
        assert process.stdout.readline() + process.stdout.readline() == "Refunds take\nfive days.\n"
        do("key", "Escape")
        assert process.wait() == 0
        assert process.stderr.read() == ""


def test_the_window(tmp_path, display):
    check_window(SOURCE, tmp_path, display)


def test_the_self_test_and_mistakes(tmp_path):
    done = run(f"{SOURCE} --self-test", tmp_path, DISPLAY="")
    assert (done.returncode, json.loads(done.stdout)["found"]) == (0, "Refunds take five days.")
    done = run(f"{SOURCE} own.txt", tmp_path, DISPLAY="")
    assert done.returncode == 1
    assert done.stderr.startswith(b"notes.py: ")
    assert b"display" in done.stderr


@pytest.mark.slow
def test_the_row_makes_a_program(tmp_path, display):
    """Minutes: in a new environment, with kernels of this CPU. The program then has no Python of ours, nor a home."""
    pytest.importorskip("numba")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    isas = ",".join({supported_isas()[0], "avx2"})
    path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run(rows()["desktop"][1], tmp_path, PATH=path, PYTHONPATH="", MINIBERT_PREBUILT=isas)
    if b"pyinstaller" in done.stderr and b"No matching distribution" in done.stderr:
        pytest.skip("PyInstaller cannot be had here")
    assert done.returncode == 0, done.stderr.decode()
    program = tmp_path / "dist/notes/notes"
    bare = {"PATH": os.defpath, "HOME": "/nonexistent"}
    told = subprocess.run([program, "--self-test"], env=bare, capture_output=True, text=True, check=False, cwd="/")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["backend"] == "prebuilt"
    check_window(str(program), tmp_path, display)
    assert not (ROOT / "dist/notes").exists()  # it was made where the command ran
