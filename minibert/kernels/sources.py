"""What the kernels are made of, as one hash: compiled code whose hash is another's is out of date."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

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
    """SHA-256 of the sources of the kernels and of the constants that they read, in hex."""
    kernels = [
        os.path.join(folder, name)
        for folder, _folders, names in os.walk(os.path.join(package, "kernels"))
        for name in names
        if name.endswith(".py")
    ]
    constants = [os.path.join(package, "numerics.py"), os.path.join(package, "format", "constants.py")]
    digest = sha256()
    for path in [*sorted(kernels), *constants]:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
