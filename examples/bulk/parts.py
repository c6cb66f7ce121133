"""What the bulk jobs share: texts are cut into parts, each part becomes one file of answers, whole or not at all.

A part is a range of rows of one file, and its answers are named after that range. So it doesn't matter who computes a
part, or how often: a worker that is killed leaves nothing, the one that does its part again writes the same bits under
the same name, and a job that is started again does only the parts that have no file yet.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import os
import socket
import sys
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
from minibert.datasets import TEXT_COLUMNS, guessed_column, kind_of, refuse_utf_16
from minibert.files import replacing
from minibert.format.carried import located

KINDS = (".parquet", ".csv", ".tsv", ".jsonl", ".txt")
#: Names that readers of Parquet folders pass over.
MANIFEST, SUCCESS = "_job.json", "_SUCCESS"
TASKS = {"sentence-embedding": "embed", "text-classification": "predict"}


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
        rows = [row for (row, _), _ in zip(_rows(path, part.start), range(part.rows), strict=False)]
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


def _rows(path: Path, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
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


# Planning.


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def plan(texts: str, text: str | None, key: str | None, size: int) -> tuple[list[Part], str]:
    """The parts of the input, and its SHA-256: every file is gone through once, before any work.

    Raises:
        InputError: it holds no texts, a column is missing, or a row cannot be read.
    """
    root, parts, digests = Path(texts), [], []
    hidden = ("_", ".")
    files = [
        file
        for file in ([root] if root.is_file() else sorted(root.rglob("*")))
        if kind_of(file) in KINDS and file.is_file() and not file.name.startswith(hidden)
    ]
    for number, file in enumerate(files):
        name = "" if file == root else file.relative_to(root).as_posix()
        columns, cuts = _cut(file, size)
        column = text or guessed_column(file, "text", TEXT_COLUMNS, columns)
        for each in (column, key):
            if each and each not in columns:
                raise InputError(f"{file}: no column {each!r}; there are: {', '.join(columns)}")
        parts += [Part(name, number, column, *cut) for cut in cuts]
        digests.append((name, digest(file)))
    if not parts:
        raise InputError(f"{texts}: holds no texts; they are read from files that end in {', '.join(KINDS)}")
    return parts, hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _cut(path: Path, size: int) -> tuple[list[str], list[tuple[int, int, int]]]:
    """The columns of a file, and first row, rows and first byte of each of its parts."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, file.schema_arrow.names
        return columns, [(first, min(size, rows - first), 0) for first in range(0, rows, size)]
    columns, cuts, start, position, count = list[str](), [], 0, 0, 0
    for count, (row, position) in enumerate(_rows(path), 1):
        columns = columns or list(row)
        if count % size == 0:
            cuts.append((count - size, size, start))
            start = position
    if count % size:
        cuts.append((count - count % size, count % size, start))
    return columns or [*TEXT_COLUMNS[:1]], cuts


def claim(out: Path, wanted: dict[str, Any]) -> None:
    """Make the folder of answers this job's, which writes down what it is for.

    Raises:
        InputError: the folder holds something else, or answers of another job.
    """
    manifest = out / MANIFEST
    if manifest.is_file():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        other = [f"{name} {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]
        if other:
            raise InputError(f"{out}: holds answers of another job ({'; '.join(other)}): name another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise InputError(f"{out}: is not empty, and no folder of such a job: name another folder")
    with replacing(manifest) as file:
        file.write(json.dumps(wanted, indent=1).encode() + b"\n")


# Running.


def main(description: str, run: Callable[[argparse.Namespace, Job, list[Part]], Iterator[Done]], place: str) -> int:
    """The command of a job: `run` does the parts that are missing, in any order and on whatever workers it has.

    Args:
        description: the script's docstring.
        run: gets the options, the job, and the parts.
        place: the option that names a cluster.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", help="a .parquet, .csv, .tsv, .jsonl or .txt file, or a folder of such files")
    parser.add_argument("-o", "--out", required=True, help="the folder of answers; one that is unfinished is finished")
    parser.add_argument("--model", default="minilm", help="a model's file, or name (default minilm)")
    parser.add_argument("--task", choices=[*TASKS.values()], help="vectors, or labels (default: what the model is for)")
    parser.add_argument("--text", metavar="COL", help=f"the column with texts (default: {', '.join(TEXT_COLUMNS)})")
    parser.add_argument("--key", metavar="COL", help="the column that names a row in the answers (default: file, row)")
    parser.add_argument("--rows", type=int, default=2000, help="texts a part (default 2000)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each CPU)")
    parser.add_argument(place, help="a cluster that runs; default: one of this machine's own, for this job")
    options = parser.parse_args()
    try:
        return _main(options, run)
    except (MinibertError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


def _main(options: argparse.Namespace, run: Callable[[argparse.Namespace, Job, list[Part]], Iterator[Done]]) -> int:
    if options.rows < 1 or (options.workers is not None and options.workers < 1):
        raise InputError("--rows and --workers must be at least 1")
    if options.key in ("vector", "label", "score"):
        raise InputError(f"--key {options.key}: answers have a column of that name")
    model, out = Path(located(options.model)).resolve(), Path(options.out).resolve()
    texts = Path(options.texts).resolve(strict=True)
    if texts in (out, *out.parents):
        raise InputError(f"{out}: lies in the input")
    kind = minibert.load(model).task.kind
    task = options.task or TASKS.get(kind)
    if TASKS.get(kind) != task or task is None:
        raise InputError(f"{model}: a model for {kind}, which {task or 'these jobs'} cannot use")
    job = Job(str(texts), str(out), task, options.key, str(model), digest(model))
    parts, content = plan(job.texts, options.text, options.key, options.rows)
    wanted = {"model": job.digest, "task": task, "texts": content, "text": options.text, "key": job.key}
    claim(out, {**wanted, "rows": options.rows})
    missing = [part for part in parts if not (out / part.name).exists()]
    print(f"{sum(part.rows for part in parts):,} texts, {len(missing)} of {len(parts)} parts to do", file=sys.stderr)
    done = _followed(run(options, job, missing), len(missing)) if missing else []
    left = [part.name for part in parts if not (out / part.name).exists()]
    if left:
        raise MinibertError(f"{out}: lacks {len(left)} parts, such as {left[0]}: start the job again")
    with replacing(out / SUCCESS) as file:
        file.write(json.dumps([each._asdict() for each in done], indent=1).encode())
    if done:
        seconds = max(each.ended for each in done) - min(each.began for each in done)
        rows, workers = sum(each.rows for each in done), len({each.worker for each in done})
        print(f"{rows:,} texts by {workers} workers: {rows / seconds:,.0f} a second", file=sys.stderr)
    return 0


def _followed(parts: Iterator[Done], count: int) -> list[Done]:
    """All of them, while a line every ten seconds says how far they are."""
    done, told = [], time.monotonic()
    for each in parts:
        done.append(each)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{len(done)} of {count} parts", file=sys.stderr, flush=True)
    return done
