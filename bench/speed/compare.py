r"""Latency of minibert and of its peers, taken in turns, so that whatever the machine does hits all alike.

    python -m bench.speed.compare build/bench/models/minilm/minibert.safetensors --threads 1 \
        --peer onnxruntime=envs/onnxruntime/bin/python:models/minilm/onnxruntime

Each runtime is loaded once, in a process of its own. A round gives every runtime one turn, the order rotates from
round to round, and before each turn there is a pause in which the threads of the one before it fall asleep. A turn is
one pass that does not count and as many timed ones as fill `--seconds`. A round yields a ratio, the peer's median time
by minibert's; what is reported is the median of these ratios and their range.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import common
from bench.speed.peers import Peer, PeerError, Process, add_options, chosen
from bench.speed.shapes import SHAPES, Calls, Shape, ways

_LEAST, _MOST = 2, 2000  # timed passes a turn
#: A contestant whose median is this far above its fastest pass was disturbed by something.
DISTURBED = 1.15
#: A peer whose answers are less alike than this does not compute the same thing.
_UNLIKE = 0.8


@dataclass
class Contestant:
    """One runtime, fed in one way, and the times of its turns on one shape."""

    process: Process
    way: str
    calls: Calls
    repeats: int = _LEAST
    turns: list[list[float]] = field(default_factory=list)
    preempted: int = 0

    @property
    def medians(self) -> list[float]:
        """The median of each turn, in seconds."""
        return [statistics.median(turn) for turn in self.turns]

    @property
    def runtime(self) -> str:
        """Of the peer."""
        return self.process.peer.runtime

    def prepare(self, ids: list[list[int]], seconds: float) -> None:
        """Send the batch, warm it up, and learn how often it fits into a turn."""
        self.process.ask("put", self.way, [[ids[text] for text in call] for call in self.calls])
        first = min(self.process.ask("time", self.way, _LEAST)["seconds"])
        self.repeats = min(max(_LEAST, round(seconds / first)), _MOST)

    def turn(self) -> None:
        """One turn."""
        result = self.process.ask("time", self.way, self.repeats)
        self.turns.append(result["seconds"])
        self.preempted += result["preempted"]

    def answers(self) -> list[list[float]]:
        """Its answers, in the order of the batch."""
        order = [text for call in self.calls for text in call]
        return [row for _, row in sorted(zip(order, self.process.ask("answers", self.way), strict=True))]


@dataclass(frozen=True)
class Row:
    """The result of one contestant on one shape.

    Attributes:
        ratio: median over the rounds of its time by minibert's; `low` and `high` are the extremes.
        best_ratio: its fastest pass by minibert's fastest: what is left when everything that disturbs is taken away.
        cosine: mean over the texts of the cosine of its answer and minibert's: that both compute the same thing; None
            where the answers are not alike in width.
        preempted: involuntary switches to other processes during its turns; a thread that yields while it waits counts.
    """

    shape: str
    threads: int
    runtime: str
    way: str
    version: str
    median_ms: float
    min_ms: float
    passes: int
    ratio: float
    low: float
    high: float
    best_ratio: float
    gmacs_per_second: float
    cosine: float | None
    preempted: int
    disturbed: bool
    rounds_ms: list[float]


def measure(
    shape: Shape, processes: list[Process], threads: int, facts: dict[str, Any], options: argparse.Namespace
) -> list[Row]:
    """All contestants on one shape, minibert first; a peer that fails is left out, with a line that says why."""
    ids = shape.token_ids(facts["vocab_size"])
    present: list[Contestant] = []
    for process in processes:
        try:
            present += _contestants(process, shape, ids, options.seconds)
        except PeerError as error:
            if process is processes[0]:
                raise
            common.note(f"  {shape.name}: {error}")
    for contestant in common.in_turns(present, options.rounds):
        time.sleep(options.settle)
        contestant.turn()
    reference = present[0].answers()
    macs = sum(facts["macs"](length) for length in shape.lengths)
    return [_row(shape, threads, one, present[0], macs, _cosine(one.answers(), reference)) for one in present]


def _contestants(process: Process, shape: Shape, ids: list[list[int]], seconds: float) -> list[Contestant]:
    """The ways in which this runtime is fed, ready for their turns."""
    process.ask("forget")
    if not process.ask("can", max(shape.lengths)):
        common.note(f"  {shape.name}: {process.peer.runtime} has no model of this length")
        return []
    feeds = {"one batch": [list(range(len(ids)))]} if process.info["ragged"] else ways(shape)
    if process.info["one_at_a_time"]:
        feeds = {"one at a time": feeds["one at a time"]}
    found = [Contestant(process, way, calls) for way, calls in feeds.items()]
    for contestant in found:
        contestant.prepare(ids, seconds)
    return found


def _row(shape: Shape, threads: int, one: Contestant, ours: Contestant, macs: int, cosine: float | None) -> Row:
    ratios = [a / b for a, b in zip(one.medians, ours.medians, strict=True)]
    passes = [seconds for turn in one.turns for seconds in turn]
    median, fastest = statistics.median(passes), min(passes)
    return Row(
        shape=shape.name,
        threads=threads,
        runtime=one.runtime,
        way=one.way,
        version=one.process.info["version"],
        median_ms=1e3 * median,
        min_ms=1e3 * fastest,
        passes=len(passes),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        best_ratio=fastest / min(seconds for turn in ours.turns for seconds in turn),
        gmacs_per_second=macs / median / 1e9,
        cosine=cosine,
        preempted=one.preempted,
        disturbed=median > DISTURBED * fastest,
        rounds_ms=[1e3 * seconds for seconds in one.medians],
    )


def _cosine(a: list[list[float]], b: list[list[float]]) -> float | None:
    """Mean over the rows; None for answers of different widths (CTranslate2 has encoders, but no classifier on top)."""
    if len(a[0]) != len(b[0]):
        return None

    def cosine(x: list[float], y: list[float]) -> float:
        return sum(p * q for p, q in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y) or 1.0)

    return statistics.mean(cosine(x, y) for x, y in zip(a, b, strict=True))


def compare(peers: list[Peer], threads: int, options: argparse.Namespace) -> list[Row]:
    """Every shape, on `threads` threads. `peers[0]` is minibert."""
    facts = model_facts(Path(peers[0].model))
    rows: list[Row] = []
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minibert-bench-")))
        processes = []
        for peer in peers:
            try:
                processes.append(stack.enter_context(Process(peer, threads, logs / f"{peer.runtime}.log")))
            except PeerError as error:
                log = (logs / f"{peer.runtime}.log").read_text()
                if not processes:
                    sys.exit(f"{error}\n{log}")
                common.note(f"skipped {error}")
        for name in options.shapes:
            shape = SHAPES[name]
            if max(shape.lengths) > facts["max_positions"]:
                common.note(f"  {name}: longer than the model's {facts['max_positions']} positions")
                continue
            new = measure(shape, processes, threads, facts, options)
            rows += new
            common.note(f"{threads} thread{'s' * (threads > 1)}, {shape.title} tokens")
            for row in new:
                alike = "answers of another width" if row.cosine is None else f"cosine {row.cosine:.4f}"
                alike += "  OTHER ANSWERS" * (row.cosine is not None and row.cosine < _UNLIKE)
                common.note(
                    f"  {row.runtime:12} {row.way:22} {row.median_ms:9.3f} ms (min {row.min_ms:9.3f})  "
                    f"x{row.ratio:5.2f} ({row.low:.2f} to {row.high:.2f}, fastest {row.best_ratio:.2f})  "
                    f"{row.gmacs_per_second:6.1f} GMAC/s  {alike}{'  disturbed' * row.disturbed}"
                )
    return rows


def model_facts(model: Path) -> dict[str, Any]:
    """What the comparison must know of the model: vocabulary, positions, and the work of one text of a length."""
    from minibert.bench import macs
    from minibert.format import read_model

    config = read_model(model).config
    shape = config.architecture
    return {
        "vocab_size": shape.vocab_size,
        "max_positions": shape.max_positions,
        "macs": lambda length: macs(config, length),
    }


def add_timing_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how long to measure."""
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each peer (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn (default: 0.2)")
    parser.add_argument("--settle", type=float, default=0.1, help="seconds of pause before a turn (default: 0.1)")


def main() -> None:
    parser = common.command_line(__doc__)
    add_options(parser)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N")
    add_timing_options(parser)
    parser.add_argument("-o", "--out", type=Path, help="write the rows here, as JSON")
    options = parser.parse_args()
    peers = chosen(options)
    before = common.describe_machine()
    rows = [row for threads in options.threads for row in compare(peers, threads, options)]
    if options.out:
        result = {"machine": before, "load_after": common.load(), "rows": [asdict(row) for row in rows]}
        common.write_json(options.out, result)


if __name__ == "__main__":
    main()
