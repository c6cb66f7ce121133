"""Peers from the comparing side: where each one lives, and the process that holds it."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench import common

HERE = Path(__file__).resolve().parent
#: Where `prepare.py` puts environments (envs/RUNTIME) and models (models/NAME/RUNTIME).
BUILD = common.ROOT / "build/bench"
RUNTIMES = ("onnxruntime", "litert", "openvino", "ctranslate2", "torch", "llamacpp")
#: What a number of threads is called by the libraries that no option reaches.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_START_SECONDS, _ANSWER_SECONDS = 180, 300


class PeerError(Exception):
    """A peer that does not start, or fails to answer."""


@dataclass(frozen=True)
class Peer:
    """A runtime, the interpreter that has it, and its model."""

    runtime: str
    python: str
    model: str

    @property
    def missing(self) -> str | None:
        """What is not there, or None."""
        for path in (self.python, self.model):
            if not Path(path).exists():
                return f"no {path}"
        return None


def parse_peer(text: str, models: Path) -> Peer:
    """A Peer from RUNTIME=PYTHON[:MODEL]; the model is models/RUNTIME unless it is named.

    Raises:
        argparse.ArgumentTypeError: the text says something else.
    """
    runtime, _, rest = text.partition("=")
    python, _, model = rest.partition(":")
    if runtime not in RUNTIMES or not python:
        raise argparse.ArgumentTypeError(f"{text!r}: not RUNTIME=PYTHON[:MODEL] with one of {', '.join(RUNTIMES)}")
    return Peer(runtime, python, model or str(models / runtime))


def prepared(models: Path) -> list[Peer]:
    """Every peer that `prepare.py` can make, whether it is there or not."""
    return [Peer(name, str(BUILD / "envs" / name / "bin" / "python"), str(models / name)) for name in RUNTIMES]


def add_options(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """The options that name what is compared; the file may be left out if `optional`."""
    nargs = "?" if optional else None
    parser.add_argument("model", type=Path, nargs=nargs, help="the minibert file")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has minibert (default: this one)")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="RUNTIME=PYTHON[:MODEL]",
        help=f"one of {', '.join(RUNTIMES)}; as often as wanted (default: all that prepare.py made)",
    )  # fmt: skip


def chosen(arguments: argparse.Namespace) -> list[Peer]:
    """minibert, then the peers that are there; one line on standard error for each that is not."""
    models = arguments.model.resolve().parent
    try:
        wanted = [parse_peer(text, models) for text in arguments.peer] or prepared(models)
    except argparse.ArgumentTypeError as error:
        sys.exit(f"--peer {error}")
    ours = Peer("minibert", arguments.python, str(arguments.model))
    if ours.missing:
        sys.exit(f"{ours.missing}")
    present = [ours]
    for peer in wanted:
        if peer.missing:
            common.note(f"skipped {peer.runtime}: {peer.missing}")
        else:
            present.append(peer)
    return present


def environment(threads: int) -> dict[str, str]:
    """The environment of a peer's process: its number of threads, nothing fetched from the network.

    Byte code is kept, as pip leaves it for a package that it installs: a checkout would be compiled at each start.
    """
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **quiet, **{name: str(threads) for name in _THREAD_VARIABLES}}


class Process:
    """A running worker; a context manager.

    Raises:
        PeerError: the runtime does not load its model; its own words are in the log.
    """

    def __init__(self, peer: Peer, threads: int, log: Path) -> None:
        self.peer, self.log = peer, log
        ours, theirs = socket.socketpair()
        command = [peer.python, str(HERE / "worker.py"), peer.runtime, peer.model, str(threads), str(theirs.fileno())]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, env=environment(threads), pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        theirs.close()
        self.connection = Connection(ours.detach())
        try:
            self.info: dict[str, Any] = self._answer(_START_SECONDS)
        except PeerError:
            self.close()
            raise

    def ask(self, word: str, *arguments: Any) -> Any:
        """What the worker's method `word` returns.

        Raises:
            PeerError: it failed, died, or took too long.
        """
        try:
            self.connection.send((word, *arguments))
        except OSError as error:
            raise PeerError(f"{self.peer.runtime}: its process has ended; see {self.log}") from error
        return self._answer(_ANSWER_SECONDS)

    def _answer(self, seconds: float) -> Any:
        try:
            if not self.connection.poll(seconds):
                raise PeerError(f"{self.peer.runtime}: no answer in {seconds} s; see {self.log}")
            good, result = self.connection.recv()
        except (EOFError, OSError) as error:
            raise PeerError(f"{self.peer.runtime}: its process has ended; see {self.log}") from error
        if not good:
            raise PeerError(f"{self.peer.runtime}: {result}")
        return result

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
