"""What examples/search costs and finds: the tables of its page.

    python -m bench.apps.search --cranfield ../shared/data/cranfield

10,000 chunks are indexed, of Cranfield's abstracts, a file each, and of the docstrings of Python's standard library and
of NumPy, a Markdown file for each module. Then the service answers Cranfield's queries on one core, by HTTP; peaks are
VmHWM of Linux. What is found is measured on Cranfield alone, every abstract against every query.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

import minibert
from bench import common
from bench.quality.data import cranfield, ndcg

EXAMPLE = common.ROOT / "examples/search"
sys.path.insert(0, str(EXAMPLE))

from localsearch import chunks, indexing, ranker, store  # noqa: E402 - a program, which no environment installs

_NAMES: dict[ranker.Mode, str] = {"words": "FTS5 alone", "dense": "vectors alone", "hybrid": "hybrid"}
_FOUND = 10
#: Runs the program, and says what memory it took at most.
_PEAK = f"""
import runpy, sys
sys.path.insert(0, {str(EXAMPLE)!r})
try:
    runpy.run_path({str(EXAMPLE / "search.py")!r}, run_name="__main__")
finally:
    print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM")], file=sys.stderr)
"""


def _docstrings() -> Iterator[tuple[str, str]]:
    """Name and Markdown of each module that has docstrings, by its sources: nothing is imported."""
    paths = sysconfig.get_paths()
    for top in (Path(np.__file__).parent, Path(paths["stdlib"])):
        for path in sorted(top.rglob("*.py")):
            inside = path.relative_to(top.parent if top.name == "numpy" else top)
            if {"test", "tests", "site-packages"} & set(inside.parts):
                continue
            name = ".".join(inside.with_suffix("").parts)
            try:
                parts = list(_described(ast.parse(path.read_bytes()), 1, name))
            except (SyntaxError, ValueError):  # made to be wrong
                continue
            if parts:
                yield f"{name}.md", "\n\n".join(parts)


def _described(node: Any, level: int, name: str) -> Iterator[str]:
    if text := ast.get_docstring(node):
        yield f"{'#' * min(level, 6)} {name}\n\n{text}"
    for inner in node.body:
        if isinstance(inner, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _described(inner, level + 1, inner.name)


def _write(folder: Path, documents: list[str]) -> Path:
    """The documents as files, called by their numbers."""
    folder.mkdir(parents=True)
    for number, text in enumerate(documents):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def _corpus(folder: Path, documents: list[str], count: int, model: minibert.Model) -> int:
    """Files of so many chunks; returns the tokens in them."""
    _write(folder / "cranfield", documents)
    texts = [("x.txt", text) for text in documents]
    for name, text in _docstrings():
        texts.append((name, text))
        (folder / name).write_text(text, encoding="utf-8")
    total = tokens = 0
    for name, text in texts:
        made = list(chunks.chunks_of(text, name, model))
        if total + len(made) > count:
            if name != "x.txt":
                (folder / name).unlink()
            continue
        total += len(made)
        tokens += sum(model.token_count([chunk.read for chunk in made]))
    if total < count * 0.99:
        sys.exit(f"only {total} chunks of text on this machine")
    return tokens


def _one_core() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _peak(lines: str) -> float:
    """MB of a line of VmHWM."""
    return int(lines.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def _program(*arguments: object) -> list[str]:
    return [sys.executable, "-c", _PEAK, *map(str, arguments)]


def _cost(folder: Path, queries: list[str]) -> dict[str, Any]:
    """Seconds of indexing, of looking again, and of answers; and peaks in MB."""
    figures: dict[str, Any] = {}
    for name in ("index", "again"):
        start = time.perf_counter()
        done = subprocess.run(_program("index", folder), capture_output=True, text=True, check=True)
        figures[f"{name}_seconds"], figures[f"{name}_peak"] = time.perf_counter() - start, _peak(done.stderr)
        figures["said"] = done.stderr.strip().splitlines()[-2]
    command = _program("serve", folder, "--port", 0, "--threads", 1)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_one_core) as served:
        assert served.stderr is not None
        address = served.stderr.readline().split()[0]
        seconds, inside = [], []
        for number, query in enumerate(queries):
            start = time.perf_counter()
            with urllib.request.urlopen(f"{address}api/search?q={quote(query)}") as answer:
                found = json.load(answer)
            if number >= 5:  # the first ones load the model's tables
                seconds.append(time.perf_counter() - start)
                inside.append(found["seconds"])
        served.terminate()
        figures["serve_peak"] = _peak(served.stderr.read())
    figures["query"], figures["slow_query"] = np.percentile(seconds, [50, 95]).tolist()
    figures["inside"], figures["slow_inside"] = np.percentile(inside, [50, 95]).tolist()
    figures["database"] = (folder / ".search.db").stat().st_size / 1e6
    return figures


def _quality(folder: Path, queries: list[str], relevant: np.ndarray, model: minibert.Model) -> list[list[str]]:
    """A row of the table for each way to rank."""
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch, "cranfield.db")
        written = store.Store(index, folder, store.identity(model), write=True)
        indexing.update(written, model, folder)
        answers = ranker.Ranker(store.Store(index, folder, store.identity(model)), model)
        rows = []
        for mode, name in _NAMES.items():
            scores = np.full(relevant.shape, -np.inf)
            for row, query in zip(scores, queries, strict=True):
                for rank, hit in enumerate(answers.search(query, ranker.DEPTH, mode)):
                    place = int(Path(hit.path).stem)
                    row[place] = max(row[place], -rank)
            if np.isfinite(scores).sum(axis=1).min() < _FOUND:
                sys.exit(f"{name} found fewer than {_FOUND} abstracts for a query")
            figures = ndcg(scores, relevant), _recall(scores, relevant, _FOUND)
            rows.append([name, *(f"{each.mean() * 100:.1f}" for each in figures)])
    return rows


def _recall(scores: np.ndarray, relevant: np.ndarray, depth: int) -> np.ndarray:
    """Which part of what is relevant stands in the first so many, of each query."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    found = np.take_along_axis(relevant & np.isfinite(scores), order, axis=1).sum(axis=1)
    return found / relevant.sum(axis=1)


def _cost_rows(figures: dict[str, Any], count: int, tokens: int) -> list[list[str]]:
    """The table of times and memory."""
    return [
        [f"index {count:,} chunks of {tokens / count:.0f} tokens", f"{figures['index_seconds']:.0f} s"],
        ["... its memory at most", f"{figures['index_peak']:.0f} MB"],
        ["look again, nothing changed", f"{figures['again_seconds']:.1f} s"],
        ["the index", f"{figures['database']:.0f} MB"],
        ["a query on one core: median, 95th percentile", _pair(figures, "inside")],
        ["... over HTTP", _pair(figures, "query")],
        ["memory of the service at most", f"{figures['serve_peak']:.0f} MB"],
    ]


def _pair(figures: dict[str, Any], name: str) -> str:
    return f"{figures[name] * 1e3:.0f} ms, {figures[f'slow_{name}'] * 1e3:.0f} ms"


def main() -> None:
    """Measure, print, and fill the page."""
    parser = common.command_line(__doc__)
    parser.add_argument("--cranfield", type=Path, required=True, help="the folder of the collection")
    parser.add_argument("--chunks", type=int, default=10_000, metavar="N", help="to index (default: 10,000)")
    parser.add_argument("--skip-cost", action="store_true", help="measure only what is found, and write no page")
    options = parser.parse_args()
    queries, documents, relevant = cranfield(options.cranfield)
    model = minibert.load("minilm")
    quality = ["", "nDCG@10", "recall@10"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = _write(Path(scratch, "quality"), documents)
        tables = [common.table(quality, _quality(folder, queries, relevant, model))]
        if not options.skip_cost:
            folder = Path(scratch, "cost")
            tokens = _corpus(folder, documents, options.chunks, model)
            figures = _cost(folder, queries)
            common.note(figures["said"])
            machine = common.describe_machine()
            where = f"{machine['cpu']}, {machine['cpus']} CPUs, load {machine['load']}; {machine['date']}"
            rows = _cost_rows(figures, options.chunks, tokens)
            tables = [common.table(["", ""], rows), f"{where}, revision {machine['revision']}.", *tables]
    text = "\n\n".join(tables)
    print(text)
    if not options.skip_cost:
        common.fill(EXAMPLE / "README.md", __file__, text)


if __name__ == "__main__":
    main()
