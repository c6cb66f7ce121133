"""Reading a command line: argparse, with examples below the options, and with what was meant where it was misspelt."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from types import ModuleType
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """The parser of one command.

    Args:
        name: of the command.
        module: has its docstring, `configure(parser)`, and EXAMPLES, command lines without `minibert` before them.
        add_help: whether there is --help.
    """

    def __init__(self, name: str, module: ModuleType, *, add_help: bool = True) -> None:
        examples = "\n".join(f"  minibert {each}" for each in module.EXAMPLES)
        super().__init__(
            prog=f"minibert {name}",
            description=module.__doc__,
            epilog=f"examples:\n{examples}",
            formatter_class=_AsWritten,
            add_help=add_help,
        )
        module.configure(self)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, naming the option that was probably meant, and leave."""
        if unknown := re.fullmatch(r"unrecognized arguments: (--?[\w-]+).*", message, re.DOTALL):
            message += meant(unknown[1], (each for each in self._option_string_actions if each.startswith("--")))
        elif wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += meant(wrong[1], re.findall(r"[^', ]+", wrong[2]))
        super().error(message)


class _AsWritten(argparse.HelpFormatter):
    """Help whose examples keep their lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return "\n".join(indent + line for line in text.splitlines())
        return super()._fill_text(text, width, indent)


def meant(name: str, known: Iterable[str]) -> str:
    """What to say of a name that there is not: the nearest of those that there are, or nothing."""
    from difflib import get_close_matches  # here: only who errs needs it

    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
