"""Options and inputs that several commands share."""

from __future__ import annotations

import argparse
import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from minibert.cli import console
from minibert.datasets import refuse_utf_16
from minibert.errors import InputError
from minibert.progress import is_terminal
from minibert.text.packing import READ_AHEAD

if TYPE_CHECKING:
    from minibert.model import Model


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


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


def add_force(parser: argparse.ArgumentParser) -> None:
    """Whether files are replaced: what `may_replace` reads."""
    parser.add_argument("-f", "--force", action="store_true", help="replace files that exist, without asking")


def may_replace(arguments: argparse.Namespace, *paths: str | None) -> None:
    """Ask on a terminal whether outputs that exist are to be replaced; --force says so, too.

    Raises:
        InputError: they are not.
    """
    for path in paths:
        if path is None or arguments.force or not os.path.isfile(path):
            continue
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise InputError(f"{path}: exists; to replace it give --force, else name another file")
        console.ask(f"{path} exists. Replace it? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise InputError(f"{path}: exists, and is left as it is")


def add_texts(parser: argparse.ArgumentParser) -> None:
    """TEXT ... and how texts are read: what `lines` and `reading` read."""
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


def lines(arguments: argparse.Namespace, *, lazily: bool = True) -> Iterable[str]:
    """Texts from the command line, or the lines of stdin; `lazily`: whether --stream answers each at once."""
    return arguments.text or _stdin_lines(lazily and not arguments.stream)


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


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """How texts are read, as methods take it that answer lazily; one ahead when someone waits for each answer."""
    return {
        "read_ahead": 1 if arguments.stream or (not arguments.text and is_terminal(sys.stdin)) else READ_AHEAD,
        "truncation": not arguments.no_truncation,
        "max_length": arguments.max_length,
        "batch_size": arguments.batch_size,
    }


def _stdin_lines(hint: bool) -> Iterator[str]:
    """One text a line, an empty line an empty text, so that answers stay in step.

    What is no UTF-8 becomes U+FFFD, with a warning: one damaged line must not end a log that never ends.

    Args:
        hint: whether to name --stream, should lines be slow to come.

    Raises:
        InputError: there is no stdin, or it is UTF-16 or UTF-32.
    """
    if sys.stdin is None:
        raise InputError("stdin is closed: give texts on the command line, or lines on stdin")
    if is_terminal(sys.stdin):
        console.note("reading texts from the keyboard, one a line; Ctrl-D ends")
        hint = False
    damaged = False
    for number, line in enumerate(_byte_lines(sys.stdin.buffer, hint), 1):
        if number == 1:
            refuse_utf_16(line, "stdin")
            line = line.removeprefix(codecs.BOM_UTF8)
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        if not damaged and "\ufffd" in text and "\ufffd".encode() not in line:
            damaged = True
            console.complain(f"warning: line {number} of stdin is no UTF-8; what cannot be read is taken for U+FFFD")
        yield text


def _byte_lines(stream: BinaryIO, hint: bool) -> Iterator[bytes]:
    """Lines without their ends, as soon as they come."""
    unended: list[bytes] = []
    while True:
        console.flush()  # before waiting: what was answered goes out
        if hint and unended and not _readable(stream):
            hint = False
            console.note(f"still reading: answers come for {READ_AHEAD} lines at once; --stream gives each by itself")
        chunk = stream.read1(1 << 16)  # pyright: ignore[reportAttributeAccessIssue]
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            yield b"".join([*unended, line])
            unended.clear()
        unended.append(rest)
        if not chunk:
            if last := b"".join(unended):
                yield last
            return


def _readable(stream: BinaryIO, seconds: float = 1.0) -> bool:
    """Whether there is more to read, or its end, within some time; True where a system cannot tell."""
    import select

    try:
        return bool(select.select([stream], [], [], seconds)[0])
    except (OSError, ValueError):
        return True
