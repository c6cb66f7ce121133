"""Cycles that an emulated Raspberry Pi needs: from Python's start to the first answer, and for a forward pass.

    MINIBERT_ARM=/path/to/arm python -m bench.arm.passes dense=model.safetensors [NAME=MODEL.safetensors ...]
        [--peer onnxruntime=FOLDER:MODEL.onnx] [--peer litert=FOLDER:MODELS] [--start] [--top 10]

`$MINIBERT_ARM CPU SCRIPT ARGUMENTS...` runs Python on an emulated core, as for tests/arm, by a QEMU of user mode that
takes plugins (Debian's qemu-user, version 6 to 8; it is told of ours by QEMU_PLUGIN). A peer's FOLDER holds its package
for aarch64. How often each block of code ran is counted, and llvm-mca says how many cycles it takes on the core, of
minibert's kernels and of a peer's alike: no board is needed, and other work on this machine changes nothing. A forward
pass is the difference between a process that makes three and one that makes one. One thread.

No model of a core knows caches and memory. To that belongs how fast a board would have to read the weights so that
they never keep the core waiting; a pass reads them once for every 48 tokens or fewer.

With `--team 4` that many threads make a pass together, and how much more the busiest of them computes than their mean
is printed instead: blocks that work on vectors alone count, so waiting does not.

The exit status is 1 if the model called dense needs more than its budget. Figures are kept in bench/results, and the
table of docs/RASPBERRY_PI.md and its picture are remade from those.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from bench import common
from bench.arm.blocks import MODELS, Estimate, Functions, Llvm, build_plugin, difference, read_counts
from bench.speed.peers import HERE
from bench.speed.startup import TEXT

#: Board of a core, and its clock in GHz.
BOARDS = {"cortex-a53": ("Pi 3, Zero 2", 1.0), "cortex-a72": ("Pi 4", 1.5), "cortex-a76": ("Pi 5", 2.4)}
#: The instruction set whose kernels run on a core.
ISAS = {"cortex-a53": "neon", "cortex-a72": "neon", "cortex-a76": "neon-dotprod"}
LENGTHS = (8, 16, 32, 64, 128)
#: The most that a start may take and a forward pass of a dense int8 MiniLM, by its number of tokens, in 10^6 cycles.
BUDGETS: dict[str, dict[str, float]] = {
    "cortex-a53": {"16": 49, "128": 420},
    "cortex-a72": {"16": 25.7, "128": 221},
    "cortex-a76": {"16": 7.5, "128": 66.5},
}
#: Threads that the plugin tells apart.
THREADS = 8
#: Tokens of a team's pass.
_TEAM_TOKENS = "16"
#: Rows of a block that weights go by for (minibert.kernels.isa.Target).
_BLOCK_ROWS = 48
#: Part of the instructions that is modelled, of a pass and of a start, which has many more blocks.
_COVER, _COVER_START = 0.995, 0.95


@dataclass(frozen=True)
class Contestant:
    """A runtime with a model.

    Attributes:
        name: of the row in the table.
        runtime: minibert, or as bench/speed/runtimes.py calls it.
        package: folder of its package for aarch64.
        model: file or folder.
        backend: of minibert; empty for its own choice.
    """

    name: str
    runtime: str
    package: str
    model: str
    backend: str = ""


class Emulator:
    """Runs first_answer.py on a core and counts.

    Args:
        folder: for what is written meanwhile.
        threads: of a pass.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._plugin = build_plugin(folder)
        self._number = iter(range(1 << 30))

    def counts(self, core: str, contestant: Contestant, *arguments: str) -> Path:
        """A file that says how often each block ran."""
        target = self._folder / f"{next(self._number)}.txt"
        foreign = "MINIBERT_", "PYTHON"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = "1"
        if contestant.backend:
            environment["MINIBERT_BACKEND"] = contestant.backend
        environment["PYTHONPATH"] = contestant.package
        environment["QEMU_PLUGIN"] = f"{self._plugin},out={target}"
        command = [os.environ["MINIBERT_ARM"], core, str(HERE / "first_answer.py"), contestant.runtime]
        command += [contestant.model, str(self._threads), str(self._folder / "tokenizer.json"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode or not target.exists():
            said = done.stderr.strip()[-500:] or "the emulator did not count: does it take plugins?"
            sys.exit(f"{' '.join(command)}: {said}")
        return target

    def start(self, core: str, contestant: Contestant) -> dict[bytes, float]:
        """Blocks from the start of Python to the answer to a text."""
        return dict(read_counts(self.counts(core, contestant, TEXT)))

    def forward(self, core: str, contestant: Contestant, tokens: str) -> dict[bytes, float]:
        """Blocks of one forward pass."""
        once, thrice = (self.counts(core, contestant, tokens, times) for times in ("1", "3"))
        return difference(read_counts(thrice), read_counts(once), 2)

    def team(self, core: str, contestant: Contestant, tokens: str) -> list[dict[bytes, float]]:
        """Blocks of one forward pass, thread by thread."""
        once, thrice = (self.counts(core, contestant, tokens, times) for times in ("1", "3"))
        threads = range(THREADS)
        return [difference(read_counts(thrice, each), read_counts(once, each), 2) for each in threads]


@dataclass(frozen=True)
class Figure:
    """What a contestant needs on a core for a start, or for a pass of so many tokens."""

    core: str
    contestant: Contestant
    what: str
    estimate: Estimate


def measure(
    emulator: Emulator, llvm: Llvm, cores: Sequence[str], contestants: Sequence[Contestant], whats: Sequence[str]
) -> Iterator[Figure]:
    """All figures, two processes at a time."""

    def one(case: tuple[str, Contestant, str]) -> Figure:
        core, contestant, what = case
        if what == "start":
            return Figure(*case, llvm.estimate(emulator.start(core, contestant), core, _COVER_START))
        return Figure(*case, llvm.estimate(emulator.forward(core, contestant, what), core, _COVER))

    for contestant in contestants:  # writes what Python compiles
        emulator.counts(cores[0], contestant, TEXT)
    cases = [(core, contestant, what) for core in cores for what in whats for contestant in contestants]
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(one, cases)


def _print(figure: Figure, top: int, functions: Functions | None) -> None:
    estimate, milliseconds = figure.estimate, figure.estimate.cycles / BOARDS[figure.core][1] / 1e6
    title = figure.what if figure.what == "start" else f"{figure.what} tokens"
    print(
        f"{figure.core}  {title:<10}  {figure.contestant.name:<12}  {estimate.cycles / 1e6:8.2f} M cycles"
        f"  {estimate.instructions / 1e6:8.2f} M instructions  {milliseconds:7.2f} ms",
        flush=True,
    )
    for block in estimate.blocks[:top]:
        name = functions.name(block.code) if functions else ""
        share = 100 * block.total / estimate.cycles
        print(f"    {share:5.1f} %  {block.runs:10.0f} x {block.cycles:6.1f}  {name or '; '.join(block.assembly[:3])}")


def _functions(core: str) -> Functions:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernels.o"
        subprocess.run([sys.executable, "-m", "minibert.kernels.build", ISAS[core], str(target)], check=True)
        return Functions(target.read_bytes())


def _contestants(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[Contestant]:
    found = []
    for text in options.models:
        name, _, model = text.rpartition("=")
        found.append(Contestant(name or "dense", "minibert", str(options.package.resolve()), model))
    if options.numpy:
        found.append(replace(found[0], name="dense, by NumPy", backend="numpy"))
    for text in options.peer:
        runtime, _, rest = text.partition("=")
        package, _, model = rest.partition(":")
        if not model:
            parser.error(f"--peer {text}: not RUNTIME=FOLDER:MODEL")
        found.append(Contestant(runtime, runtime, package, model))
    return found


def _weights(contestant: Contestant) -> int:
    """Bytes of the matrices that a pass reads; 0 for a peer, whose file is its own affair."""
    if contestant.runtime != "minibert":
        return 0
    from minibert.format import read_model

    tensors = read_model(contestant.model).tensors
    return sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith("layers."))


def _keep(results: common.Results, figure: Figure) -> None:
    kept = dict(results.get(figure.contestant.name, {}))
    kept.pop("machine", None)
    cycles = {**kept.get("cycles", {}), f"{figure.core} {figure.what}": round(figure.estimate.cycles)}
    instructions = {**kept.get("instructions", {}), f"{figure.core} {figure.what}": round(figure.estimate.instructions)}
    weights = _weights(figure.contestant)
    results.keep(figure.contestant.name, {"cycles": cycles, "instructions": instructions, "weights": weights})


def publish(results: common.Results) -> None:
    """The table of docs/RASPBERRY_PI.md, and the picture where matplotlib is to be had."""
    head = ["core (board, clock)", "", "start", *(f"{tokens} tokens" for tokens in LENGTHS)]
    head += ["ms, 16 tokens", "ms, 128", "GB/s, 16", "GB/s, 128"]
    rows = []
    for core, (board, clock) in BOARDS.items():
        for name, kept in results.items():
            cycles = kept["cycles"]
            cells = [f"{core} ({board}, {clock} GHz)", name]
            for what in ("start", *LENGTHS):
                found = cycles.get(f"{core} {what}")
                cells.append(_million(found) if found else "")
            seconds = {tokens: cycles.get(f"{core} {tokens}", 0) / clock / 1e9 for tokens in (16, 128)}
            cells += [f"{1e3 * each:.1f}" if each else "" for each in seconds.values()]
            for tokens, each in seconds.items():
                read = kept["weights"] * -(-tokens // _BLOCK_ROWS)
                cells.append(f"{read / each / 1e9:.2f}" if each and read else "")
            rows.append(cells)
    common.fill(common.DOCS / "RASPBERRY_PI.md", __file__, common.table(head, rows, words=2))
    try:
        _draw(results)
    except ModuleNotFoundError as error:
        common.note(f"no picture: {error.name} is missing (pip install 'minibert[bench]')")


def _million(cycles: float) -> str:
    return f"{cycles / 1e6:.0f}" if cycles >= 1e8 else f"{cycles / 1e6:.1f}"


def _draw(results: common.Results) -> None:
    figure = common.new_figure(11, 3.2)
    for axes, (core, (board, _)) in zip(figure.subplots(1, len(BOARDS)), BOARDS.items(), strict=True):
        for name, kept in results.items():
            points = [(n, kept["cycles"][f"{core} {n}"] / n / 1e6) for n in LENGTHS if f"{core} {n}" in kept["cycles"]]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_title(f"{core} ({board})", fontsize=10)
        axes.set_xlabel("tokens of the text", fontsize=9)
        axes.set_ylabel("million cycles a token", fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f}")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    common.save_figure(figure, common.DOCS / "raspberry_pi.svg")


def _print_team(emulator: Emulator, llvm: Llvm, core: str, contestant: Contestant, threads: int) -> None:
    found = [
        sum(block.total for block in llvm.estimate(runs, core, _COVER).blocks if block.computes)
        for runs in emulator.team(core, contestant, _TEAM_TOKENS)
        if runs
    ]
    shares = sorted(found, reverse=True)[:threads]
    excess = max(shares) / (sum(shares) / len(shares)) - 1
    cycles = ", ".join(f"{share / 1e6:.2f}" for share in shares)
    about = f"{core}  {_TEAM_TOKENS} tokens, {threads} threads  {contestant.name}"
    print(f"{about}: {cycles} M cycles, {100 * excess:.1f} % over", flush=True)


def main() -> int:
    """Print a line for each figure; 1 if a budget is exceeded."""
    parser = common.command_line(__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=FILE", help="MiniLMs of six layers, converted")
    parser.add_argument("--package", type=Path, default=common.ROOT, help="folder that holds minibert with its kernels")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="RUNTIME=FOLDER:MODEL", help="as often as wanted"
    )
    parser.add_argument("--numpy", action="store_true", help="the first model without kernels too")
    parser.add_argument("--core", choices=MODELS, action="append", help="default: all")
    parser.add_argument("--tokens", default=",".join(map(str, LENGTHS)), help="default: %(default)s; empty for none")
    parser.add_argument("--start", action="store_true", help="the start too: minutes for each core and runtime")
    parser.add_argument("--top", type=int, default=0, help="name so many of the most expensive blocks")
    parser.add_argument("--team", type=int, metavar="THREADS", help="how evenly so many threads share a pass")
    parser.add_argument("--mca", default="llvm-mca", help="LLVM's machine code analyzer, 16 or later")
    parser.add_argument("--mc", default="llvm-mc", help="LLVM's disassembler")
    options = parser.parse_args()
    if "MINIBERT_ARM" not in os.environ:
        parser.error("MINIBERT_ARM names no emulator: see docs/RASPBERRY_PI.md")
    from minibert.format import read_model

    contestants = _contestants(options, parser)
    whats = ["start"] * options.start + [text for text in options.tokens.split(",") if text]
    exceeded = False
    results = common.Results("arm/passes")
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as folder:
        tokenizer = read_model(contestants[0].model).tokenizer_json()
        (Path(folder) / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        emulator, llvm = Emulator(Path(folder), options.team or 1), Llvm(options.mc, options.mca)
        for core in options.core or MODELS:
            if options.team:
                for contestant in contestants:
                    _print_team(emulator, llvm, core, contestant, options.team)
                continue
            functions = _functions(core) if options.top else None
            for figure in measure(emulator, llvm, [core], contestants, whats):
                _keep(results, figure)
                _print(figure, options.top, functions)
                budget = BUDGETS[core].get(figure.what)
                if budget and figure.contestant.name == "dense" and figure.estimate.cycles > budget * 1e6:
                    exceeded = True
                    print(f"TOO MANY: at most {budget} M")
    if not options.team:
        publish(results)
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
