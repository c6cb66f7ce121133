"""Kernels that the installed package carries: shared libraries, made when the package was built.

They are looked for in one folder inside the package and nowhere else, by what the package itself was imported by: so
they are found in a folder, in a zip file and in a frozen program. A library counts only if its SHA-256 is the one in
the table that was written with it, and the table only if it is for this version and this meaning of the job's entries.
In a checkout, where sources change, the table must also be of the very sources that lie there.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from typing import Any

from minibert import __version__, kernels
from minibert.engine.cpu import supported_isas
from minibert.kernels import sources
from minibert.kernels.systems import SYSTEMS, library_name, this_system

FOLDER = os.path.join(sources.PACKAGE, "kernels", "prebuilt")


def _bytes(name: str) -> bytes:
    """A file of the folder.

    Raises:
        OSError: there is none.
    """
    loader: Any = kernels.__spec__.loader if kernels.__spec__ else None
    if not hasattr(loader, "get_data"):
        raise OSError("the package was imported by a loader that reads no files")
    return loader.get_data(os.path.join(FOLDER, name))


@cache
def _table() -> tuple[dict[str, str], str]:
    """SHA-256 by file name; and, where there are no libraries for this system and these sources, why."""
    if not this_system():
        return {}, f"they are for {', '.join(SYSTEMS)}, and this is {sys.platform}"
    try:
        listing = json.loads(_bytes("kernels.json"))
        libraries, made_for = dict(listing["libraries"]), (listing["version"], listing["interface"])
    except OSError:
        return {}, "this installation is from no wheel with kernels, or has lost them"
    except (ValueError, KeyError, TypeError):
        return {}, "the list of them is broken"
    if made_for != (__version__, sources.interface()):
        return {}, "they belong to another version of minibert"
    return (libraries, "") if _fresh(listing) else ({}, "they belong to other sources")


def _fresh(listing: dict[str, str]) -> bool:
    """Whether the sources beside the libraries are those that they were made of.

    A wheel's do not change, and its table has no stamp of theirs; where there are no sources, none can have changed.
    """
    if "stamp" not in listing:
        return True
    try:
        return listing["stamp"] == sources.stamp() or listing.get("sources") == sources.sources_hash()
    except OSError:
        return True


@cache
def prebuilt_code(isa: str) -> bytes | None:
    """The library for an instruction set, whole and checked; None if there is none."""
    libraries, reason = _table()
    name = "" if reason else library_name(isa, this_system())
    if name not in libraries:
        return None
    try:
        code = _bytes(name)
    except OSError:
        return None
    # A frozen program's libraries may have been signed, or stripped, by who froze it.
    whole = getattr(sys, "frozen", False) or sources.sha256(code).hexdigest() == libraries[name]
    return code if whole else None


def prebuilt_file(isa: str) -> str | None:
    """Where the library lies, if the package is in a folder."""
    path = os.path.join(FOLDER, library_name(isa, this_system()))
    return path if os.path.isfile(path) else None


def why_none(isa: str) -> str:
    """Why there is no `prebuilt_code` for an instruction set; empty where there is."""
    libraries, reason = _table()
    if reason:
        return reason
    name = library_name(isa, this_system())
    if name not in libraries:
        return f"there is none for {isa}"
    return "" if prebuilt_code(isa) else f"{name} is damaged"


def prebuilt_isas() -> list[str]:
    """Instruction sets of this CPU whose libraries the package carries, best first."""
    libraries, reason = _table()
    return [] if reason else [isa for isa in supported_isas() if library_name(isa, this_system()) in libraries]
