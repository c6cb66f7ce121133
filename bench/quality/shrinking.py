"""What `minibert shrink` finds: the table of docs/DISTILLATION.md.

    python -m bench.quality.shrinking ../shared                                  # half an hour of two cores each
    python -m bench.quality.shrinking ../shared --only banking77-1MB --minutes 10
    python -m bench.quality.shrinking ../shared --only trec subj --own trec=FOLDER subj=FOLDER
    python -m bench.quality.shrinking ../shared --only sentences --sentences SENTENCE_MINILM

Each row is one search by the command that anybody would use, without a recipe. FOLDER has a teacher for data that the
shared folder has none for (`teacher/`), texts to learn from (`train.tsv.gz`) and examples to judge on (`test.tsv.gz`).
The tagger learns from tweets of other sets, too. The sentence embedder learns from plain sentences of all the data, and
is judged on STS-B's dev set; bench.quality.small_sentences says what it is worth elsewhere.
Searches are made in build/shrinking/ and go on where they were stopped; figures are kept in bench/results/.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench import common
from bench.quality import data as datasets

BUILD = common.ROOT / "build/shrinking"


class Search(NamedTuple):
    """One search: the teacher's data, and what is asked of the student."""

    title: str
    data: str
    asked: tuple[str, ...]


SEARCHES = {
    "banking77-1MB": Search("77 intents, at most 1 MB", "banking77", ("--max-size", "1MB")),
    "banking77-99": Search("77 intents, 99 % kept", "banking77", ("--keep", "0.99")),
    "sst2": Search("sentiment (SST-2), 98 % kept", "sst2", ("--keep", "0.98")),
    "wnut17": Search("entities (WNUT17), 85 % kept", "wnut17", ("--keep", "0.85")),
    "trec": Search("kinds of questions (TREC), 98 % kept", "trec", ("--keep", "0.98")),
    "subj": Search("subjective or not (Subj), 98 % kept", "subj", ("--keep", "0.98")),
    "sentences": Search("sentence embeddings, at most 4 MB", "sentences", ("--max-size", "4MB")),
}
#: Teacher, texts to learn from, examples to judge on, in the shared folder.
FILES = {
    "banking77": ("banking77-minilm", "banking77/train.tsv.gz", "banking77/test.tsv.gz"),
    "sst2": ("sst2-minilm", "sst2/train.tsv.gz", "sst2/test.tsv.gz"),
}
#: The search whose words and drawing the documents show.
SHOWN_SEARCH = "banking77-99"
#: Sizes of the front that are shown.
SHOWN = 5


def files_of(data: str, shared: Path, own: dict[str, Path]) -> tuple[Path, Path, Path] | None:
    """Teacher, texts, examples; None where nobody said where they are."""
    texts = BUILD / f"{data}.tsv"
    if data == "sentences" and data in own:
        datasets.write_texts(datasets.sentences(shared / "data"), texts)
        return own[data], texts, shared / "data/stsb/dev.tsv.gz"
    if data == "wnut17":
        datasets.write_texts(datasets.wnut17_training_texts(shared / "data"), texts)
        return shared / "models/wnut17-minilm", texts, shared / "data/wnut17/test.conll.gz"
    if data in own:
        return own[data] / "teacher", own[data] / "train.tsv.gz", own[data] / "test.tsv.gz"
    if data not in FILES:
        return None
    teacher, learned, judged = FILES[data]
    return shared / "models" / teacher, shared / "data" / learned, shared / "data" / judged


def run(name: str, files: tuple[Path, Path, Path], minutes: float) -> dict[str, Any]:
    """One search; what it found, or why it found nothing."""
    teacher, texts, examples = files
    out = BUILD / f"{name}.safetensors"
    words = ["shrink", teacher, "--data", texts, "--eval", examples, *SEARCHES[name].asked, "--minutes", f"{minutes:g}"]
    words += ["-o", out, "--json", "--force", "--report", BUILD / f"{name}.html"]
    began = time.perf_counter()
    said = BUILD / f"{name}.log"
    with said.open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, "-m", "minibert", *map(str, words)], stdout=subprocess.PIPE, stderr=log, check=False
        )
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"refused": True}
    return {**found, "minutes": round((time.perf_counter() - began) / 60, 1), "log": said.read_text(encoding="utf-8")}


def table(results: common.Results) -> str:
    """Markdown: for each search what was found, and the front of sizes."""
    header = ["", "student", "file", "kept", "95 % sure", "texts", "minutes", "by size: bytes, kept"]
    lines = []
    for name, search in SEARCHES.items():
        row = results.get(name)
        if row is None or "refused" in row:
            said = "not run" if row is None else f"refused after {row['minutes']} minutes"
            lines.append([search.title, said, "", "", "", "", "", ""])
            continue
        kept, front = row["kept"], row["front"]
        some = front if len(front) <= SHOWN else [front[i * (len(front) - 1) // (SHOWN - 1)] for i in range(SHOWN)]
        lines.append(
            [
                search.title,
                shape(row["student"]),
                f"{row['file_bytes'] / 1e6:.2f} MB of {row['teacher_bytes'] / 1e6:.1f}",
                f"{kept['part']:.1%} ({100 * kept['score']:.2f} of {100 * kept['teacher']:.2f})",
                f"{kept['low']:.1%} to {kept['high']:.1%}",
                f"{kept['texts']:,}",
                f"{row['minutes']:.0f}",
                "; ".join(
                    f"{one['bytes'] / 1e6:.2f} MB {one['kept']['score'] / one['kept']['teacher']:.1%}" for one in some
                ),
            ]
        )
    return common.table(header, lines)


def session(results: common.Results) -> str:
    """What SHOWN_SEARCH said while it ran, and at its end."""
    row = results.get(SHOWN_SEARCH)
    if row is None or "says" not in row:
        return ""
    asked = " ".join(SEARCHES[SHOWN_SEARCH].asked)
    command = f"$ minibert shrink ./checkpoint --data train.tsv --eval test.tsv {asked} -o small.safetensors"
    said: dict[str, str] = {}  # of the lines that say how long it takes, one for each rung
    for line in row["log"].rstrip().splitlines():
        said.setdefault(line.partition(" ")[0] if line.endswith(" left") and "best" in line else line, line)
    lines = [line for line in said.values() if "best" in line or not line.endswith(" left")]
    lines = [command, *lines, *row["says"].splitlines()]
    return "\n\nWhat one of them says:\n\n```console\n" + "\n".join(lines) + "\n```"


def drawing(name: str) -> None:
    """The drawing of a search's page, as a picture of the documents."""
    page = BUILD / f"{name}.html"
    if page.exists() and (found := re.search(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL)):
        style = '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="12" fill="#777"'
        (common.DOCS / "shrinking.svg").write_text(found[0].replace("<svg", style, 1) + "\n", encoding="utf-8")


def shape(student: dict[str, Any]) -> str:
    """A student's shape in short."""
    turns = student.get("turns", 1)
    sharing = f", {turns} layers in a row sharing weights" if turns > 1 else ""
    blocks = "" if student["density"] == 1 else f", {student['density']:.0%} of the blocks"
    return f"{student['layers']} x {student['hidden']}{sharing}{blocks}, {student['bits']}"


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("shared", type=Path, help="the folder of models/ and data/")
    parser.add_argument("--only", nargs="+", choices=list(SEARCHES), default=list(SEARCHES), metavar="NAME")
    parser.add_argument("--own", nargs="+", default=[], metavar="NAME=FOLDER", help="data with a teacher of your own")
    parser.add_argument("--sentences", type=Path, metavar="CHECKPOINT", help="the folder of a sentence embedder")
    parser.add_argument("--minutes", type=float, default=30, help="of each search (default: 30)")
    parser.add_argument("--draw", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    own = {name: Path(folder) for name, _, folder in (each.partition("=") for each in arguments.own)}
    if arguments.sentences:
        own["sentences"] = arguments.sentences
    results = common.Results("shrinking")
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in [] if arguments.draw else arguments.only:
        files = files_of(SEARCHES[name].data, arguments.shared, own)
        if files is None:
            common.note(f"{name}: no teacher; say --sentences, or --own {SEARCHES[name].data}=FOLDER")
            continue
        results.keep(name, run(name, files, arguments.minutes))
    common.fill(common.DOCS / "DISTILLATION.md", __file__, table(results) + session(results))
    drawing(SHOWN_SEARCH)


if __name__ == "__main__":
    main()
