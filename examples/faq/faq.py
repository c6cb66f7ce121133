"""Answer questions out of a list of questions and answers, or say that it holds no answer.

    python faq.py shop.md
    python faq.py shop.md --json < questions.txt

The list is Markdown, where a heading below the first level is a question and what follows is its answer (headings of
one level in a row share it, and one that only has headings below it is no question), or a .tsv table of the columns
question and answer. A question is compared with those of the list by meaning; below --threshold nothing is answered,
and the nearest questions are offered.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import minibert
from minibert.datasets import read_columns

#: Cosine of two questions from which on they ask the same; what other models call near differs.
THRESHOLD = 0.5
#: Questions that are offered where there is no answer.
OFFERED = 3
HEADING, FENCE = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*$"), re.compile(r"\s*(```|~~~)")


def read(path: Path) -> list[tuple[str, str]]:
    """Questions with their answers; a MinibertError says what is wrong with the file."""
    if path.suffix not in (".md", ".markdown"):
        return [(question, answer) for question, answer in read_columns(path, ("question", "answer"))]
    try:
        found = _read_markdown(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise minibert.InputError(f"{path}: is no UTF-8: {error}") from None
    if not found:
        raise minibert.InputError(f"{path}: has no question: a heading (## How do I pay?) with its answer below")
    return found


def _read_markdown(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    questions: list[tuple[int, str]] = []
    answer: list[str] = []
    fence = ""
    for line in [*text.splitlines(), "# the end"]:
        mark = FENCE.match(line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        heading = None if fence else HEADING.match(line)
        if not heading:
            answer.append(line)
            continue
        level, body = len(heading[1]), "\n".join(answer).strip()
        if body:
            pairs += [(question, body) for _, question in questions]
        if body or (questions and questions[-1][0] != level):
            questions = []
        questions += [(level, heading[2])] if level > 1 else []
        answer = []
    return pairs


class Match(NamedTuple):
    """A question of the list, its answer, and how near it is."""

    question: str
    answer: str
    score: float


class Faq:
    """Answers by the vectors of the questions."""

    def __init__(self, model: Any, pairs: list[tuple[str, str]], threshold: float) -> None:
        self._model, self._pairs, self._threshold = model, pairs, threshold
        self._vectors = model.encode([question for question, _ in pairs], normalize_embeddings=True)

    def ask(self, question: str) -> tuple[Match | None, list[Match]]:
        """The match that answers, if any does, and the nearest question of each answer, to be offered otherwise."""
        scores = self._vectors @ self._model.encode(question, normalize_embeddings=True)
        best: dict[str, Match] = {}
        for place in scores.argsort()[::-1].tolist():
            match = Match(*self._pairs[place], round(float(scores[place]), 4))
            best.setdefault(match.answer, match)
        found = list(best.values())
        return (found[0] if found[0].score >= self._threshold else None), found[:OFFERED]


def shown(match: Match | None, offered: list[Match]) -> str:
    """The answer, or what to ask instead."""
    if match:
        return f"{match.answer}\n"
    lines = [f"  {number}. {each.question}" for number, each in enumerate(offered, 1)]
    return "\n".join(["I don't know that. Did you mean one of these?", *lines, ""])


def chat(faq: Faq) -> None:
    """A conversation; the number of a question that was offered asks it."""
    offered: list[Match] = []
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if text.isdecimal() and 0 < int(text) <= len(offered):
            print(f"{offered[int(text) - 1].answer}\n", flush=True)
        elif text:
            match, offered = faq.ask(text)
            print(shown(match, offered), flush=True)


def main() -> int:
    """Read the list, then answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, help=".md or .tsv file of questions and answers")
    parser.add_argument("question", nargs="*", help="ask this alone; without it, what is typed or comes from stdin")
    parser.add_argument("--model", default="minilm", help="a model of sentence vectors (default: minilm)")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, metavar="COSINE", help=f"default: {THRESHOLD}")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each question")
    arguments = parser.parse_intermixed_args()
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")

    faq = Faq(minibert.load(arguments.model), read(arguments.list), arguments.threshold)
    questions = [" ".join(arguments.question)] if arguments.question else sys.stdin
    if not arguments.json and not arguments.question:
        chat(faq)
        return 0
    for question in filter(None, map(str.strip, questions)):
        match, offered = faq.ask(question)
        if arguments.json:
            nearest = [{"question": each.question, "score": each.score} for each in offered]
            answer = {"question": question, "answer": match.answer if match else None, "nearest": nearest}
            print(json.dumps(answer, ensure_ascii=False), flush=True)
        else:
            print(shown(match, offered))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (minibert.MinibertError, OSError) as error:
        sys.exit(f"faq.py: {error}")
