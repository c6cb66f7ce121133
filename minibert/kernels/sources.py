"""What the kernels are made of, as one hash: compiled code whose hash is another's is out of date."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent.parent


def sha256(data: bytes = b"") -> Any:
    """As hashlib.sha256. hashlib itself loads OpenSSL: 3 MB and 3 ms of every start, for nothing else."""
    for module in ("_sha2", "_sha256"):  # CPython's own, since 3.12 and before
        try:
            return import_module(module).sha256(data)
        except ImportError:
            continue
    return import_module("hashlib").sha256(data)


@cache
def sources_hash(package: Path = _PACKAGE) -> str:
    """SHA-256 of the sources of the kernels and of the constants that they read, in hex."""
    files = [*sorted((package / "kernels").rglob("*.py")), package / "numerics.py", package / "format" / "limits.py"]
    digest = sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
