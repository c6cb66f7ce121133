"""The long fuzz: mutated files that pass the reader are loaded and run, in children that a wrong address would kill.

    python -m tests.format.fuzz --rounds 100000 --seed 1

Each round makes files from its own seed until the reader takes one, so a round that fails is repeated alone by
`--first N --rounds 1`. A round's file is copied between guard pages (see guards.py) and runs on token ids and on text,
twice with other bytes in the working memory before. Rounds go through children of BATCH rounds each, which may use
MEMORY bytes of addresses more than the parent, and SECONDS for each round.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minibert.engine import executor
from minibert.engine.backends import choose_backend
from minibert.engine.library import chosen_isa, kernels
from minibert.errors import FormatError, MinibertError
from minibert.model import Model
from minibert.tasks import base
from tests.format import guards
from tests.format.forge import Forge
from tests.format.models import CONFIGS, tables_config
from tests.format.mutations import mutate, spoil_json
from tests.format.random_models import bytes_of, file_of, random_config, tokenizer_of
from tests.format.roles import change_roles
from tests.format.token_mutations import mutate_tokens
from tests.format.tokenizers import NAMES, VOCAB_SIZE

BATCH, MEMORY, SECONDS = 250, 2 << 30, 120
#: What a child counts where its parent reads it: the round it is at, and how each ended.
COUNTS = ("round", "answered", "refused", "refused later", "unlike")
TEXTS = ("a great movie", "", "a [MASK] movie, not very good.", "x" * 300, "é 電影 \u0301 [SEP] [", ("a", "b c"))


class Fuzz:
    """Rounds of one seed.

    Attributes:
        failures: what went wrong, one line or traceback a round.
        counts: how many files were refused, answered, or refused later on.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self._path = folder / "fuzzed.safetensors"
        self._log = folder / "failures.txt"
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._whole: list[Forge] = []
        self._tables: list[Forge] = []

    def run(self, first: int, rounds: int, report: Callable[[int], None] = lambda done: None) -> None:
        """Run rounds first..first + rounds - 1; failures are collected, and the rounds behind them go on."""
        if (backend := choose_backend()) != "numpy":
            kernels(prebuilt=backend == "prebuilt")  # before the children: loaded once
        self._whole = [Forge(bytes_of(*file_of(config.to_json(), 0)), self.folder) for config in CONFIGS.values()]
        tables = [tables_config(name, VOCAB_SIZE) for name in NAMES]
        self._tables = [Forge(bytes_of(*file_of(config.to_json(), 0)), self.folder) for config in tables]
        place, end = first, first + rounds
        while place < end:
            place = self._batch(place, min(place + BATCH, end))
            report(place - first)

    def _batch(self, first: int, end: int) -> int:
        """Fork a child for these rounds; returns the round to go on with."""
        self._shared[:] = bytes(len(self._shared))
        self._log.write_text("")
        sys.stdout.flush()
        child = os.fork()
        if not child:
            code = 1
            try:
                self._child(first, end)
                code = 0
            except BaseException:
                self._note(first, traceback.format_exc())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        counts = dict(zip(COUNTS, struct.unpack_from(f"{len(COUNTS)}q", self._shared), strict=True))
        reached = counts.pop("round")
        self.counts.update(counts)
        foreign = self._log.read_text().split("\0")[1:]
        self.failures += foreign
        self.counts["foreign exceptions"] += len(foreign) - counts["unlike"]
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            hang = number in (signal.SIGALRM, signal.SIGPROF)
            self.counts["hangs" if hang else "crashes"] += 1
            self.failures.append(f"round {reached}: killed by {signal.Signals(number).name}")
            return reached + 1
        return end if status == 0 else reached + 1

    def _child(self, first: int, end: int) -> None:
        warnings.simplefilter("ignore")
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Rust tells of panics there, whether caught or not
        guards.install()
        executor.WORTH_WAKING = 0  # where there are two threads, both work
        base.read_model = guards.read_guarded
        for number in range(first, end):
            struct.pack_into("q", self._shared, 0, number)
            signal.alarm(SECONDS)
            try:
                outcome = self._round(number)
                self._count(outcome)
                if outcome == "unlike":
                    self._note(number, "the answer depends on what was in memory before")
            except Exception:
                self._note(number, traceback.format_exc())
        signal.alarm(0)

    def _round(self, number: int) -> str:
        rng = random.Random(f"{self.seed}.{number}")
        while True:
            content = self._file(rng)
            self._path.write_bytes(content)
            try:
                model = Model(str(self._path), threads=rng.choice([1, 1, 1, 2]))
                break
            except FormatError:
                self._count("refused")
        return answered(model, rng)

    def _file(self, rng: random.Random) -> bytes:
        """A file with something wrong about it, or nothing."""
        kind = rng.random()
        if kind < 0.1:
            return mutate(rng.choice(self._whole).copy(), rng)
        if kind < 0.3:
            return mutate_tokens(rng.choice(self._tables).copy(), rng)
        while True:
            config = random_config(rng)
            tokenizer = json.loads(tokenizer_of(config))
            if rng.random() < 0.2:
                spoil_json(tokenizer, rng)
            try:
                if rng.random() < 0.9:
                    change_roles(config, rng)
                header, data = file_of(config, rng.randrange(2**32), json.dumps(tokenizer, ensure_ascii=False))
                break
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # spoiled, and then changed again
                self._count("refused")
        content = bytearray(bytes_of(header, data))
        if config["text"].get("tables") and rng.random() < 0.3:
            return mutate_tokens(Forge(bytes(content), self.folder), rng)
        change = rng.random()
        if change < 0.1:
            spoil_json(header, rng)
            return bytes_of(header, data)
        if change < 0.3:
            for _ in range(rng.choice([1, 8, 64])):
                content[len(content) - 1 - rng.randrange(len(data))] = rng.randrange(256)
        return bytes(content)

    def _count(self, outcome: str) -> None:
        place = 8 * COUNTS.index(outcome)
        struct.pack_into("q", self._shared, place, struct.unpack_from("q", self._shared, place)[0] + 1)

    def _note(self, number: int, text: str) -> None:
        with self._log.open("a") as log:
            log.write(f"\0round {number}: {text}")


def answered(model: Model, rng: random.Random) -> str:
    """Run a model on ids and on text: how that ended, as one of COUNTS."""
    architecture = model.config.architecture
    lengths = [rng.choice([1, 2, 7, 16, 40, 300]) for _ in range(rng.choice([1, 3, 30]))]
    ids, types = [], []
    for length in lengths:
        length = min(length, architecture.max_positions)
        ids.append([rng.randrange(architecture.vocab_size) for _ in range(length)])
        types.append([rng.randrange(max(1, architecture.token_types)) for _ in range(length)])
    try:
        first = model.forward(ids, types)
        if model.engine._executor is not None:
            for workspace in model.engine._executor._free:
                guards.spoil(workspace)
        second = model.forward(ids, types)
    except MinibertError:
        return "refused later"
    if not np.array_equal(first, second, equal_nan=True):
        return "unlike"
    for text in rng.sample(TEXTS, 2):
        try:
            if model.task.kind == "question-answering":
                model.answer(question="a", context=text)
            elif model.task.kind == "sentence-embedding":
                model.encode([text])
                if architecture.token_heads:
                    model._with_token_heads[0]._engine.forward(ids, types)
            elif model.task.kind == "multi-vector":
                attended = [rng.randint(1, len(text)) for text in ids]
                model.engine.forward(ids, types, attended=attended)
                model.similarity(model.encode_query([text]), model.encode_document([text]))
            else:
                model.predict([text])
        except MinibertError:
            pass
    return "answered"


def main() -> None:
    """Run the long fuzz; exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=100_000, help="files that pass the reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="round to begin with, to go on or to repeat one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(arguments.seed, Path(folder))

        told: list[str] = []

        def report(done: int) -> None:
            new = fuzz.failures[len(told) :]
            told.extend(new)
            sys.stdout.write("".join(f"\n{failure}\n" for failure in new) + f"\r{done} rounds: {dict(fuzz.counts)}")
            sys.stdout.flush()

        fuzz.run(arguments.first, arguments.rounds, report)
    last = arguments.first + arguments.rounds - 1
    sys.stdout.write(
        f"\nseed {arguments.seed}, rounds {arguments.first} to {last}, {chosen_isa()}: "
        f"{len(fuzz.failures)} failures, {dict(fuzz.counts)}\n"
    )
    raise SystemExit(bool(fuzz.failures))


if __name__ == "__main__":
    main()
