"""Sentence embeddings in four megabytes, learned from sentences without labels: a table of docs/DISTILLATION.md.

    python -m bench.quality.small_sentences SENTENCE_MINILM ../shared            # trains it first, half an hour
    python -m bench.quality.small_sentences SENTENCE_MINILM ../shared --score    # only scores what there is

The student of examples/distill/sentences-3x384.toml learns from plain sentences of all the data, and from the abstracts
of the collection that is searched in the end; neither its queries nor what is relevant is read, nor STS-B's dev and
test sets. Beside it stands what `bench.quality.shrinking --only sentences` found with plain sentences alone, if that
was run here. Files are kept in build/, figures in bench/results/.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import minibert
from bench import common
from bench.quality import data as datasets
from bench.quality import int8_loss, shrinking
from minibert_converter.convert import convert

BUILD = common.ROOT / "build/distillation"
RECIPE = "sentences-3x384"
#: Plain sentences beside the abstracts.
SENTENCES = 40_000
SCORES = {"STS-B test, Spearman": int8_loss.stsb, "Cranfield, nDCG@10": int8_loss.cranfield}


def texts(data: Path) -> list[str]:
    """What the student learns from: sentences, abstracts, and the abstracts' sentences."""
    plain = datasets.sentences(data)
    random.Random(0).shuffle(plain)
    _, abstracts, _ = datasets.cranfield(data / "cranfield")
    parts = [part for text in abstracts for part in datasets.five_words(text.split(" . "))]
    return plain[:SENTENCES] + [text for text in abstracts if text.strip()] + parts


def train(teacher: Path, shared: Path, out: Path) -> float:
    """Makes the student by the command that anybody would use; minutes that it took."""
    learned = BUILD / f"{RECIPE}.tsv"
    datasets.write_texts(texts(shared / "data"), learned)
    words = ["distill", "--teacher", teacher, "--recipe", common.ROOT / f"examples/distill/{RECIPE}.toml"]
    words += ["--data", learned, "-o", out, "--cache", BUILD / "teachers"]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "minibert", *map(str, words)], check=True)
    return (time.perf_counter() - began) / 60


def score(results: common.Results, name: str, file: Path, shared: Path, **more: float) -> None:
    """Keeps the figures of a file."""
    model = minibert.load(file)
    figures = {title: measure(model, shared / "data")[0] for title, measure in SCORES.items()}
    results.keep(name, {**results.get(name, {}), **more, "bytes": file.stat().st_size, "scores": figures})


def table(results: common.Results) -> str:
    """Markdown: a line for each file."""
    whole = results["teacher, float32"]["scores"]
    rows = []
    for name, row in results.items():
        scores = [f"{100 * row['scores'][title]:.2f} ({row['scores'][title] / whole[title]:.1%})" for title in SCORES]
        minutes = f"{row['minutes']:.0f}" if "minutes" in row else ""
        rows.append([name, f"{row['bytes'] / 1e6:.2f} MB", *scores, minutes])
    return common.table(["", "file", *SCORES, "minutes"], rows)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("teacher", type=Path, help="the folder of a sentence embedder")
    parser.add_argument("shared", type=Path, help="the folder of models/ and data/")
    parser.add_argument("--score", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    results = common.Results("small_sentences")
    BUILD.mkdir(parents=True, exist_ok=True)
    whole, student = BUILD / "sentences-float32.safetensors", BUILD / f"{RECIPE}.safetensors"
    convert(arguments.teacher, whole, quantize="none")
    minutes: dict[Path, float] = {}
    if not student.exists() and not arguments.score:
        minutes[student] = train(arguments.teacher, arguments.shared, student)
    found = shrinking.BUILD / "sentences.safetensors"
    if search := common.Results("shrinking").get("sentences"):
        minutes[found] = search["minutes"]
    files = {
        "teacher, float32": whole,
        "`minibert shrink --max-size 4MB`, plain sentences": found,
        f"`{RECIPE}`, and the collection's abstracts": student,
    }
    for name, file in files.items():
        if file.exists():
            score(results, name, file, arguments.shared, **({"minutes": minutes[file]} if file in minutes else {}))
    common.fill(common.DOCS / "DISTILLATION.md", __file__, table(results))


if __name__ == "__main__":
    main()
