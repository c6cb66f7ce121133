"""Building the project: hatchling, and kernels compiled ahead for well-known CPUs, which go into the wheel.

Nothing in the wheel belongs to one platform alone: a CPU takes its own library from those that are carried, or compiles
its own, or answers in NumPy. MINIBERT_PREBUILT=0 leaves them out, =1 insists on them, and names of instruction sets,
with commas, on these alone, for a wheel that tries something out. By default x86-64 Linux asks for what it takes to
make them (numba, and ziglang for its lld); elsewhere the wheel goes without unless both are installed. Editable
installs never have them, for their sources change. What carries no kernels needs numba, and says so.

This is the build backend that pyproject.toml names, and the hooks that it names as well.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.build import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
)
from hatchling.build import get_requires_for_build_wheel as _hatchling_requires
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

_NUMBA = "numba>=0.61"
_COMPILING = ("numpy>=1.24", _NUMBA, "safetensors>=0.4.3", "ziglang>=0.13")
#: The machines that numba has wheels for; elsewhere installing it would begin with building LLVM.
_WHERE_NUMBA_IS = (
    "platform_python_implementation == 'CPython' and ("
    "(sys_platform == 'linux' and (platform_machine == 'x86_64' or platform_machine == 'aarch64'))"
    " or (sys_platform == 'darwin' and platform_machine == 'arm64')"
    " or (sys_platform == 'win32' and platform_machine == 'AMD64'))"
)


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """What building a wheel needs (PEP 517): hatchling's own needs, and the compiler and linker of the kernels."""
    wish = os.environ.get("MINIBERT_PREBUILT", "")
    usual = sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 1 << 32
    usual = usual and platform.libc_ver()[0] == "glibc"  # numba has no wheels for another C library
    compiling = _COMPILING if wish not in ("", "0") or (usual and not wish) else ()
    return [*_hatchling_requires(config_settings), *compiling]


class PrebuiltKernels(BuildHookInterface):
    """Adds minibert/kernels/prebuilt/ to the wheel, or numba to what it needs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile and link the kernels."""
        files = self._made(version)
        for file in files:
            build_data["force_include"][str(file)] = f"minibert/kernels/prebuilt/{file.name}"
        if not files:
            build_data["dependencies"].append(f"{_NUMBA}; {_WHERE_NUMBA_IS}")
        elif not any(file.suffix == ".dylib" for file in files):
            self.app.display_warning("no linker for macOS (install lld): there this wheel will need numba")
            build_data["dependencies"].append(f"{_NUMBA}; sys_platform == 'darwin' and platform_machine == 'arm64'")

    def _made(self, version: str) -> list[Path]:
        wish = os.environ.get("MINIBERT_PREBUILT", "")
        if version == "editable" or wish == "0":
            return []
        if not wish and importlib.util.find_spec("numba") is None:
            self.app.display_warning("numba is not installed: this wheel will carry no kernels, and need numba")
            return []
        sys.path.insert(0, self.root)
        from minibert.errors import BackendError
        from minibert.kernels.prebuild import INSTRUCTION_SETS, prebuild

        names = INSTRUCTION_SETS if wish in ("", "1") else wish.split(",")
        self.app.display_info(f"compiling kernels {len(names)} times, half a minute each, one on each processor")
        self.folder = tempfile.TemporaryDirectory(prefix="minibert-")
        try:
            return prebuild(Path(self.folder.name), self.app.display_info, names, in_wheel=True)
        except BackendError as error:
            if wish:
                raise
            self.app.display_warning(f"{error}: this wheel will carry no kernels, and need numba")
            return []

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made."""
        if folder := getattr(self, "folder", None):
            folder.cleanup()


class Description(MetadataHookInterface):
    """What PyPI shows: the README, whose links lead into the repository, and the repository's address.

    That is MINIBERT_REPOSITORY, that of the GitHub workflow that builds, or that of the clone's origin. A build that
    knows none has no addresses, and text where there were links.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `readme` and `urls`."""
        repository = repository_of(self.root)
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(readme, repository)}
        if repository:
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": f"{repository}/tree/HEAD/docs",
                "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }


def repository_of(root: str | Path) -> str:
    """The repository's address on the web, without a slash at its end; "" where none is known."""
    named = os.environ.get("MINIBERT_REPOSITORY")
    if not named and "GITHUB_REPOSITORY" in os.environ:
        named = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    if not named:
        command = ["git", "-C", str(root), "remote", "get-url", "origin"]
        try:
            named = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        except OSError:  # no git
            named = ""
    named = re.sub(r"^git@([\w.-]+):", r"https://\1/", named).removesuffix("/").removesuffix(".git")
    return named if named.startswith("https://") else ""


def with_absolute_links(text: str, repository: str) -> str:
    """Markdown whose links to files of a project lead into its repository; where there is none, their text remains."""

    def link(found: re.Match[str]) -> str:
        mark, name, target = found.groups()
        if target.startswith(("https://", "#")):
            return found[0]
        if not repository:
            return "" if mark else name
        return f"{mark}[{name}]({repository}/{'raw' if mark else 'blob'}/HEAD/{target})"

    return re.sub(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)", link, text)
