"""examples/bulk on one machine: texts a second by one worker and by several, and memory, beside processes alone.

    pip install -r examples/bulk/requirements.txt -e . -e packages/minilm
    python -m bench.speed.bulk --fill

The 100,000 texts are beginnings of queries of examples/banking77 with the ends of others. Each job answers all of them
with minilm, once by one worker and once by as many as there are CPUs; "processes" does so without any framework, by
`concurrent.futures`. All vectors are compared with those of `encode` in this process, bit by bit. Texts a
second are from the beginning of the first part to the end of the last; memory is sampled from /proc while parts are
done: what is each worker's own, and its share of what it shares with others (PSS).
"""

from __future__ import annotations

import csv
import gzip
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

import minibert
from bench import common
from minibert.format.carried import located

JOBS = common.ROOT / "examples/bulk"
CONTESTANTS = ("processes", "ray", "spark", "dask")


class Turn(NamedTuple):
    """Seconds of the parts and of the whole command, and MiB of a worker: all of it, and the model's file of it."""

    parts: float
    command: float
    memory: float
    model: float


def drawn(count: int) -> list[str]:
    """So many texts, about as long as queries are."""
    with gzip.open(common.ROOT / "examples/banking77/data/train.tsv.gz", "rt", encoding="utf-8") as file:
        queries = [row["text"].split() for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    chance = random.Random(0)
    pairs = (chance.sample(queries, 2) for _ in range(count))
    return [" ".join(one[: len(one) // 2 + 1] + other[len(other) // 2 :]) for one, other in pairs]


def mapped(pid: int, model: str) -> tuple[float, float] | None:
    """MiB of a process that has the model's file mapped, as PSS: all, and that file's."""
    try:
        folder = Path(f"/proc/{pid}")
        if model not in (folder / "maps").read_text():
            return None
        total = sum(int(line.split()[1]) for line in (folder / "smaps_rollup").open() if line.startswith("Pss:"))
        own, of_model = 0, False
        for line in (folder / "smaps").open():
            if "-" in line.split(" ", 1)[0]:
                of_model = line.rstrip().endswith(model)
            elif of_model and line.startswith("Pss:"):
                own += int(line.split()[1])
        return total / 1024, own / 1024
    except OSError:  # it has ended
        return None


def sampled(model: str, besides: set[int], workers: int, end: threading.Event) -> Iterator[list[tuple[float, float]]]:
    """Now and then (it takes time) the memory of all workers, where all of them have the file mapped."""
    while not end.wait(4):
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        found = [each for pid in pids if pid not in besides and (each := mapped(pid, model))]
        if len(found) == workers:
            yield found


def processes(texts: str, out: str, workers: int, rows: int) -> None:
    """The parts by processes alone, in the form of a job: `python -c` runs it."""
    import parts  # pyright: ignore[reportMissingImports]
    from command import plan  # pyright: ignore[reportMissingImports]

    model = located("minilm")
    job = parts.Job(texts, out, "embed", "id", model, parts.digest(Path(model)))
    every, _ = plan(texts, None, "id", rows)
    Path(out).mkdir()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(work, [job] * len(every), every))
    Path(out, "_SUCCESS").write_text(json.dumps([each._asdict() for each in done]))


def work(job: Any, part: Any) -> Any:
    """One of them."""
    return job.work(job.load(lambda: b""), part)


def turn(name: str, workers: int, texts: Path, out: Path, rows: int) -> Turn:
    """A run of a job."""
    if name == "processes":
        call = f"from bench.speed import bulk; bulk.processes({str(texts)!r}, {str(out)!r}, {workers}, {rows})"
        command = [sys.executable, "-c", call]
    else:
        command = [sys.executable, JOBS / f"{name}_job.py", texts, "-o", out, "--key", "id", "--model", "minilm"]
        command += ["--workers", str(workers), "--rows", str(rows)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(common.ROOT), str(JOBS)])}
    samples: list[list[tuple[float, float]]] = []
    end, start = threading.Event(), time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as job:
        besides = {job.pid, os.getpid()}
        watch = sampled(located("minilm"), besides, workers, end)
        watcher = threading.Thread(target=lambda: samples.extend(watch))
        watcher.start()
        _, errors = job.communicate()
        seconds = time.perf_counter() - start
        end.set()
        watcher.join()
    if job.returncode:
        sys.exit(f"{name}: {errors}")
    done = json.loads((out / "_SUCCESS").read_text())
    between = max(each["ended"] for each in done) - min(each["began"] for each in done)
    memory = [[statistics.mean(each) for each in zip(*sample, strict=True)] for sample in samples] or [[np.nan] * 2]
    return Turn(between, seconds, *(statistics.median(each) for each in zip(*memory, strict=True)))


def same(out: Path, vectors: np.ndarray) -> bool:
    """Whether a job's answers are all rows, each once, and each of these bits."""
    found = pyarrow.dataset.dataset(out).to_table()
    order = found["id"].to_numpy()
    rows = found["vector"].combine_chunks().flatten().to_numpy().reshape(-1, vectors.shape[1])
    return bool(np.array_equal(np.sort(order), np.arange(len(vectors))) and rows.tobytes() == vectors[order].tobytes())


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=2000, help="texts a part")
    parser.add_argument("--jobs", nargs="+", default=CONTESTANTS, choices=CONTESTANTS)
    parser.add_argument("--fill", action="store_true", help="write the table into examples/bulk/README.md")
    options = parser.parse_args()
    many = len(os.sched_getaffinity(0))
    texts = drawn(options.texts)
    results = common.Results("bulk")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "texts.parquet")
        pyarrow.parquet.write_table(pa.table({"id": np.arange(len(texts)), "text": texts}), table)
        for name in options.jobs:
            turns = {}
            for workers in (1, many):
                out = Path(folder, f"{name}-{workers}")
                turns[str(workers)] = turn(name, workers, table, out, options.rows)._asdict()
            results.keep(name, {"texts": len(texts), "turns": turns})
            common.note(f"{name}: {turns}; load {common.load()}")
        vectors = minibert.load("minilm").encode(texts)
        if wrong := [path.name for path in Path(folder).iterdir() if path.is_dir() and not same(path, vectors)]:
            sys.exit(f"other bits: {wrong}")
    rows = []
    for name in filter(results.__contains__, CONTESTANTS):
        one, all_ = (Turn(**results[name]["turns"][str(workers)]) for workers in (1, many))
        count = results[name]["texts"]
        rows.append([name, f"{count / one.parts:,.0f}", f"{count / many / all_.parts:,.0f}"])
        rows[-1] += [f"{one.parts / all_.parts:.2f}", f"{one.command:.0f} s", f"{all_.command:.0f} s"]
        rows[-1] += [f"{all_.memory:.0f} MiB", f"{all_.model:.1f} MiB"]
    machine = common.describe_machine()
    header = ["", "texts/s of 1 worker", f"of each of {many}", "times as fast", "command of 1", f"of {many}"]
    text = common.table([*header, f"memory of each of {many}", "the model's part"], rows)
    text += f"\n\n{machine['cpu']}, {machine['cpus']} CPUs, load {machine['load']}; "
    text += f"{len(texts):,} texts in parts of {options.rows:,}."
    print(text)
    if options.fill:
        common.fill(JOBS / "README.md", __file__, text)


if __name__ == "__main__":
    main()
