"""Options and inputs that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.errors import InputError

if TYPE_CHECKING:
    from minibert.model import Model


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def numbers(kind: type) -> Callable[[str], tuple[Any, ...]]:
    """An argument that is a list of numbers between commas."""

    def numbers(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    return numbers


def threshold(text: str) -> bool | float:
    """An argument that is a probability, or "off"."""
    return False if text == "off" else float(text)


def add_model(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """FILE and how it is run: what `load_model` reads."""
    nargs = None if needed else "?"
    parser.add_argument("file", metavar="FILE", nargs=nargs, help="a model file, written by minibert convert")
    parser.add_argument("--threads", type=positive, metavar="N", help="worker threads (default: the cores there are)")
    parser.add_argument("--backend", metavar="NAME", help="how kernels run (default: the fastest that runs here)")
    parser.add_argument(
        "--early-exit", type=threshold, default=True, metavar="P|off", help="answer early from this probability on"
    )
    parser.add_argument(
        "--no-token-pruning", action="store_true", help="read all tokens in all layers, whatever the file says"
    )


def add_texts(parser: argparse.ArgumentParser) -> None:
    """TEXT ... and how texts are read: what `lines` and `read_ahead` read."""
    parser.add_argument("text", nargs="*", default=[], metavar="TEXT", help="texts; without any, lines from stdin")
    parser.add_argument("--stream", action="store_true", help="answer each line from stdin before reading the next")
    parser.add_argument("--max-length", type=positive, metavar="N", help="tokens to read of a text")
    parser.add_argument(
        "--no-truncation", action="store_true", help="refuse texts that are too long instead of cutting"
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="texts in one pass (default: 32)")


def load_model(arguments: argparse.Namespace) -> Model:
    """The model that the command line names."""
    import minibert

    return minibert.load(
        arguments.file,
        threads=arguments.threads,
        backend=arguments.backend,
        early_exit=arguments.early_exit,
        token_pruning=not arguments.no_token_pruning,
    )


def lines(arguments: argparse.Namespace) -> Iterable[str]:
    """Texts from the command line, or the lines of stdin."""
    return arguments.text or _stdin_lines()


def pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each line as a pair of texts: the two halves around a tab.

    Raises:
        InputError: a line has no tab, or several.
    """
    for number, line in enumerate(lines, 1):
        parts = line.split("\t")
        if len(parts) != 2:
            raise InputError(f"text {number} must be a pair with one tab between, got {len(parts) - 1} tabs")
        yield parts[0], parts[1]


def read_ahead(arguments: argparse.Namespace) -> int:
    """Texts to read before answering: one when someone waits for each answer."""
    from minibert.text.packing import READ_AHEAD

    return 1 if arguments.stream or (not arguments.text and sys.stdin.isatty()) else READ_AHEAD


def _stdin_lines() -> Iterator[str]:
    """One text a line, an empty line an empty text, so that answers stay in step; what is no UTF-8 becomes U+FFFD."""
    if sys.stdin.isatty():
        console.note("reading texts from the keyboard, one a line; Ctrl-D ends")
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
