"""Remakes docs/CLI.md: what `minibert COMMAND --help` says, in the same words under every version of Python.

    python -m tests.golden.make_help

argparse's own layout depends on its version and on the terminal; its groups, options and help texts don't.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from minibert.cli.main import COMMANDS, WORKSTATION, command
from minibert.cli.parser import Parser

PAGE = Path(__file__).parents[2] / "docs/CLI.md"
HEAD = """\
# Commands

What `minibert COMMAND --help` says; this page is written by `python -m tests.golden.make_help`. Options and texts may
come in any order; examples stand below them. Answers go to stdout, warnings and progress to stderr. The exit code is
0, or 1 with a message if what was asked for could not be done, or 2 if the command line makes no sense.
"""


def page() -> str:
    """All commands in Markdown."""
    links = [f"| [{name}](#minibert-{name}) | {command(name).HELP} |" for name in COMMANDS]
    return "\n".join([HEAD, *["| | |", "|---|---|", *links, ""], *map(section, COMMANDS)])


def section(name: str) -> str:
    """A command: what it does, how it is called, and its options, with a table for each group of them."""
    module = command(name)
    parser = Parser(name, module, add_help=False)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    usage = [spelled(each, each.option_strings[:1]) for each in shown if each.option_strings and each.required]
    usage += [spelled(each, ()) for each in shown if not each.option_strings]
    lines = [f"## {parser.prog}", "", str(parser.description), ""]
    if name in WORKSTATION:
        lines += [f"Needs `pip install 'minibert[{WORKSTATION[name]}]'`.", ""]
    lines += [f"    {' '.join([parser.prog, '[OPTIONS]', *usage])}", ""]
    general, options, *groups = [
        (group, [each for each in group._group_actions if each in shown]) for group in parser._action_groups
    ]
    lines += table([*general[1], *options[1]])
    for group, actions in groups:
        lines += [f"**{group.title}**" + f": {group.description}" * bool(group.description), "", *table(actions)]
    return "\n".join([*lines, *(f"    minibert {each}" for each in module.EXAMPLES), ""])


def table(actions: Sequence[argparse.Action]) -> list[str]:
    """Lines of a table: how each is given, and its help."""
    rows = (f"| `{escaped(spelled(each, each.option_strings))}` | {escaped(each.help or '')} |" for each in actions)
    return ["| | |", "|---|---|", *rows, ""]


def spelled(action: argparse.Action, names: Sequence[str]) -> str:
    """An argument as it is given: `-o, --output FILE`, `[TEXT ...]`."""
    value = str(
        action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    )
    value = {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} ...", "0": ""}.get(str(action.nargs), value)
    return " ".join(filter(None, [", ".join(names), value]))


def escaped(text: str) -> str:
    """Text in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("%%", "%")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
