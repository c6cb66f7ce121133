"""JSON files of a checkpoint, with errors that name the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minibert.errors import CheckpointError

#: A tokenizer.json of a large multilingual vocabulary is some 17 MB; nothing else comes near.
MAX_JSON_BYTES = 256 << 20


def read_text(path: Path) -> str:
    """The file as UTF-8 text.

    Raises:
        CheckpointError: it cannot be read, or is not UTF-8, or is absurdly large.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_JSON_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as text ({error})") from error


def read_json(path: Path, kind: type = dict) -> Any:
    """The file's value, which must be an object (or, with kind=list, an array).

    Raises:
        CheckpointError: it cannot be read, is no JSON, or is of another kind.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, kind):
        expected = "an object" if kind is dict else "an array"
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, not {expected}")
    return value


def read_json_if_present(path: Path) -> dict[str, Any]:
    """As `read_json` of an object, or an empty one where there is no such file."""
    return read_json(path) if path.is_file() else {}
