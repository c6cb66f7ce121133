"""Route what was said to intents that a file teaches by a few sentences each.

    vosk-transcriber ... | python route.py home.toml
    python route.py home.toml --fifo /run/speech --run

Every line of stdin (or of a named pipe) gets one JSON line: {"text", "intent", "confidence"}; the intent is null where
nothing in the file is meant. The file is TOML as home.toml, or a .tsv table of the columns intent and text. When it
changes it is read again, also while nobody speaks; a file with a mistake in it changes nothing. With --run an intent's
command runs, with what it prints on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minibert
from minibert.datasets import read_columns

#: What recognisers such as whisper.cpp write before a text, or instead of one: [00:00:00.000 --> 00:00:02.000].
MARKS = re.compile(r"\[[^\]]*\]")
#: Least probability of an intent where the file names none.
THRESHOLD = 0.35


def read(path: Path) -> tuple[list[tuple[str, ...]], float, dict[str, list[str]]]:
    """Intents and texts, the threshold, and commands by intent; a MinibertError says what is wrong with the file."""
    if path.suffix != ".toml":
        return read_columns(path, ("intent", "text")), THRESHOLD, {}
    try:
        import tomllib  # from Python 3.11 on

        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except ModuleNotFoundError:
        raise minibert.InputError(f"{path}: TOML needs Python 3.11; a .tsv of intent and text does not") from None
    except ValueError as error:
        raise minibert.InputError(f"{path}: {error}") from None
    threshold = values.pop("threshold", THRESHOLD)
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise minibert.InputError(f"{path}: threshold must be a number from 0 to 1")
    for intent, said in values.items():
        if not isinstance(said, dict) or set(said) - {"examples", "run"} or not all(map(_are_texts, said.values())):
            raise minibert.InputError(f"{path}: [{intent}] has examples = [texts] and run = [words], and nothing else")
    rows = [(intent, text) for intent, said in values.items() for text in said.get("examples", [])]
    return rows, threshold, {intent: said["run"] for intent, said in values.items() if "run" in said}


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) and each.strip() for each in value)


def learn(base: Any, path: Path) -> tuple[Any, float, dict[str, list[str]]]:
    """The classifier that the file teaches, the threshold, and commands by intent."""
    rows, threshold, commands = read(path)
    model = base.fit([text for _, text in rows], [intent for intent, _ in rows])
    found = model.config.report["fit"]
    right = "" if found["accuracy"] is None else f", {found['accuracy']:.0%} of them right when left out"
    print(f"route.py: {path}: {len(rows)} examples of {len(model.labels)} intents{right}", file=sys.stderr, flush=True)
    return model, threshold, commands


def open_fifo(path: str) -> int:
    """A named pipe, made if there is none. Open for writing too, so that it has no end when a writer goes."""
    if not os.path.exists(path):
        os.mkfifo(path, 0o600)
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        raise minibert.InputError(f"{path}: is no named pipe")
    return os.open(path, os.O_RDWR)


def lines(descriptor: int) -> Iterator[bytes]:
    """Lines as they come; after each second without one an empty one, in which the file of intents may be looked at."""
    rest = b""
    while True:
        if not select.select([descriptor], [], [], 1)[0]:
            yield b""
        elif chunk := os.read(descriptor, 1 << 16):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        else:
            yield rest
            return


def answer(model: Any, threshold: float, text: str) -> dict[str, Any]:
    """The intent of an utterance, or None, and how sure that is."""
    best = model.predict(text)
    meant = best["label"] != "none" and best["score"] >= threshold
    return {"text": text, "intent": best["label"] if meant else None, "confidence": round(best["score"], 4)}


def run(command: list[str], text: str) -> int | str:
    """A command's exit code within 10 seconds, or why it has none. No shell reads the text."""
    words = [word.replace("{text}", text) for word in command]
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=10, check=False).returncode
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return str(error)


def main() -> int:
    """Answer until the stream ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("intents", type=Path, help=".toml or .tsv file of intents and examples")
    parser.add_argument("--model", default="minilm", help="a model of sentence vectors (default: minilm)")
    parser.add_argument("--threshold", type=float, metavar="P", help="instead of the file's")
    parser.add_argument("--fifo", metavar="PATH", help="read a named pipe, and go on when writers close it")
    parser.add_argument("--run", action="store_true", help="run the intents' commands")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    base, path = minibert.load(arguments.model), arguments.intents
    source = open_fifo(arguments.fifo) if arguments.fifo else sys.stdin.fileno()
    seen = os.stat(path).st_mtime_ns
    model, threshold, commands = learn(base, path)
    for line in lines(source):
        now = os.stat(path).st_mtime_ns if path.exists() else seen  # editors put a new file in the place of the old
        if now != seen:
            seen = now
            try:
                model, threshold, commands = learn(base, path)
            except (minibert.MinibertError, OSError) as error:
                print(f"route.py: {error}; what was read before stays", file=sys.stderr, flush=True)
        text = MARKS.sub("", line.decode("utf-8", "replace")).strip()
        if text:
            found = answer(model, threshold if arguments.threshold is None else arguments.threshold, text)
            if arguments.run and found["intent"] in commands:
                found["exit"] = run(commands[found["intent"]], text)
            print(json.dumps(found, ensure_ascii=False), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (minibert.MinibertError, OSError) as error:
        sys.exit(f"route.py: {error}")
