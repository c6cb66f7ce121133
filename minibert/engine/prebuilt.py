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
def _table() -> tuple[dict[str, str], str]:
    """SHA-256 by file name; and, where there are no libraries for this system and these sources, why."""
    if sys.platform != "linux":
        return {}, f"they are for Linux, and this is {sys.platform}"
    try:
        listing = json.loads(_bytes("kernels.json"))
        libraries, sources = dict(listing["libraries"]), listing["sources"]
    except OSError:
        return (
            {},
            "this installation is from no wheel for this machine, or has lost its kernels",
        )
    except (ValueError, KeyError, TypeError):
        return {}, "the list of them is broken"
    try:
        return (libraries, "") if sources == sources_hash() else ({}, "they belong to other sources")
    except OSError:
        return {}, "their sources lie in no folder, and so cannot be checked"


@cache
def prebuilt_code(isa: str) -> bytes | None:
    """The library for an instruction set, whole and checked; None if there is none."""
    expected = _table()[0].get(f"{isa}.so")
    if expected is None:
        return None
    try:
        code = _bytes(f"{isa}.so")
    except OSError:
        return None
    return code if sha256(code).hexdigest() == expected else None


def why_none(isa: str) -> str:
    """Why there is no `prebuilt_code` for an instruction set; empty where there is."""
    libraries, reason = _table()
    if not reason and f"{isa}.so" not in libraries:
        reason = f"there is none for {isa}"
    return reason or ("" if prebuilt_code(isa) else f"{isa}.so is damaged")


def prebuilt_isas() -> list[str]:
    """Instruction sets of this CPU whose libraries the package carries, best first."""
    return [isa for isa in supported_isas() if f"{isa}.so" in _table()[0]]
