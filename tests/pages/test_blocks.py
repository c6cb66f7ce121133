"""Every block of Python and every command of the pages is run, in the order of its page, or blocks.py says why not."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

import minibert
from tests.pages.blocks import ELSEWHERE, HOURS, INSTALLS, LEFT_OUT, ROOT, Step, pages, steps

STEPS = {page: steps(page) for page in pages()}
HERE = {page: [step for step in each if not step.reason and not step.elsewhere] for page, each in STEPS.items()}
BASH = ["bash", "-euo", "pipefail", "-c"]
#: What not every environment has: `.ci/stacks` has openai.
NEEDS = {"minibert distill": "torch", "from openai": "openai", "curl": "curl"}
#: Pages with many conversions.
SLOW = ("docs/COMPRESSION.md", "docs/PRUNING.md", "docs/CLI.md")


def is_there(step: Step) -> bool:
    need = next((name for start, name in NEEDS.items() if step.text.startswith(start)), "")
    return not need or bool(find_spec(need) or which(need))


class Page:
    """The steps of a page share a folder, the names of Python, and the service that a command starts."""

    def __init__(self) -> None:
        sentences = ["where is my card?", "I lost my card"]
        self.names = {"__name__": "__main__", "minibert": minibert, "sentences": sentences}
        self.service: subprocess.Popen | None = None
        self.port = 0

    def run(self, step: Step) -> None:
        text = re.sub(r"(127\.0\.0\.1|localhost):8080", f"127.0.0.1:{self.port}", step.text)
        if step.kind == "python":
            self.python(step, text)
        elif text.startswith("minibert serve"):
            self.serve(text)
        else:
            self.command(text.replace("curl ", "curl --fail "))

    def python(self, step: Step, text: str) -> None:
        """What it prints is what stands behind each print."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, f"{step.page}:{step.line}", "exec"), self.names)  # our own page
        assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\) +# (.*)$", text, re.MULTILINE)

    def command(self, text: str) -> None:
        written = [Path(name).expanduser() for name in re.findall(r"(?:-o|--report|--npy|>) (\S+)", text)]
        written += [Path(f"{name}.safetensors") for name in re.findall(r"minibert convert \./([\w-]+) (?!-o)", text)]
        for file in written:  # what is there is replaced only when one says so, and commands may be alternatives
            file.unlink(missing_ok=True)
        done = subprocess.run([*BASH, text], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert all(file.stat().st_size for file in written), text

    def serve(self, text: str) -> None:
        """On a port that is free; it ends with the page, or before the next."""
        self.close()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = f"exec {re.sub(' --port [0-9]+', '', text)} --port {self.port}"
        self.service = subprocess.Popen([*BASH, command], stdin=subprocess.DEVNULL)
        for _ in range(600):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.service.poll() is None, text
            time.sleep(0.1)
        raise AssertionError(f"{text}: no answer within a minute")

    def close(self) -> None:
        if self.service is not None:
            self.service.terminate()
            self.service.wait()
            self.service = None


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in HERE if HERE[page]]
)
def test_every_step_runs(page, folder):
    recipes = [step.text for step in HERE[page] if step.kind == "toml"]
    if recipes:
        (folder / "recipe.toml").write_text("\n".join(recipes), encoding="utf-8")
    work = Page()
    try:
        for step in HERE[page]:
            if step.kind != "toml" and is_there(step):
                work.run(step)
    finally:
        work.close()


@pytest.mark.parametrize("table", [LEFT_OUT, ELSEWHERE], ids=["left out", "elsewhere"])
def test_whatever_is_named_is_there(table):
    named = {(page, start) for page, each in table.items() for start in each}
    found = {
        (step.page, start)
        for each in STEPS.values()
        for step in each
        for start in table.get(step.page, {})
        if step.text.startswith(start)
    }
    assert found == named


def test_other_tests_name_the_page():
    for step in (step for each in STEPS.values() for step in each if step.elsewhere):
        assert Path(step.page).name in (ROOT / step.elsewhere).read_text(encoding="utf-8")


def test_extras_that_are_installed_exist():
    declared = set(
        re.findall(
            r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().partition("optional-dependencies]")[2], re.MULTILINE
        )
    )
    for step in (step for each in STEPS.values() for step in each if step.reason == INSTALLS):
        for extras in re.findall(r"(?:minibert|\.)\[([\w,]+)\]", step.text):
            assert set(extras.split(",")) <= declared, step


def test_programs_that_take_hours_exist():
    for step in (step for each in STEPS.values() for step in each if step.reason == HOURS):
        program = re.match(r"python (?:-m ([\w.]+)|(\S+))", step.text)
        if program:
            assert find_spec(program[1]) if program[1] else (ROOT / program[2]).is_file(), step
