"""What each worker of the bulk jobs gets: a part of the texts becomes one file of answers, whole or not at all.

A part is a range of rows of one file, and its answers are named after that range. So it doesn't matter who computes a
part, or how often: a worker that is killed leaves nothing, the one that does its part again writes the same bits under
the same name, and a job that is started again does only the parts that have no file yet.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import minibert
from minibert import InputError, MinibertError
from minibert.datasets import kind_of, refuse_utf_16
from minibert.files import replacing


class Part(NamedTuple):
    """Rows of a file.

    Attributes:
        file: its path inside the input folder, or "" where the input is this file.
        number: which file of the input it is.
        text: its column with texts.
        first: the number of the first row, counted from 0; for a table the header is none.
        rows: how many.
        start: the byte (of the unpacked file) at which they begin; 0 is behind the header. Parquet needs none.
    """

    file: str
    number: int
    text: str
    first: int
    rows: int
    start: int

    @property
    def name(self) -> str:
        """The file of its answers."""
        return f"part-{self.number:05}-{self.first:012}.parquet"


class Done(NamedTuple):
    """Who did a part, and from when to when, in seconds since 1970 by that machine's clock."""

    part: str
    rows: int
    worker: str
    began: float
    ended: float


@dataclass(frozen=True)
class Job:
    """What each worker has to know.

    Attributes:
        texts: the input, a file or a folder, which every machine sees under this name, as it does `out`.
        out: the folder of answers.
        task: "embed" or "predict".
        key: the column that is handed through; None for file and row.
        model: where the model's file lies on the machine that starts the job.
        digest: its SHA-256, since another machine may have another file there.
    """

    texts: str
    out: str
    task: str
    key: str | None
    model: str
    digest: str

    def load(self, fetch: Callable[[], Any]) -> minibert.Model:
        """The model, with one thread. All workers of a machine map the same file, and so have it in memory once.

        Args:
            fetch: gets the file's content, where this machine has no such file; it is then written down for all.
        """
        if self in _MODELS:  # Spark's Python workers do one task after another
            return _MODELS[self]
        path = Path(self.model)
        if not path.is_file() or digest(path) != self.digest:
            folder = Path(tempfile.gettempdir(), f"minibert-{os.getuid()}")
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise MinibertError(f"{folder}: belongs to somebody else")
            path = folder / f"{self.digest}.safetensors"
            if not path.is_file():
                with replacing(path) as file:
                    file.write(fetch())
        return _MODELS.setdefault(self, minibert.load(path, threads=1))

    def work(self, model: minibert.Model, part: Part) -> Done:
        """Answer a part and write its file. A missing text has a missing answer."""
        began, out = time.time(), Path(self.out, part.name)
        if not out.exists():  # a worker may be killed after it wrote the file and before it said so
            keys, texts = read(self.texts, part, self.key)
            there = [text for text in texts if text is not None]
            answers = (model.encode if self.task == "embed" else model.predict)(there) if there else []
            table = pa.table({**keys, **_columns(texts, answers, model.dim if self.task == "embed" else None)})
            with replacing(out) as file:
                pq.write_table(table, file, use_dictionary=["file", "label"])  # vectors don't repeat themselves
        return Done(part.name, part.rows, f"{socket.gethostname()}:{os.getpid()}", began, time.time())


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


_MODELS: dict[Job, minibert.Model] = {}


def _columns(texts: Sequence[str | None], answers: Any, dim: int | None) -> dict[str, pa.Array]:
    """Answers to the texts that are there, as columns of all: vectors of `dim` numbers, or labels."""
    there = np.array([text is not None for text in texts])
    if dim is not None:
        # Not of fixed size: pyarrow 17 and other readers fail where such a list is missing.
        ends = np.concatenate([[0], np.cumsum(there * dim)]).astype(np.int32)
        values = pa.array(np.asarray(answers, np.float32).ravel())
        return {"vector": pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(~there))}
    left = iter(answers)
    rows = [next(left) if each else {"label": None, "score": None} for each in there]
    return {
        "label": pa.array([row["label"] for row in rows], pa.string()),
        "score": pa.array([row["score"] for row in rows], pa.float64()),
    }


# Reading.


def read(texts: str, part: Part, key: str | None) -> tuple[dict[str, Any], list[str | None]]:
    """The columns that tell the rows of a part apart, and its texts."""
    path = Path(texts, part.file)
    names = [part.text, key] if key else [part.text]
    if path.suffix == ".parquet":
        table = _parquet(path, names, part.first, part.rows)
        column, found = table[names[-1]], table[part.text].to_pylist()
    else:
        rows = [row for (row, _), _ in zip(rows_of(path, part.start), range(part.rows), strict=False)]
        column = pa.array([_plain(row.get(names[-1])) for row in rows], pa.string())
        found = [row.get(part.text) for row in rows]
    for row, text in enumerate(found, part.first):
        if not isinstance(text, str | None):
            raise InputError(f"{path}, row {row}: {part.text!r} must be a text, got {type(text).__name__}")
    if key:
        return {key: column}, found
    return {"file": [part.file or path.name] * part.rows, "row": np.arange(part.rows) + part.first}, found


def _plain(value: Any) -> str | None:
    """A key in a file of text: as it is written there."""
    return value if isinstance(value, str | None) else json.dumps(value)


def _parquet(path: Path, columns: list[str], first: int, rows: int) -> pa.Table:
    """Rows of a Parquet file, of which only the groups that have them are read."""
    with pq.ParquetFile(path) as file:
        groups, skipped, begin = [], 0, 0
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            if begin + size <= first:
                skipped += size
            elif begin < first + rows:
                groups.append(number)
            begin += size
        first, batches = first - skipped, []
        for batch in file.iter_batches(min(first + rows, 1 << 16), groups, sorted(set(columns))):
            batches.append(batch)
            if sum(map(len, batches)) >= first + rows:
                break
        return pa.Table.from_batches(batches).slice(first, rows)


class _Lines:
    """Lines of a file as text, and at which byte the next one begins."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.position = file, 0

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline():
            text = line.decode("utf-8-sig" if self.position == 0 else "utf-8")
            self.position += len(line)
            yield text


def rows_of(path: Path, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Each row of a text file by its columns, from a byte on, and the byte behind it."""
    kind, row = kind_of(path), 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        refuse_utf_16(file.peek(4)[:4], path)
        lines = _Lines(file)
        header = next(_cells(kind, lines), []) if kind in (".csv", ".tsv") else ["text"]
        if start:
            lines.position = file.seek(start)
        try:
            for cells in _cells(kind, lines):
                if not isinstance(cells, dict):
                    if len(cells) != len(header):
                        raise ValueError(f"{len(cells)} fields, the header has {len(header)}")
                    cells = dict(zip(header, cells, strict=True))
                yield cells, lines.position
                row += 1
        except (ValueError, csv.Error) as error:  # also what is no UTF-8, or no JSON
            raise InputError(f"{path}, row {row}{f' from byte {start} on' if start else ''}: {error}") from None


def _cells(kind: str, lines: _Lines) -> Iterator[Any]:
    """The fields of each row: a list, or for JSON an object."""
    if kind == ".csv":
        yield from filter(None, csv.reader(lines, strict=True))
        return
    for line in lines:
        line = line.rstrip("\r\n")
        if kind == ".txt":
            yield [line]
        elif kind == ".tsv":
            yield line.split("\t")
        elif line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"must be an object, not {type(row).__name__}")
            yield row
