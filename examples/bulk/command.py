"""The command of the bulk jobs: cuts texts into parts, has those done that are missing, and says what became of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from parts import Done, Job, Part, digest, rows_of

import minibert
from minibert import InputError, MinibertError
from minibert.datasets import TEXT_COLUMNS, guessed_column, kind_of
from minibert.files import replacing
from minibert.format.carried import located

KINDS = (".parquet", ".csv", ".tsv", ".jsonl", ".txt")
#: Names that readers of Parquet folders pass over.
MANIFEST, SUCCESS = "_job.json", "_SUCCESS"
TASKS = {"sentence-embedding": "embed", "text-classification": "predict"}


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
    for count, (row, position) in enumerate(rows_of(path), 1):
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
