"""Kernels that the installed package carries: shared libraries of Linux, made when the package was built.

They are looked for in one folder inside the package and nowhere else. A library counts only if its SHA-256 is the one
in the table that was written with it, and the table only if it was made from the very sources that are installed.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache

from minibert.engine.cpu import supported_isas
from minibert.kernels.sources import PACKAGE, sha256, sources_hash

FOLDER = os.path.join(PACKAGE, "kernels", "prebuilt")


def _bytes(name: str) -> bytes:
    with open(os.path.join(FOLDER, name), "rb") as file:
        return file.read()


@cache
def _table() -> dict[str, str]:
    """SHA-256 by file name; empty where there are no libraries for this system and these sources."""
    if sys.platform != "linux":
        return {}
    try:
        listing = json.loads(_bytes("kernels.json"))
        return dict(listing["libraries"]) if listing["sources"] == sources_hash() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@cache
def prebuilt_code(isa: str) -> bytes | None:
    """The library for an instruction set, whole and checked; None if there is none."""
    expected = _table().get(f"{isa}.so")
    if expected is None:
        return None
    try:
        code = _bytes(f"{isa}.so")
    except OSError:
        return None
    return code if sha256(code).hexdigest() == expected else None


def prebuilt_isas() -> list[str]:
    """Instruction sets of this CPU whose libraries the package carries, best first."""
    return [isa for isa in supported_isas() if f"{isa}.so" in _table()]
