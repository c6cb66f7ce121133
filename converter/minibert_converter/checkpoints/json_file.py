"""JSON files of a checkpoint, with errors that name the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.refusal import refusing

#: Bytes of a config: those of thousands of labels have some 100 KB, the list of a large model's shards 300 KB.
MAX_JSON_BYTES = 8 << 20
#: Digits of a whole number: transformers writes 1e30 in full; int() of many takes quadratic time.
_MAX_DIGITS = 400


def read_text(path: Path, most: int = MAX_JSON_BYTES) -> str:
    """The file, of at most `most` bytes, as UTF-8 text.

    Raises:
        CheckpointError: it cannot be read, or is not UTF-8, or is absurdly large.
    """
    if not path.is_file():  # a pipe might never end
        raise CheckpointError(f"{path}: no such file")
    with refusing(path):
        if path.stat().st_size > most:
            raise CheckpointError(f"{path}: larger than {most} bytes, the limit")
        return path.read_text(encoding="utf-8-sig")


def read_json(path: Path, kind: type = dict, most: int = MAX_JSON_BYTES) -> Any:
    """The file's value, which must be an object (or, with kind=list, an array).

    Raises:
        CheckpointError: it cannot be read, is no JSON, is larger than `most` bytes, or is of another kind.
    """
    text = read_text(path, most)
    with refusing(path):
        try:
            value = json.loads(text, parse_int=_parse_int)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, kind):
        expected = "an object" if kind is dict else "an array"
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, not {expected}")
    return value


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits; the limit is {_MAX_DIGITS}")
    return int(digits)


def read_json_if_present(path: Path) -> dict[str, Any]:
    """As `read_json` of an object, or an empty one where there is no such file."""
    return read_json(path) if path.is_file() else {}
