"""Where the command `minibert` begins: which commands there are, reading a command line, exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from minibert import __version__
from minibert.cli import console
from minibert.cli.parser import Parser, meant
from minibert.errors import MinibertError

#: Each is a module with HELP, EXAMPLES, `configure(parser)` and `run(arguments) -> int`.
COMMANDS = (
    "convert",
    "distill",
    "shrink",
    "predict",
    "encode",
    "fit",
    "eval",
    "inspect",
    "bench",
    "serve",
    "warmup",
    "doctor",
    "demo",
    "completion",
)
#: Those of the workstation half, which a device need not have, and the extra that installs what they need.
WORKSTATION = {"convert": "convert", "distill": "distill", "shrink": "distill", "completion": "convert"}
#: All that need more than a device has.
EXTRAS = {**WORKSTATION, "demo": "convert", "serve": "serve"}

#: Exit codes: what was asked for could not be done; the command line makes no sense (argparse); stopped by Ctrl-C;
#: or by SIGTERM.
FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `minibert`; those of the process by default.

    Returns:
        The exit code: 0, 1 for an error with a message, 130 for Ctrl-C. A command line that makes no sense leaves by
        SystemExit(2), as argparse has it.
    """
    warnings.showwarning = console.show_warning
    if argv is None:  # a process of its own, which is told to end as by Ctrl-C: nothing half-done stays behind
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = parse(words)
        code = arguments.run(arguments)
        console.flush()
        return code
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        console.give_up()
        return 0
    except KeyboardInterrupt:
        console.complain("stopped")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(words[0]) if words else None
        if extra is None or (error.name or "minibert.").startswith(("minibert.", "minibert_converter.")):
            raise  # a broken installation, not a missing part
        console.complain(
            f"error: minibert {words[0]} needs {error.name}, which is missing here: pip install 'minibert[{extra}]'"
        )
        return FAILED
    except MinibertError as error:
        console.complain(f"error: {error}")
        return FAILED
    except MemoryError as error:
        console.complain(f"error: there is not enough memory for this{f' ({error})' if str(error) else ''}")
        return FAILED
    except OSError as error:
        what = ": ".join(str(each) for each in (error.filename, error.strerror) if each) or str(error)
        console.complain(f"error: {what}")
        console.give_up()  # a full disk may be behind it
        return FAILED


def parse(words: list[str]) -> argparse.Namespace:
    """Read a command line; options and texts may come in any order."""
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if words and words[0] in COMMANDS:
        module = command(words[0])
        parser = Parser(words[0], module)
        # argparse's subparsers cannot do this: with them `predict FILE --json TEXT` would be an error.
        arguments = parser.parse_intermixed_args(words[1:])
        arguments.run, arguments.overview = module.run, overview
        return arguments
    if words and not words[0].startswith("-"):
        overview().error(f"there is no command {words[0]!r}{meant(words[0], COMMANDS)}")
    return overview().parse_args(words)


def overview(*, whole: bool = False) -> argparse.ArgumentParser:
    """What `minibert --help` shows; `whole`: with the options of all commands, as a shell completes them."""
    parser = argparse.ArgumentParser(
        prog="minibert",
        description="BERT on small machines, from one file.",
        epilog="`minibert help COMMAND` shows the options of a command, and examples.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"minibert {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        try:
            module = command(name)
            added = commands.add_parser(name, help=module.HELP)
            if whole:
                module.configure(added)
        except ModuleNotFoundError as error:
            if error.name != "minibert_converter":
                raise
    return parser


def command(name: str) -> ModuleType:
    """The module of a command."""
    return import_module(f"{'minibert_converter' if name in WORKSTATION else 'minibert'}.cli.{name}")
