"""What a fresh process pays before its first answer: time, peak memory, and the files it needs.

    python -m bench.speed.startup build/bench/models/minilm/minibert.safetensors

Time runs from starting the interpreter until the answer to one text is printed; disk and kernel caches are warm. The
peers take turns, as in compare.py. Sizes are those of the files that a runtime reads to answer a text: minibert's file
holds the tokenizer, a peer has it beside.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import common
from bench.speed.peers import HERE, Peer, add_options, chosen, environment

TEXT = "The quick brown fox jumps over the lazy dog while nobody in the whole village is looking at it."
#: Files of a peer's folder that are its model; of LiteRT's one for each length only one is read.
_MODEL_FILES = (".onnx", ".xml", ".bin", ".safetensors")


@dataclass(frozen=True)
class Start:
    """The start of one runtime: median and shortest time, median of the peak resident memory, size of the files."""

    runtime: str
    seconds: float
    fastest: float
    peak_mib: float
    files_mib: float


def measure(peers: list[Peer], threads: int, rounds: int, settle: float) -> list[Start]:
    """Starts every peer `rounds` times, after one time that fills the caches; one that fails is left out."""
    with tempfile.TemporaryDirectory(prefix="minibert-bench-") as folder:
        tokenizer = Path(folder) / "tokenizer.json"
        tokenizer.write_text(_tokenizer(Path(peers[0].model)), encoding="utf-8")
        taken: dict[Peer, list[tuple[float, float]]] = {peer: [] for peer in peers}
        for peer in common.in_turns(peers, rounds + 1):
            if peer not in taken:
                continue
            time.sleep(settle)
            outcome = _start(peer, threads, tokenizer)
            if not isinstance(outcome, str):
                taken[peer].append(outcome)
            elif peer is peers[0]:
                sys.exit(outcome)
            else:
                common.note(f"skipped {peer.runtime}: {outcome}")
                del taken[peer]
        extra = tokenizer.stat().st_size
    results = []
    for peer, times in taken.items():
        seconds, peaks = zip(*times[1:], strict=True)
        size = _size(Path(peer.model)) + (0 if peer.runtime == "minibert" else extra)
        median_peak = statistics.median(peaks)
        results.append(Start(peer.runtime, statistics.median(seconds), min(seconds), median_peak, size / 2**20))
    return results


def _start(peer: Peer, threads: int, tokenizer: Path) -> tuple[float, float] | str:
    """Seconds to the answer and peak MiB; or the last words of a process that failed."""
    command = [peer.python, str(HERE / "first_answer.py"), peer.runtime, peer.model, str(threads), str(tokenizer), TEXT]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment(threads), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    seconds, peak = 0.0, ""
    for line in process.stdout:
        # A library may print something of its own before the answer.
        if line.strip().isdigit():
            seconds, peak = time.perf_counter() - start, line
    _, errors = process.communicate()
    if process.returncode or not peak:
        return (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
    return seconds, int(peak) / 1024


def _tokenizer(model: Path) -> str:
    from minibert.format import read_model

    return read_model(model).tokenizer_json()


def _size(model: Path) -> int:
    """Bytes of the model files."""
    if model.is_file():
        return model.stat().st_size
    lengths = sorted(file.stat().st_size for file in model.glob("*.tflite"))
    if lengths:
        return lengths[0]
    return sum(file.stat().st_size for file in model.iterdir() if file.suffix in _MODEL_FILES)


def main() -> None:
    parser = common.command_line(__doc__)
    add_options(parser)
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--settle", type=float, default=0.1, help="seconds of pause before a start (default: 0.1)")
    parser.add_argument("-o", "--out", type=Path, help="write the results here, as JSON")
    options = parser.parse_args()
    before = common.describe_machine()
    results = measure(chosen(options), options.threads, options.rounds, options.settle)
    for one in results:
        print(
            f"{one.runtime:12} {one.seconds:6.3f} s (fastest {one.fastest:.3f})  "
            f"peak {one.peak_mib:6.1f} MiB  files {one.files_mib:5.1f} MiB"
        )
    if options.out:
        starts = [asdict(one) for one in results]
        common.write_json(options.out, {"machine": before, "threads": options.threads, "starts": starts})


if __name__ == "__main__":
    main()
