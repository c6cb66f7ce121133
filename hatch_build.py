"""Building the project: hatchling, and kernels compiled ahead for well-known CPUs, which go into the wheel.

Nothing in the wheel belongs to one platform alone: a CPU takes its own library from those that are carried, or compiles
its own, or answers in NumPy. MINIBERT_PREBUILT=0 leaves them out, =1 insists on them. By default x86-64 Linux asks for
what it takes to make them (numba, and ziglang for its lld); elsewhere the wheel goes without unless both are installed.
Editable installs never have them, for their sources change.

This is the build backend that pyproject.toml names, and the build hook that it names as well.
"""

from __future__ import annotations

import importlib.util
import os
import platform
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

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

_COMPILING = ("numpy>=1.24", "numba>=0.61", "safetensors>=0.4.3", "ziglang>=0.13")


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """What building a wheel needs (PEP 517): hatchling's own needs, and the compiler and linker of the kernels."""
    wish = os.environ.get("MINIBERT_PREBUILT", "")
    usual = sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 1 << 32
    compiling = _COMPILING if wish == "1" or (usual and wish != "0") else ()
    return [*_hatchling_requires(config_settings), *compiling]


class PrebuiltKernels(BuildHookInterface):
    """Adds minibert/kernels/prebuilt/ to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile and link the kernels."""
        wish = os.environ.get("MINIBERT_PREBUILT", "")
        if version == "editable" or wish == "0":
            return
        if wish != "1" and importlib.util.find_spec("numba") is None:
            self.app.display_warning("numba is not installed: this wheel will carry no kernels")
            return
        sys.path.insert(0, self.root)
        from minibert.errors import BackendError
        from minibert.kernels.prebuild import prebuild

        self.folder = tempfile.TemporaryDirectory(prefix="minibert-")
        try:
            files = prebuild(Path(self.folder.name), self.app.display_info, in_wheel=True)
        except BackendError as error:
            if wish == "1":
                raise
            self.app.display_warning(f"{error}: this wheel will carry no kernels")
            return
        for file in files:
            build_data["force_include"][str(file)] = f"minibert/kernels/prebuilt/{file.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made."""
        if folder := getattr(self, "folder", None):
            folder.cleanup()
