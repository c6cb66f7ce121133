"""Models that packages of their own carry: `minibert.load("minilm")` is the file of the package minibert_minilm."""

from __future__ import annotations

import os

from minibert.errors import MissingFileError
from minibert.forking import unforked

#: Those that `pip install 'minibert[NAME]'` brings.
CARRIED = ("minilm",)


def located(path: str) -> str:
    """Where a model file is: `path` itself, or for the name of a carried model, where no file is called so, its file.

    Raises:
        MissingFileError: it is such a name, and the package is not installed.
    """
    if not path.isidentifier() or os.path.lexists(path):
        return path
    file = carried_file(path)
    if file is None and path in CARRIED:
        raise MissingFileError(
            f"no such file, and no package of that model is installed: pip install 'minibert[{path}]'"
        )
    return path if file is None else file


def carried_file(name: str) -> str | None:
    """NAME.safetensors of the package minibert_NAME, none of whose code is run; None where it is not installed."""
    with unforked():
        from minibert import isolated  # here: a start by a path needs none of it

        package = isolated.find(f"minibert_{name}")
    for folder in (package and package.submodule_search_locations) or ():
        file = os.path.join(folder, f"{name}.safetensors")
        if os.path.isfile(file):
            return file
    return None
