"""What PyInstaller asks this package for: how to put it into a program, kernels and all (see docs/INSTALL.md)."""

from __future__ import annotations

import os


def hook_dirs() -> list[str]:
    """The folder of hook-minibert.py: the entry point `pyinstaller40`, `hook-dirs`, of this package."""
    return [os.path.dirname(__file__)]
