"""The most memory that each program of examples/README.md takes, for a few short texts: fills the table's last column.

    python -m bench.install.examples

Kernels must be there: `minibert warmup` first. Linux counts resident pages, those of the mapped model file among them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import common

PAGE = common.ROOT / "examples/README.md"
#: What is run for a row: the program, lines for it, and the word after which one that goes on is ended.
RUNS = {
    "intents": ("examples/intents/route.py examples/intents/home.toml", "turn the lamp on\n", ""),
    "faq": ("examples/faq/faq.py examples/faq/shop.md", "how can i pay\n", ""),
    "redact": ("examples/redact/redact.py", "ada@example.org\n", ""),
    "mqtt": ("examples/mqtt/answer.py examples/banking77/small.safetensors --topic a --port 9", "", "no broker"),
    "aws_lambda": ("""examples/aws_lambda/handler.py '{"body": "{\\"texts\\": [\\"a\\"]}"}'""", "", ""),
    "systemd": ("-m minibert serve minilm --port 0", "", "answers; Ctrl-C ends"),
    "raspberry_pi": ("examples/raspberry_pi/watch.py examples/banking77/small.safetensors", "where is my card?\n", ""),
    "desktop": ("examples/desktop/notes.py --self-test", "", ""),
}


def peak(command: str, given: str, last_word: str) -> int:
    """Bytes that a program had at most.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryFile("w+") as stdin:
        stdin.write(given)
        stdin.seek(0)
        words = ["bash", "-c", f"exec {sys.executable} {command}"]
        process = subprocess.Popen(
            words, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=common.ROOT
        )
        said = []
        for line in process.stderr or ():
            said.append(line)
            if last_word and last_word in line:
                process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(process.pid, 0)
        if not last_word and os.waitstatus_to_exitcode(status):
            sys.exit("".join(said))
        return usage.ru_maxrss * 1024


def fill(page: Path, figures: dict[str, int]) -> None:
    """Put figures into the last cells of their rows."""
    text = page.read_text(encoding="utf-8")
    for name, figure in figures.items():
        row = re.compile(rf"^(\| \[{name}\].*\|)[^|\n]*\|$", re.MULTILINE)
        text, count = row.subn(lambda found, size=figure: f"{found[1]} {size / 1e6:.0f} MB |", text)
        if count != 1:
            sys.exit(f"{page}: has no row {name}")
    page.write_text(text, encoding="utf-8")


def main() -> None:
    common.command_line(__doc__).parse_args()
    figures = {}
    for name, run in RUNS.items():
        figures[name] = peak(*run)
        common.note(f"{name}: {figures[name] / 1e6:.0f} MB")
    fill(PAGE, figures)


if __name__ == "__main__":
    main()
