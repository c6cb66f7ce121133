"""What the device half may import, and in which direction its parts may know each other."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import classifier_path, tiny_folder  # noqa: F401 - fixtures

PACKAGE = Path(__file__).parents[1] / "minibert"
#: Everything that the device half may import beside the standard library; llvmlite is numba's own backend.
ALLOWED = {"minibert", "numpy", "numba", "llvmlite", "safetensors", "tokenizers"}
#: The commands that lead to the workstation half, from inside a function only.
CONVERTER_USERS = {"cli/convert.py", "cli/budget.py", "cli/distill.py"}
#: Parts of the package from the ground up: a part imports only parts below it.
LAYERS = [
    {"errors", "numerics", "progress"},
    {"format"},
    {"plan"},
    {"kernels", "reference"},
    {"engine"},
    {"text"},
    {"tasks"},
    {"pipeline"},
    {"model"},
    {"bench", "evaluate", "startup"},
    {"cli"},
    {"__main__"},
]


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether when it is imported itself (rather than when a function runs).

    What stands under `if TYPE_CHECKING:` is never run, and left out.
    """
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((name.name, at_import) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from minibert.cli import console` is the module minibert.cli.console.
            found.extend((f"{node.module}.{name.name}", at_import) for name in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child, at_import)
        else:
            inside = at_import and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                visit(child, inside)

    visit(ast.parse(path.read_text()), True)
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(module: str) -> str | None:
    """The part of the package that a dotted name belongs to; None for names of the package itself."""
    words = module.split(".")
    known = set().union(*LAYERS)
    return words[1] if len(words) > 1 and words[1] in known else None


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_the_four_dependencies(path):
    for module, at_import in imports(path):
        top = module.split(".")[0]
        if top == "minibert_converter":
            assert relative(path) in CONVERTER_USERS, f"{relative(path)} imports the converter"
            assert not at_import, f"{relative(path)} imports the converter when it is imported"
        else:
            assert top in ALLOWED or top in sys.stdlib_module_names, f"{relative(path)} imports {module}"


def test_every_part_has_its_place():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert parts == set().union(*LAYERS)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_parts_import_only_what_is_below(path):
    level = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return  # the package itself hands out names of every part, lazily
    for module, _ in imports(path):
        part = part_of(module) if module.split(".")[0] == "minibert" else None
        if part is not None and part != own:
            assert level[part] < level[own], f"{relative(path)} imports {module}, which is not below it"


def test_no_circles_between_modules():
    """Counting also what functions import when they run."""
    names = {path: ".".join(("minibert", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in FILES}
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    modules = set(names.values())
    graph: dict[str, set[str]] = {}
    for path, name in names.items():
        targets = set()
        for module, _ in imports(path):
            targets.add(module if module in modules else module.rpartition(".")[0])
        # A package's __init__ runs before its modules; that it imports them is no circle.
        graph[name] = {target for target in targets & modules if target != name and not name.startswith(f"{target}.")}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


# What really happens, in a process of its own.

AUDIT = """
import json, sys
before = set(sys.modules)
{code}
tops = sorted({{name.split(".")[0] for name in set(sys.modules) - before}})
print(json.dumps([top for top in tops if top not in sys.stdlib_module_names and not top.startswith("_")]))
"""


def audit(code: str, *arguments: str) -> set[str]:
    """Top-level modules that are not of the standard library, which `code` imports in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    # -S -E would hide site-packages too; -I is enough to keep the working folder out, but not PYTHONPATH in.
    done = subprocess.run(
        [sys.executable, "-c", AUDIT.format(code=code), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_else():
    assert audit("import minibert") == {"minibert"}


def test_loading_imports_neither_numba_nor_tokenizers(classifier_path):  # noqa: F811
    loaded = audit("import minibert; minibert.load(sys.argv[1])", str(classifier_path))
    assert loaded == {"minibert", "numpy"}


def test_a_start_imports_nothing_heavy_of_the_standard_library(classifier_path):  # noqa: F811
    code = """
import json, sys, numpy
before = set(sys.modules)
import minibert
minibert.load(sys.argv[1], backend="numpy").forward([[1, 2]])
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(classifier_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        check=True,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "mmap" in loaded
    # pathlib brings urllib and ipaddress along: a tenth of what a start imports beside NumPy.
    assert not loaded & {"pathlib", "urllib", "ipaddress", "numpy.typing", "hashlib", "subprocess", "tempfile"}


def test_answering_in_numpy_imports_the_tokenizer_alone(classifier_path):  # noqa: F811
    code = "import minibert; minibert.load(sys.argv[1], backend='numpy').predict('bad')"
    assert audit(code, str(classifier_path)) == {"minibert", "numpy", "tokenizers"}


def test_token_ids_need_no_tokenizer(classifier_path):  # noqa: F811
    code = "import minibert; minibert.load(sys.argv[1], backend='numpy').forward([[1, 2]])"
    assert audit(code, str(classifier_path)) == {"minibert", "numpy"}


def test_the_best_backend_imports_no_more_than_the_four(classifier_path):  # noqa: F811
    loaded = audit("import minibert; minibert.load(sys.argv[1]).predict('bad')", str(classifier_path))
    assert loaded <= ALLOWED


def test_the_command_line_imports_no_model_before_it_needs_one():
    assert audit("import minibert.cli; minibert.cli.overview(); minibert.cli.parse(['predict', 'x'])") == {"minibert"}


def test_public_names():
    import minibert

    for name in minibert.__all__:
        assert getattr(minibert, name) is not None
    assert set(minibert.__all__) <= set(dir(minibert))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = minibert.nothing
