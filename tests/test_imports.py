"""What the device half may import, and in which direction its parts may know each other."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minibert.cli.main import COMMANDS, command
from tests.tiny import classifier_path, tiny_folder  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[1]
#: The folders of both halves, by the name they are imported by.
HALVES = {"minibert": ROOT / "minibert", "minibert_converter": ROOT / "converter/minibert_converter"}
#: Everything that the device half may import beside the standard library; llvmlite is numba's own backend.
ALLOWED = {"minibert", "numpy", "numba", "llvmlite", "safetensors", "tokenizers"}
#: What only some modules import, which nobody imports unasked: the extra `serve`, and the stacks of `integrations`.
ELSEWHERE = {
    "minibert.serve.server": {"uvicorn"},
    "minibert.integrations.chroma": {"chromadb"},
    "minibert.integrations.haystack": {"haystack"},
    "minibert.integrations.lancedb": {"lancedb", "pydantic"},
    "minibert.integrations.langchain": {"langchain_core", "pydantic"},
    "minibert.integrations.llama_index": {"llama_index"},
    "minibert.integrations.spacy": {"spacy"},
}
#: Parts of each half from the ground up: a part imports only parts below it.
LAYERS = {
    "minibert": [
        {"beside", "errors", "forking", "numerics", "progress", "tuples"},
        {"files", "isolated"},
        {"datasets", "format", "options", "regression"},
        {"plan"},
        {"kernels", "reference"},
        {"engine"},
        {"text"},
        {"reading"},
        {"pipeline"},
        {"tasks"},
        {"model"},
        {"compat"},
        {"bench", "evaluate", "integrations", "pyinstaller", "serve", "startup"},
        {"cli"},
        {"__main__"},
    ],
    "minibert_converter": [
        {"network", "parallel", "progress"},
        {"matrices", "tokens"},
        {"export"},
        {"calibration"},
        {"checkpoints"},
        {"passes"},
        {"recipe"},
        {"report"},
        {"comparison", "convert", "upgrade"},
        {"report_page"},
        {"budget", "distill"},
        {"shrink"},
        {"cli"},
    ],
}


def imports(path: Path, *, types: bool = True) -> list[str]:
    """Modules that a file imports: when it is imported, in a function, and with `types` also under TYPE_CHECKING."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.extend(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from minibert.cli import console` is the module minibert.cli.console.
            found.extend(f"{node.module}.{name.name}" for name in node.names)
        elif types or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(ast.parse(path.read_text()))
    return found


FILES = {
    ".".join((half, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): path
    for half, folder in HALVES.items()
    for path in sorted(folder.rglob("*.py"))
}


def place(module: str) -> tuple[str, str] | None:
    """The half and the part that a dotted name belongs to; None for names of the half itself, and others' modules."""
    half, _, rest = module.partition(".")
    part = rest.split(".")[0]
    return (half, part) if half in LAYERS and part in set().union(*LAYERS[half]) else None


@pytest.mark.parametrize("module", [name for name in FILES if name.split(".")[0] == "minibert"])
def test_only_the_four_dependencies(module):
    for name in imports(FILES[module], types=False):
        top = name.split(".")[0]
        known = top in ALLOWED or top in sys.stdlib_module_names
        assert known or top in ELSEWHERE.get(module, ()), f"{module} imports {name}"


def test_every_part_has_its_place():
    for half, layers in LAYERS.items():
        parts = {module.split(".")[1] for module in FILES if module.startswith(f"{half}.")}
        assert parts == set().union(*layers)


@pytest.mark.parametrize("module", FILES)
def test_parts_import_only_what_is_below(module):
    own = place(module)
    if own is None:
        return  # the package itself hands out names of every part, lazily
    level = {
        (half, part): number for half, layers in LAYERS.items() for number, parts in enumerate(layers) for part in parts
    }
    for name in imports(FILES[module]):
        other = place(name)
        if other is None or other == own:
            continue
        if other[0] == own[0]:
            assert level[other] < level[own], f"{module} imports {name}, which is not below it"
        elif other == ("minibert", "cli"):
            assert own[1] == "cli", f"{module} imports {name}: nothing below a command line knows one"


def test_both_halves_say_that_they_are_typed():
    for package in ("minibert", "converter/minibert_converter"):
        assert (ROOT / package / "py.typed").is_file()


def test_no_circles_between_modules():
    """Counting every import, also those inside functions and for types; and the commands that are imported by name."""
    graph: dict[str, set[str]] = {}
    for module, path in FILES.items():
        targets = {name if name in FILES else name.rpartition(".")[0] for name in imports(path)}
        # A package's __init__ runs before its modules; that it imports them is no circle.
        graph[module] = {
            name for name in targets & FILES.keys() if name != module and not module.startswith(f"{name}.")
        }
    graph["minibert.cli.main"] |= {command(name).__name__ for name in COMMANDS}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
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
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
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
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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
    assert audit("from minibert.cli.main import overview, parse; overview(); parse(['predict', 'x'])") == {
        "minibert",
        "minibert_converter",
    }


def test_public_names():
    import minibert

    for name in minibert.__all__:
        assert getattr(minibert, name) is not None
    assert set(minibert.__all__) <= set(dir(minibert))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = minibert.nothing
