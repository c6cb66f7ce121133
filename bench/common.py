"""What the scripts share: the machine, results that are kept, sampling, turns, and tables and pictures of the pages."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
DOCS, README, RESULTS = ROOT / "docs", ROOT / "README.md", ROOT / "bench/results"
_END = "<!-- end of table -->"

T = TypeVar("T")
Name = TypeVar("Name", bound=Hashable)


def command_line(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of the script."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def note(text: str) -> None:
    """A line about progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


# The machine.


def describe_machine() -> dict[str, Any]:
    """CPU, number of CPUs, system, load, and the revision of the sources where there is one."""
    return {
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "revision": _revision(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "nice": os.nice(0),
        "load": load(),
    }


def load() -> float:
    """Processes that ran or wanted to run, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _revision() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


# Results.


def write_json(path: Path, value: Any) -> None:
    """Writes a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


class Results(dict[str, dict[str, Any]]):
    """Figures by name, kept in bench/results/FILE.json, so that a run can be continued.

    Args:
        file: name of the file, without its ending.
    """

    def __init__(self, file: str) -> None:
        self.path = RESULTS / f"{file}.json"
        super().__init__(json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {})

    def keep(self, name: str, figures: Mapping[str, Any]) -> None:
        """Writes the figures of `name`, and on what machine they were measured."""
        self[name] = {**figures, "machine": describe_machine()}
        write_json(self.path, self)


# Texts.


def sample(texts: Sequence[str], count: int) -> list[str]:
    """So many of the texts, the same in every run."""
    return random.Random(0).sample(texts, count)


# Turns.


def in_turns(contestants: Iterable[T], rounds: int) -> Iterator[T]:
    """Each contestant once a round, in an order that rotates: whatever the machine does hits all alike."""
    everyone = list(contestants)
    for number in range(rounds):
        shift = number % max(len(everyone), 1)
        yield from everyone[shift:] + everyone[:shift]


def time_in_turns(calls: Mapping[Name, Callable[[], Any]], rounds: int, repeats: int = 1) -> dict[Name, list[float]]:
    """Seconds of every call, by name and in order; in a turn a function is called `repeats` times."""
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for name in in_turns(calls, rounds):
        for _ in range(repeats):
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


# Pages.


def line(cells: Iterable[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table in Markdown: first as many columns of words, the others of numbers."""
    rule = "|---" * words + "|---:" * (len(header) - words) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def fill(page: Path, script: str, text: str) -> None:
    """Puts what a script makes into a page, between two marks, of which the first names the script.

    Args:
        page: a Markdown file.
        script: `__file__` of the script.
        text: the new table.

    Raises:
        SystemExit: the page lacks the marks.
    """
    mark = f"<!-- table: {Path(script).resolve().relative_to(ROOT).as_posix()} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(mark)
    _old, end, after = rest.partition(_END)
    if not found or not end:
        sys.exit(f"{page}: has no table between {mark} and {_END}")
    page.write_text(f"{before}{mark}\n{text}\n{end}{after}", encoding="utf-8")


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches, for `save_figure`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    return FigureCanvasSVG(Figure(figsize=(width, height))).figure


def save_figure(figure: Any, path: Path) -> None:
    """Writes an SVG file; the same figures give the same bytes."""
    import matplotlib

    figure.tight_layout()
    with matplotlib.rc_context({"svg.hashsalt": "minibert"}):
        figure.savefig(path, metadata={"Date": None})
