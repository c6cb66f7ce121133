"""What PyPI shows and pip installs."""

from __future__ import annotations

import importlib.util
import re
import sys
import zipfile
from pathlib import Path

import pytest

from tests.test_imports import FILES, imports

ROOT = Path(__file__).parents[1]


@pytest.fixture
def build():
    """The build backend, hatch_build.py."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("repository", ["https://git.example.org/minibert", ""])
def test_links_of_the_long_description_lead_somewhere(build, repository, monkeypatch):
    monkeypatch.setenv("MINIBERT_REPOSITORY", repository or "nowhere")
    metadata: dict = {}
    build.Description(str(ROOT), {}).update(metadata)
    text = metadata["readme"]["text"]
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert all(target.startswith("https://") for target in targets)
    assert bool(targets) == bool(repository) == ("urls" in metadata)
    assert "docs/TASKS.md" in text
    for target in targets:
        path = target.partition("/HEAD/")[2]
        assert (ROOT / path).exists(), target


def test_an_address_of_a_clone_becomes_one_of_the_web(build, monkeypatch):
    for address in ("git@git.example.org:a/b.git", "https://git.example.org/a/b", "https://git.example.org/a/b.git"):
        monkeypatch.setenv("MINIBERT_REPOSITORY", address)
        assert build.repository_of(ROOT) == "https://git.example.org/a/b"


def test_only_the_compiler_needs_another_package(monkeypatch):
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.match(r"\w+", each)[0] for each in project["dependencies"]} == {"numpy", "safetensors", "tokenizers"}
    assert project["optional-dependencies"]["jit"] == ["numba>=0.61"]
    assert any("jit" in each for each in project["optional-dependencies"]["dev"])
    assert project["entry-points"]["pyinstaller40"] == {"hook-dirs": "minibert.pyinstaller:hook_dirs"}


def test_the_workstation_half_imports_what_its_extras_install_and_no_more():
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras["distill"][0] == "minibert[convert]"
    assert extras["convert"][0] == "minibert[jit]"
    own = {re.match(r"\w+", each)[0] for name in ("jit", "convert", "distill") for each in extras[name]} - {"minibert"}
    always = {re.match(r"\w+", each)[0] for each in project["dependencies"]} | {"minibert", "minibert_converter"}
    converter = [path for module, path in FILES.items() if module.startswith("minibert_converter")]
    imported = {name.split(".")[0] for path in converter for name in imports(path)} - set(sys.stdlib_module_names)
    # In Python 3.11 tomli is tomllib.
    assert imported - always - {"tomllib"} == own


@pytest.mark.parametrize(
    ("system", "machine", "asks"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("linux", "armv7l", False),
        ("darwin", "arm64", True),
        ("darwin", "x86_64", False),
        ("win32", "AMD64", True),
        ("win32", "ARM64", False),
    ],
)
def test_what_is_built_without_kernels_asks_for_numba_where_there_is_one(build, system, machine, asks):
    packaging = pytest.importorskip("packaging.markers")
    marker = packaging.Marker(build._WHERE_NUMBA_IS)
    environment = {"sys_platform": system, "platform_machine": machine, "platform_python_implementation": "CPython"}
    assert marker.evaluate(environment) == asks


def test_hooks_are_where_pyinstaller_looks():
    from minibert.pyinstaller import hook_dirs

    (folder,) = hook_dirs()
    assert (Path(folder) / "hook-minibert.py").is_file()


@pytest.mark.skipif(not (ROOT / "packages").is_dir(), reason="needs packages/ of the repository")
def test_the_package_of_minilm_is_its_file(monkeypatch, tmp_path):
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    project = tomllib.loads((ROOT / "packages/minilm/pyproject.toml").read_text())["project"]
    assert extras["minilm"] == [project["name"]]
    backend = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT / "packages/minilm")
    wheel = zipfile.ZipFile(tmp_path / backend.build_wheel(str(tmp_path)))
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {"minibert_minilm/__init__.py", "minibert_minilm/minilm.safetensors"}
    assert len(wheel.read("minibert_minilm/minilm.safetensors")) <= 13_000_000
