"""What compiled kernels belong to: the sources that they are made of, and the tables that they and their callers read.

A library says by these hashes what it was made from. Kernels that are compiled here are kept under the hash of their
sources; those that a package carries are not compared with sources at every start, which takes 3 ms: see
minibert.engine.prebuilt.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

from minibert.format import constants
from minibert.kernels import opcodes
from minibert.kernels.tokens import entries

#: The folder of the package.
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sha256(data: bytes = b"") -> Any:
    """As hashlib.sha256. hashlib itself loads OpenSSL: 3 MB and 3 ms of every start, for nothing else."""
    for module in ("_sha2", "_sha256"):  # CPython's own, since 3.12 and before
        try:
            return import_module(module).sha256(data)
        except ImportError:
            continue
    return import_module("hashlib").sha256(data)


@cache
def sources_hash(package: str = PACKAGE) -> str:
    """SHA-256 of the sources of the kernels and of the constants that they read, in hex.

    Raises:
        OSError: they lie in no folder.
    """
    digest = sha256()
    for path in _sources(package):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def stamp(package: str = PACKAGE) -> str:
    """SHA-256 of when each of these sources was last written and how long it is: read in a tenth of the time.

    Raises:
        OSError: they lie in no folder.
    """
    written = [(path[len(package) :], os.stat(path)) for path in _sources(package)]
    return sha256(repr([(path, each.st_mtime_ns, each.st_size) for path, each in written]).encode()).hexdigest()


def interface() -> str:
    """SHA-256 of the numbers by which kernels and their callers understand each other: entries of tables and jobs."""
    numbers = [
        (name, value)
        for module in (opcodes, entries, constants)
        for name, value in vars(module).items()
        if isinstance(value, int) and name.isupper()
    ]
    numbers += [(operation.name, operation.value) for operation in opcodes.Op]
    return sha256(repr(numbers).encode()).hexdigest()


def _sources(package: str) -> list[str]:
    kernels = [
        os.path.join(folder, name)
        for folder, _folders, names in os.walk(os.path.join(package, "kernels"))
        for name in names
        if name.endswith(".py")
    ]
    return [*sorted(kernels), os.path.join(package, "numerics.py"), os.path.join(package, "format", "constants.py")]
