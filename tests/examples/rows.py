"""Commands of examples/README.md, run as a user would: in a shell, on real models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples/README.md"
#: | [name](link) | what it does | `command` | memory |
ROW = re.compile(r"^\| \[(\w+)\]\(([^)]+)\) \|[^|]*\| `([^`]+)` \|", re.MULTILINE)
#: What a command begins with, for a new environment: this one has it all.
INSTALL = re.compile(r"^(?:(?:python -m )?pip install -q ([^&]+) && )?(.+)$")
#: Seconds until a program that answers no more is ended; somebody may stop the machine for a while.
PATIENCE = 300


def rows() -> dict[str, tuple[str, str]]:
    """Link and command of each row, by its name."""
    return {name: (link, command) for name, link, command in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def row(name: str) -> str:
    """A row's command but for what it installs."""
    found = INSTALL.match(rows()[name][1])
    assert found is not None
    return found[2]


def environment(**more: str) -> dict[str, str]:
    """This process's, in which `python` is this one, and finds the project and its model."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    places = os.pathsep.join(str(ROOT / place) for place in (".", "converter", "packages/minilm"))
    return {**os.environ, "PATH": path, "PYTHONPATH": places, **more}


def beside(folder: Path) -> Path:
    """A folder that looks like the project's, and takes what a command writes."""
    for each in ROOT.iterdir():
        if not each.name.startswith(".") and not (folder / each.name).exists():
            (folder / each.name).symlink_to(each)
    return folder


def run(command: str, folder: Path, stdin: str | bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; no program of the examples may end in a traceback."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        ["bash", "-c", command],
        input=given,
        cwd=beside(folder),
        env=environment(**more),
        capture_output=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


@contextmanager
def running(command: str, folder: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, with pipes; ended with the block, or where it says nothing for very long."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=beside(folder),
        env=environment(PYTHONUNBUFFERED="1", **more),
    )
    watchdog = Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def until(stream, text: str) -> list[str]:
    """Lines of a stream up to the one that holds a text."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in {''.join(lines)}")
