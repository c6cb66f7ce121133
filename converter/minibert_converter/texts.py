"""Texts that a user gives for calibration."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from minibert.errors import InputError

#: Columns of a table, or keys of a JSON line, that hold the text; the first that is there is taken.
TEXT_COLUMNS = ("text", "sentence", "sentence1", "question", "query")


def read_texts(source: str | Path | Sequence[str]) -> list[str]:
    """Texts from a file, or as they are; empty ones are left out.

    Args:
        source: a sequence of texts, or a file: .jsonl (a string, or an object with one of TEXT_COLUMNS, on each
            line), .tsv or .csv (with a header that names one of TEXT_COLUMNS), anything else one text a line.

    Raises:
        InputError: the file cannot be read, or there is no text in it.
    """
    if isinstance(source, (str, Path)):
        texts = _read_file(Path(source))
        where = str(source)
    else:
        texts, where = list(source), "calibration texts"
        if not all(isinstance(text, str) for text in texts):
            raise InputError("calibration texts must be strings")
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"{where}: no text in it")
    return texts


def _read_file(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if path.suffix == ".jsonl":
        return [_json_text(path, number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    lines = content.splitlines()
    if path.suffix == ".tsv":
        return _column(path, [line.split("\t") for line in lines])
    if path.suffix == ".csv":
        return _column(path, list(csv.reader(lines)))
    return lines


def _json_text(path: Path, number: int, line: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: line {number} is not valid JSON ({error})") from error
    if isinstance(value, dict):
        value = next((value[key] for key in TEXT_COLUMNS if key in value), None)
    if not isinstance(value, str):
        raise InputError(f"{path}: line {number} has no text under any of {', '.join(TEXT_COLUMNS)}")
    return value


def _column(path: Path, rows: list[list[str]]) -> list[str]:
    header = rows[0] if rows else []
    column = next((header.index(name) for name in TEXT_COLUMNS if name in header), None)
    if column is None:
        raise InputError(f"{path}: the first line names none of the columns {', '.join(TEXT_COLUMNS)}")
    return [row[column] for row in rows[1:] if len(row) > column]
