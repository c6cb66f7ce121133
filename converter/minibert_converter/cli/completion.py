"""Print what a shell needs to complete the commands and options of minibert."""

from __future__ import annotations

import argparse

from minibert.cli import console

HELP = "print what a shell completes commands and options by"
EXAMPLES = (
    "completion bash > ~/.local/share/bash-completion/completions/minibert",
    "completion zsh > ~/.zfunc/_minibert",
)
#: What stands for a file or a folder in the help of options.
_FILES = ("FILE", "SRC", "DATA", "TOML", "TEXTS", "HTML", "OUT")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(arguments: argparse.Namespace) -> int:
    """Print a script of shtab's, made of the parsers of all commands."""
    import shtab

    parser: argparse.ArgumentParser = arguments.overview(whole=True)
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    for action in (action for command in commands.choices.values() for action in command._actions):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    console.say(shtab.complete(parser, arguments.shell))
    return 0
