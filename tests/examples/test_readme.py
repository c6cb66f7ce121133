"""examples/README.md: every folder has a row, every row's command is run by a test, and what it installs is there."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.examples.rows import INSTALL, ROOT, row, rows

TESTS = ROOT / "tests/examples"


def test_every_folder_has_a_row():
    folders = {each.name for each in (ROOT / "examples").iterdir() if any(each.glob("*.*"))}
    assert folders == set(rows())


@pytest.mark.parametrize("name", rows())
def test_a_test_runs_the_command(name):
    """In a file of its own: it asks for the row, or names the program's file."""
    text = (TESTS / f"test_{name}.py").read_text(encoding="utf-8")
    program = next((word for word in shlex.split(row(name)) if word.startswith("examples/")), name).rpartition("/")[2]
    assert re.search(rf"""row\("{name}"\)|rows\(\)\["{name}"\]|{re.escape(program)}""", text)


@pytest.mark.parametrize("name", rows())
def test_what_it_installs_is_there(name):
    found = INSTALL.match(rows()[name][1])
    assert found is not None
    for word in shlex.split(found[1] or ""):
        if "/" in word or word.startswith("."):
            assert (ROOT / word.partition("[")[0]).exists()


def test_programs_are_short():
    long = {
        file.name
        for name in rows()
        if name not in ("search", "bulk")
        for file in (ROOT / "examples" / name).glob("*.py")
        if name not in ("banking77", "distill") and len(file.read_text(encoding="utf-8").splitlines()) > 150
    }
    assert not long
