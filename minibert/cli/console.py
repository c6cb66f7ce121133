"""Writing to the terminal: answers to stdout, everything else to stderr, colour only where someone looks."""

from __future__ import annotations

import codecs
import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from minibert.progress import is_terminal


def say(text: str = "") -> None:
    """One line of the answer, on stdout."""
    if sys.stdout is None:  # closed by who started this process (`>&-`)
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "stdout")
    _write(sys.stdout, text + "\n")


def say_json(value: Any, *, indent: int | None = None) -> None:
    """A JSON value on stdout: one line, or indented."""
    say(json_of(value, indent=indent))


def json_of(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that stdout can carry: where that is not UTF-8, whatever is not ASCII is escaped."""
    utf_8 = sys.stdout is not None and codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    return json.dumps(value, ensure_ascii=not utf_8, indent=indent)


def flush() -> None:
    """Hand what was said to the reader now."""
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up() -> None:
    """Forget what stdout still holds, as nobody can take it: Python would fail over it once more at its exit."""
    try:
        flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """One line about the work, on stderr."""
    if sys.stderr is not None:
        _write(sys.stderr, text + "\n")


def ask(question: str) -> None:
    """A question on stderr, whose answer comes behind it."""
    _write(sys.stderr, question)
    sys.stderr.flush()


def complain(text: str) -> None:
    """One line about what is wrong, on stderr; line breaks inside would hide that it is one complaint."""
    note(f"minibert: {' '.join(text.split())}")


def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A Python warning as one line, without the line of code that caused it."""
    complain(f"warning: {message}")


def bold(text: str) -> str:
    """`text` in bold, if stdout is a terminal that shows it."""
    return _styled("1", text)


def dim(text: str) -> str:
    """`text` in grey, if stdout is a terminal that shows it."""
    return _styled("2", text)


def green(text: str) -> str:
    """`text` in green, if stdout is a terminal that shows it."""
    return _styled("32", text)


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None, indent: str = "") -> str:
    """Columns of text, as wide as they need to be: the first flush left, the others flush right."""
    lines = [*([header] if header else []), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = []
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        shown.append(indent + "  ".join(cells).rstrip())
    if header:
        shown[0] = dim(shown[0])
    return "\n".join(shown)


def one_line(text: str, width: int = 100) -> str:
    """`text` as one line for people: no control characters, which a terminal would obey, and cut to `width`."""
    # A little more than is shown is enough to know whether to cut.
    clean = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * width]).split())
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def megabytes(size: int) -> str:
    """Bytes for people: decimal units, as disks count."""
    return f"{size / 1e6:.2f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def milliseconds(seconds: float) -> str:
    """A time for people."""
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _styled(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _colourful(sys.stdout) else text


def _colourful(stream: TextIO | None) -> bool:
    """Whether to colour (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal that is not UTF-8, or half a surrogate pair
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
