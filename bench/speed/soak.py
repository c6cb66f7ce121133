"""Endurance: many Python threads at once, a fork in the middle, ten thousand calls, busy neighbours.

    python -m bench.speed.soak FILE [--threads N] [--json]
    python -m bench.speed.soak FILE --threads 2 --predictions 1000000 --minutes 60

Exits with 1 if an answer differs in a bit from the one it had alone, a process dies or hangs, memory grows, or other
programs that keep all cores busy slow a forward pass down by much more than their share. With --predictions texts are
answered for as long as --minutes says, while models are loaded and let go, and processes forked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minibert
from bench import common

CALLERS, CALLS = 8, 1000
MIXED_CALLS = 10_000
#: Growth of resident memory over the mixed calls that is no leak, MiB.
ALLOWED = 2.0
#: How far resident memory may move in a long run, and how many parts that has: loads, forks and looks at memory.
FLAT_MIB, PARTS = 3.0, 200
#: A child that hasn't answered by then hangs.
PATIENCE_S = 60
#: With a busy neighbour on each core a text may take so many times as long; half of the time is theirs.
ALLOWED_SLOWDOWN = 5.0


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, help="threads of the model (default: the cores there are)")
    parser.add_argument("--predictions", type=int, help="make a long run of so many")
    parser.add_argument("--minutes", type=float, default=60, help="that the long run is spread over (default: 60)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.predictions:
        found = long_run(arguments.file, arguments.threads, arguments.predictions, arguments.minutes * 60)
        print(json.dumps(found, indent=2))
        sys.exit(1 if found["wrong"] or found["highest_mib"] - found["lowest_mib"] > 2 * FLAT_MIB else 0)
    model = minibert.load(arguments.file, threads=arguments.threads)
    random = np.random.default_rng(0)
    texts = some_texts(model, random, 200)
    alone = [model.forward([text]).tobytes() for text in texts]
    found = {
        "threads": model.engine.threads,
        "wrong_in_threads": many_callers(model, texts, alone),
        "wrong_after_fork": forked(model, texts, alone),
        **mixed_calls(model, random),
        "slowdown_by_neighbours": slowdown(model),
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{CALLERS} Python threads x {CALLS} calls: {found['wrong_in_threads']} wrong answers")
        print(f"a forked child's answers: {found['wrong_after_fork']} wrong")
        print(f"{MIXED_CALLS:,} calls of mixed lengths: resident memory {found['grown_mib']:+.2f} MiB")
        print(f"a busy program on each core: {found['slowdown_by_neighbours']:.1f} times the time")
    bad = found["wrong_in_threads"] or found["wrong_after_fork"] or abs(found["grown_mib"]) > ALLOWED
    sys.exit(1 if bad or found["slowdown_by_neighbours"] > ALLOWED_SLOWDOWN else 0)


def some_texts(model: minibert.Model, random: np.random.Generator, count: int) -> list[list[int]]:
    """Token ids of texts of 1 to 200 tokens, most of them short."""
    most = min(200, model.config.architecture.max_positions)
    lengths = np.clip(random.lognormal(np.log(16), 0.8, count).astype(int), 1, most)
    words = model.config.architecture.vocab_size
    return [random.integers(0, words, length).tolist() for length in lengths]


def many_callers(model: minibert.Model, texts: list[list[int]], alone: list[bytes]) -> int:
    """Wrong answers while many threads of Python call at once."""
    wrong = [0] * CALLERS

    def work(caller: int) -> None:
        for call in range(CALLS):
            number = (caller * 37 + call) % len(texts)
            wrong[caller] += model.forward([texts[number]]).tobytes() != alone[number]

    callers = [threading.Thread(target=work, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return sum(wrong)


def forked(model: minibert.Model, texts: list[list[int]], alone: list[bytes]) -> int:
    """Wrong answers of a child forked from a process whose threads are warm."""
    return in_a_fork(
        lambda: sum(model.forward([text]).tobytes() != one for text, one in zip(texts, alone, strict=True))
    )


def in_a_fork(wrong: Callable[[], int]) -> int:
    """How many wrong answers a forked child counts; 255 if it dies or hangs."""
    child = os.fork()
    if child == 0:
        count = 255
        try:
            count = min(wrong(), 254)
        finally:
            os._exit(count)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 255
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 255


def mixed_calls(model: minibert.Model, random: np.random.Generator) -> dict[str, float]:
    """Resident memory before and after calls with one text or several, of all lengths, in MiB."""
    calls = [some_texts(model, random, int(random.integers(1, 9))) for _ in range(500)]
    longest = min(512, model.config.architecture.max_positions)
    calls.append([random.integers(0, model.config.architecture.vocab_size, longest).tolist()])
    for call in calls:
        model.forward(call)
    before = resident_mib()
    for number in range(MIXED_CALLS):
        model.forward(calls[number % len(calls)])
    after = resident_mib()
    return {"resident_mib": after, "grown_mib": after - before}


def long_run(path: Path, threads: int | None, predictions: int, seconds: float) -> dict[str, float]:
    """Answers of texts over a long time, each held to its bits; models come and go, and processes are forked.

    Memory is looked at when a model has answered all texts, so that the same pages of its file were read each time,
    and after the first twentieth of the run.
    """
    random = np.random.default_rng(0)
    model = minibert.load(path, threads=threads)
    texts = [model.tokenizer.decode(text) for text in some_texts(model, random, 400)]
    alone = [answers(model, [text]) for text in texts]
    wrong, done, resident = 0, 0, []
    start = time.monotonic()
    for part in range(PARTS):
        del model
        model = minibert.load(path, threads=threads)
        while done < predictions * (part + 1) // PARTS:
            chosen = [(done + each) % len(texts) for each in range(int(random.choice([1, 1, 1, 2, 8, 32])))]
            wrong += sum(
                answer != alone[number][0]
                for number, answer in zip(chosen, answers(model, [texts[number] for number in chosen]), strict=True)
            )
            done += len(chosen)
        wrong += in_a_fork(lambda: sum(answers(model, [texts[n]]) != alone[n] for n in range(0, len(texts), 10)))  # noqa: B023
        if part >= PARTS // 20:
            resident.append(resident_mib())
        progress = f"{done:,} predictions, {wrong} wrong, {resident_mib():.1f} MiB"
        print(progress, file=sys.stderr, flush=True)
        time.sleep(max(0.0, start + seconds * (part + 1) / PARTS - time.monotonic()))
    return {
        "predictions": done,
        "loads and forks": PARTS,
        "minutes": (time.monotonic() - start) / 60,
        "wrong": wrong,
        "first_mib": resident[0],
        "last_mib": resident[-1],
        "lowest_mib": min(resident),
        "highest_mib": max(resident),
    }


def answers(model: minibert.Model, texts: list[str]) -> list[object]:
    """What a model says of each text, to its last bit."""
    if model.task.kind == "sentence-embedding":
        return [vector.tobytes() for vector in model.encode(texts)]
    return model.predict(texts)


def slowdown(model: minibert.Model, seconds: float = 4.0) -> float:
    """Mean time of a text of 128 tokens with a busy process for each core, by the time without."""
    text = [[1] * min(128, model.config.architecture.max_positions)]

    def mean_time() -> float:
        calls, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            model.forward(text)
            calls += 1
        return (time.perf_counter() - start) / calls

    model.forward(text)
    alone = mean_time()
    busy = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(busy) for _ in range(len(os.sched_getaffinity(0)))]
    try:
        return mean_time() / alone
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
