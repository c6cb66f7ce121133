"""What the documents name is there: files, modules, functions, links, and the options of commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import minibert
from tests.golden import make_help
from tests.test_imports import LAYERS

ROOT = Path(__file__).parents[1]
#: Where `module.function` is looked for.
SOURCES = {"minibert": ROOT / "minibert", "minibert_converter": ROOT / "converter/minibert_converter"}
FOLDERS = ("*.md", "docs/**/*.md", "bench/*.md", "examples/**/*.md", "packages/*/*.md")
PAGES = [page for pattern in FOLDERS for page in ROOT.glob(pattern)]
#: Pages that say how the code is made: every path and dotted name in them is one of this tree.
MAPS = ("ARCHITECTURE.md", "CONTRIBUTING.md")
#: A file in a folder, a file of this tree, a folder; and a file of code.
PATH = re.compile(r"(?<![\w./-])[\w.-]*/[\w./-]+|[\w-]+\.(?:py|md|toml|svg)\b|[\w-]+/(?!\S)")
SCRIPT = re.compile(r"(?<![\w./-])[\w./-]*\w\.py\b")
PLACES = ("minibert", "converter", "tests", "bench", "docs", "examples", "packages", ".ci")
#: Tensors are named in dots too.
TENSORS = re.compile(r"(layers|embeddings|head|exits|attention|ffn)\.")


def title(page: Path) -> str:
    """What a test calls a page."""
    return page.relative_to(ROOT).as_posix()


def spans(page: Path) -> list[str]:
    """What stands between backticks, outside of blocks of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def members(tree: ast.AST) -> set[str]:
    """Names that a module or a class has: what is defined, imported or assigned in it, and `Class.member`."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{name}" for name in members(node)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.fixture(scope="module")
def files() -> list[str]:
    """Every file and folder of the project, from the root."""
    inside = [path for place in PLACES for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    return [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.*"), *inside)]


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Every module of both halves by its dotted name, and every `module.member`."""
    found: set[str] = set()
    for half, folder in SOURCES.items():
        for path in folder.rglob("*.py"):
            module = ".".join((half, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
            found |= {module, *(f"{module}.{name}" for name in members(ast.parse(path.read_text())))}
    return found


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_paths_are_there(page, files):
    """A path begins at the root or in any folder; NAME and TASK stand for a name to come."""
    for span in spans(page):
        for path in (PATH if page.name in MAPS else SCRIPT).findall(span):
            if not re.search(r"\.\./|\b(NAME|TASK)\b", path):
                path = path.rstrip("/")
                assert any(file == path or file.endswith(f"/{path}") for file in files), f"{page.name} names {path}"


@pytest.mark.parametrize("page", [ROOT / name for name in MAPS], ids=title)
def test_names_are_there(page, names):
    """`module.function`, `package.module` or `Class.method`, with or without arguments behind it."""
    ends = {".".join(parts[start:]) for name in names for parts in [name.split(".")] for start in range(len(parts))}
    for span in spans(page):
        dotted = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(\(.*\))?", span)
        if dotted and not TENSORS.match(span) and not span.endswith((".py", ".md", ".toml", ".yml", ".json", ".txt")):
            assert dotted[1] in ends, f"{page.name} names {dotted[1]}"
        for module in re.findall(r"-m ((?:minibert|minibert_converter)[\w.]*)", span):
            assert module in names, f"{page.name} names {module}"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page):
    """A link to another page names a file, and a heading of it if it goes on with #."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page} links to {target}"


@pytest.mark.parametrize("half", LAYERS)
def test_the_order_of_imports_is_the_one_that_is_tested(half):
    order = " ← ".join(", ".join(sorted(layer)) for layer in LAYERS[half] if layer != {"__main__"})
    assert order in " ".join((ROOT / "ARCHITECTURE.md").read_text().split())


def test_the_page_of_commands_is_what_they_say():
    assert make_help.PAGE.read_text() == make_help.page(), "run python -m tests.golden.make_help"


def test_the_reference_has_every_public_name():
    """What `minibert` hands out, and the classes for other stacks: by themselves, or with their module."""
    pages = [page.read_text() for page in ROOT.glob("docs/site/api/*.md")]
    shown = {name for page in pages for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    for name in set(minibert.__all__) - {"__version__"}:
        assert {f"minibert.{name}", getattr(minibert, name).__module__} & shown, name
    for path in ROOT.glob("minibert/integrations/*.py"):
        for name in re.findall(r"^class (Minibert\w+)", path.read_text(), re.MULTILINE):
            assert f"minibert.integrations.{path.stem}.{name}" in shown, name
