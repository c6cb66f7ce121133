"""What the kernels are made of, as one hash: compiled code whose hash is another's is out of date."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


@cache
def sources_hash(package: Path = _PACKAGE) -> str:
    """SHA-256 of the sources of the kernels and of the constants that they read, in hex."""
    files = [*sorted((package / "kernels").rglob("*.py")), package / "numerics.py", package / "format" / "schema.py"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
