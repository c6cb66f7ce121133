"""Texts that a user gives for calibration."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minibert.datasets import PAIR_COLUMNS, TEXT_COLUMNS, json_lines, kind_of, open_text, read_rows
from minibert.errors import InputError
from minibert_converter.calibration.tokens import MAX_TEXTS, evenly


def read_texts(source: str | Path | Sequence[str]) -> list[str]:
    """Texts from a file, or as they are; empty ones are left out.

    Args:
        source: a sequence of texts, or a file (see `iter_texts`); of a file at most MAX_TEXTS are kept, at even
            distances, so that memory doesn't grow with it.

    Raises:
        InputError: the file cannot be read, or there is no text in it.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        count = sum(1 for _ in iter_texts(path))
        chosen = set(evenly(range(count), MAX_TEXTS))
        texts = [text for number, text in enumerate(iter_texts(path)) if number in chosen]
        where = str(source)
    else:
        texts, where = list(source), "calibration texts"
        if not all(isinstance(text, str) for text in texts):
            raise InputError("calibration texts must be strings")
        texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"{where}: no text in it")
    return texts


def iter_texts(path: Path) -> Iterator[str]:
    """The texts of a file one after another, empty ones left out.

    Args:
        path: .jsonl (a string, or an object with one of TEXT_COLUMNS, on each line), .tsv or .csv (with a header that
            names one of TEXT_COLUMNS), anything else one text a line; also with .gz behind. One of PAIR_COLUMNS beside
            it is a text as well.

    Raises:
        InputError: the file cannot be read, or a line of it has no text.
    """
    try:
        for text in _texts(path, kind_of(path)):
            if text.strip():
                yield text
    except (OSError, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _texts(path: Path, kind: str) -> Iterator[str]:
    if kind in (".tsv", ".csv"):
        for line, row in read_rows(path):
            yield from _of_row(row, path, line)
        return
    with open_text(path) as file:
        if kind == ".jsonl":
            for number, value in json_lines(file, path):
                yield from [value] if isinstance(value, str) else _of_row(value, path, number)
        else:
            yield from (line.rstrip("\r\n") for line in file)


def _of_row(row: Any, path: Path, line: int) -> Iterator[str]:
    texts = [row[key] for key in TEXT_COLUMNS if key in row][:1] if isinstance(row, dict) else []
    if not texts or not isinstance(texts[0], str):
        raise InputError(f"{path}, line {line}: has none of the columns {', '.join(TEXT_COLUMNS)} with a text in it")
    yield texts[0]
    yield from (row[key] for key in PAIR_COLUMNS if isinstance(row.get(key), str))
