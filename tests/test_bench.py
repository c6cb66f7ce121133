"""bench/: every script starts, and what pages and scripts say of each other is so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import common
from bench.arm.blocks import build_plugin, difference, read_counts

#: Scripts that are run by their path, under any interpreter that has the runtime.
ALONE = ("first_answer", "runtimes", "worker")
SCRIPTS = {
    ".".join(path.relative_to(common.ROOT).with_suffix("").parts): path
    for path in sorted((common.ROOT / "bench").rglob("*.py"))
    if path.stem not in (*ALONE, "chroma_app")
}
PAGES = [*common.ROOT.glob("*.md"), *common.DOCS.glob("**/*.md"), common.ROOT / "bench/README.md"]
#: Asks each command for its help, in one process; other modules are imported.
START = """
import contextlib, importlib, io, json, runpy, sys, traceback
sys.argv[1:], commands = ["--help"], json.loads(sys.argv[1])
for module, is_command in commands.items():
    help, trouble, lacks = io.StringIO(), "", ""
    try:
        with contextlib.redirect_stdout(help):
            runpy.run_module(module, run_name="__main__") if is_command else importlib.import_module(module)
    except ModuleNotFoundError as error:
        trouble, lacks = traceback.format_exc(), error.name
    except SystemExit as end:
        trouble = str(end.code or "")
    except BaseException:
        trouble = traceback.format_exc()
    print(json.dumps([module, help.getvalue(), trouble, lacks]))
"""


@pytest.fixture(scope="module")
def started() -> dict[str, list[str]]:
    """By module what it printed, what went wrong, and the package that it lacks."""
    commands = {module: '__name__ == "__main__"' in path.read_text() for module, path in SCRIPTS.items()}
    # As `python -m` has it: the folder of the project is where modules are looked for first.
    command = [sys.executable, "-c", START, json.dumps(commands)]
    done = subprocess.run(command, cwd=common.ROOT, capture_output=True, text=True, check=True)
    return {module: rest for module, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("module", SCRIPTS)
def test_a_script_starts(started, module):
    help, trouble, lacks = started[module]
    if lacks and lacks.partition(".")[0] not in ("bench", "minibert", "minibert_converter", "tests"):
        pytest.skip(f"needs {lacks}")
    assert not trouble
    assert help.startswith("usage:") == ('__name__ == "__main__"' in SCRIPTS[module].read_text())


def test_a_runtime_s_process_needs_the_standard_library_only():
    code = f"import sys; sys.path.insert(0, {str(common.ROOT / 'bench/speed')!r}); import {', '.join(ALONE)}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_a_table_stands_between_the_marks_of_the_script_that_makes_it():
    made = {
        (page or "README.md", path.relative_to(common.ROOT).as_posix())
        for path in SCRIPTS.values()
        for page in re.findall(r'common\.fill\(common\.(?:README|DOCS / "(.+?)"), __file__', path.read_text())
    }
    marked = {
        (page.relative_to(common.DOCS).as_posix() if common.DOCS in page.parents else page.name, script)
        for page in PAGES
        for script in re.findall(r"^<!-- table: (\S+) -->$", page.read_text(), re.MULTILINE)
    }
    assert made == marked
    assert len(made) >= 8


def test_readme_s_lines_are_those_of_the_benchmarks_page():
    def table(page: Path) -> str:
        return page.read_text().split("<!-- table: bench/speed/report.py -->")[1].split("<!-- end of table -->")[0]

    def rows(text: str) -> list[list[str]]:
        lines = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| .*\d ms \|", line)]
        return [[re.sub(r"\*\*| \(.*\)", "", cell) for cell in line] for line in lines]

    # A section a model, its one-thread table first: the first row of a shape is the one that README shows.
    sections = re.split(r"^### (.+)$", table(common.DOCS / "BENCHMARKS.md"), flags=re.MULTILINE)[1:]
    pages = dict(zip(sections[::2], map(rows, sections[1::2]), strict=True))
    lines = rows(table(common.README))
    assert len(lines) == 3 * len(pages)
    for what, *figures in lines:
        model, shape = what.removesuffix(" tokens").split(", ")
        row = next(row for row in pages[model] if row[0] == shape)
        assert set(figures) <= set(row)


def test_scripts_that_are_named_are_there():
    for path in [*PAGES, *SCRIPTS.values(), *Path(__file__).parent.rglob("*.py")]:
        text = path.read_text()
        for script in re.findall(r"\bbench/\w+(?:/\w+)*\.py\b", text):
            assert (common.ROOT / script).is_file(), f"{path} names {script}"
        for module in re.findall(r"-m (bench\.[a-z0-9_.]*[a-z0-9_])", text):
            named = common.ROOT / module.replace(".", "/")
            assert (named / "__main__.py").is_file() or named.with_suffix(".py").is_file(), f"{path} names {module}"


def test_turns_rotate_and_every_call_counts():
    assert list(common.in_turns("abc", 3)) == list("abcbcacab")
    called = []
    seconds = common.time_in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2, repeats=2)
    assert called == list("aabbbbaa")
    assert [len(each) for each in seconds.values()] == [4, 4]


def test_results_and_tables_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    common.Results("one").keep("a", {"score": 1.5})
    again = common.Results("one")
    again.keep("b", {"score": 2.5})
    assert [row["score"] for row in common.Results("one").values()] == [1.5, 2.5]
    assert again["b"]["machine"]["cpus"] >= 1
    page, script = tmp_path / "PAGE.md", str(common.ROOT / "bench/common.py")
    page.write_text("before\n<!-- table: bench/common.py -->\nold\n<!-- end of table -->\nafter\n")
    common.fill(page, script, common.table(["", "score"], [["a", "1.5"]]))
    assert page.read_text() == (
        "before\n<!-- table: bench/common.py -->\n|  | score |\n|---|---:|\n| a | 1.5 |\n<!-- end of table -->\nafter\n"
    )
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="has no table between"):
        common.fill(page, script, "")


def test_blocks_that_an_emulator_cut_are_put_together(tmp_path):
    # nop; nop; b.ne; nop; ret: a loop of three instructions, entered at its second, whose first lies on another page
    nop, back, end = "1f2003d5", "c1ffff54", "c0035fd6"
    file = tmp_path / "blocks.txt"
    file.write_text(f"9,0 1000 {nop}\n9,1 1004 {nop}{back}\n0,1 100c {nop}{end}\n")
    together = {bytes.fromhex(nop): 9, bytes.fromhex(nop + back): 10, bytes.fromhex(nop + end): 1}
    assert read_counts(file) == together
    assert read_counts(file, 0) == {bytes.fromhex(nop + nop + back): 9}
    assert read_counts(file, 1) == {bytes.fromhex(nop + back): 1, bytes.fromhex(nop + end): 1}
    assert difference(read_counts(file), read_counts(file, 0), 2) == {
        bytes.fromhex(nop): 4.5,
        bytes.fromhex(nop + back): 5,
        bytes.fromhex(nop + end): 0.5,
    }


@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs a C compiler")
def test_the_plugin_that_counts_compiles(tmp_path):
    assert build_plugin(tmp_path).stat().st_size
