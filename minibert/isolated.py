"""Modules of this package run in a Python process of their own, which imports nothing from the current folder.

`python -m` looks into the current folder first, so that a file called numba.py in a folder of downloads would be run by
whoever asks a model something there. A child gets the folders that this process imports from, without that one, and
the package from where it lies.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

import numpy as np

#: The folder of the package.
_PACKAGE = os.path.dirname(os.path.abspath(__file__))

_CHILD = """
import json, sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
places, package, module = json.loads(sys.argv[1])
sys.path[:] = places
sys.argv[:2] = [module]
spec = spec_from_file_location("minibert", package + "/__init__.py", submodule_search_locations=[package])
sys.modules["minibert"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["minibert"])
import_module(module).main()
"""


def command(module: str, *arguments: str) -> list[str]:
    """A command line that runs `main()` of a module of this package with arguments, as `python -m` would.

    The folder in which it is run had better be a private one: programs may look into that too.
    """
    isolated = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *isolated, "-c", _CHILD, json.dumps([_places(), _PACKAGE, module]), *arguments]


def why_not() -> str:
    """Why no such process can be started; empty where one can.

    A frozen program, and one that Python is embedded in, would start itself anew, and again, without end. What runs
    without its sources was packed by someone who does not count on a compiler.
    """
    if getattr(sys, "frozen", False) or "__compiled__" in globals():  # the latter by Nuitka
        return "this is a frozen program"
    if not os.path.isfile(os.path.join(_PACKAGE, "__init__.py")):
        return "this package was installed without its sources"
    if not os.path.basename(sys.executable or "").lower().startswith(("python", "pypy")):
        return f"{sys.executable or 'this program'} is no Python interpreter"
    return ""


def find(package: str) -> ModuleSpec | None:
    """Where a process of its own would find a package; None if it would not, or this process has shut it out."""
    if sys.modules.get(package, package) is None:
        return None
    return PathFinder.find_spec(package, _places())


def _places() -> list[str]:
    """The folders that this process imports from, without the current one, unless NumPy came from there."""
    numpy = os.path.realpath(os.path.dirname(os.path.dirname(np.__file__)))
    try:
        current = os.path.realpath(os.getcwd())
    except OSError:  # it was deleted
        current = ""
    shut_out = {current} - {numpy}
    return [place for place in sys.path if os.path.isabs(place) and os.path.realpath(place) not in shut_out]
