"""What int8 costs in named entities, and where: F1 beside float32 with its standard error, and how far labels move.

    python -m bench.quality.entity_loss CHECKPOINT ../shared/data/wnut17 [--parts] [--calibrations N]

Each line is a file made of the checkpoint: int8 by the default recipe; with --parts int8 but for some matrices, which
stay float32; with --calibrations int8 calibrated on N different samples of the training texts. F1 moves with the few
labels that are near a tie, so beside its difference to float32 stands the standard error of that, by drawing sentences
with replacement (paired bootstrap; Efron 1979), and what moves less by chance: the mean Kullback-Leibler divergence of
a token's labels and how many tokens get another label. The last line is the mean over all int8 files.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minibert
from bench import common
from minibert.datasets import read_conll
from minibert.evaluate.entities import spans, word_tags
from minibert.tasks.scores import softmax
from minibert_converter.convert import convert
from minibert_converter.recipe import Recipe

PARTS = ("attention.qkv", "attention.output", "ffn.up", "ffn.down")
SETS = ("dev", "test")
DRAWS = 1000
SAMPLE = 1024

#: The words and tags of sentences.
Sentences = Sequence[tuple[Sequence[str], Sequence[str]]]


class Answers(NamedTuple):
    """What a file makes of one set: counts int [sentences, 3] of entities hit, found and known; scores of tokens."""

    counts: np.ndarray
    scores: np.ndarray


def answers(model: minibert.Model, sentences: Sentences) -> Answers:
    """The tags of words, and float32 [tokens, labels]."""
    texts = [" ".join(words) for words, _ in sentences]
    counts = []
    for (words, tags), tokens in zip(sentences, model.iter_predict(texts, ignore_labels=()), strict=True):
        known, found = spans(tags), spans(word_tags(words, tokens))
        counts.append([len(known & found), len(found), len(known)])
    rows = [model.forward([model.tokenizer.encode(text).ids[: model.max_length]]) for text in texts]
    return Answers(np.array(counts), softmax(np.concatenate(rows)))


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 in per cent, of counts [..., 3]."""
    return 200 * counts[..., 0] / (counts[..., 1] + counts[..., 2])


def differences(exact: Answers, made: Answers) -> list[float]:
    """F1, its difference and the standard error of that; divergence and changed labels, each of 10,000."""
    counts = np.stack([exact.counts, made.counts])
    size = counts.shape[1]
    weights = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), DRAWS)
    drawn = f1(np.einsum("dn,fnc->fdc", weights, counts))
    before, after = f1(counts.sum(axis=1))
    divergence = (exact.scores * (np.log(exact.scores + 1e-12) - np.log(made.scores + 1e-12))).sum(axis=1).mean()
    changed = (exact.scores.argmax(axis=1) != made.scores.argmax(axis=1)).mean()
    return [after, after - before, float((drawn[1] - drawn[0]).std()), 1e4 * float(divergence), 1e4 * float(changed)]


def variants(
    model: minibert.Model, arguments: argparse.Namespace, training: list[str]
) -> Mapping[str, tuple[list[str], list[str] | None]]:
    """By name: the matrices that stay float32, and the texts to calibrate on."""
    made: dict[str, tuple[list[str], list[str] | None]] = {"int8": ([], None)}
    if arguments.parts:
        layers = range(len(model.config.architecture.layers))
        patterns = [f"layers.*.{part}" for part in PARTS] + [f"layers.{layer}.*" for layer in layers] + ["head.*", "*"]
        made |= {f"float32 {pattern}": ([pattern], None) for pattern in patterns}
    for number in range(arguments.calibrations):
        made[f"int8, texts {number}"] = ([], random.Random(number).sample(training, min(SAMPLE, len(training))))
    return made


def row(name: str, figures: Sequence[Sequence[float]]) -> list[str]:
    """A line of the table: the figures of each set."""
    shown = ("{:.2f}", "{:+.2f}", "{:.2f}", "{:.2f}", "{:.1f}")
    return [name, *(" ".join(f.format(one) for f, one in zip(shown, each, strict=True)) for each in figures)]


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="a folder of train, dev and test.conll.gz")
    parser.add_argument("--parts", action="store_true", help="keep some matrices in float32")
    parser.add_argument("--calibrations", type=int, default=0, metavar="N", help="samples of the training texts")
    arguments = parser.parse_args()
    sets = {name: list(read_conll(arguments.data / f"{name}.conll.gz")) for name in (*SETS, "train")}
    training = [" ".join(words) for words, _ in sets["train"]]
    print(f"F1, difference, standard error, divergence, changed labels, of {' and '.join(SETS)}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        convert(arguments.checkpoint, file, quantize="none")
        model = minibert.load(file)
        exact = [answers(model, sets[name]) for name in SETS]
        print(common.line(["float32", *(f"{f1(each.counts.sum(axis=0)):.2f}" for each in exact)]), flush=True)
        integers = []
        for name, (floats, texts) in variants(model, arguments, training).items():
            recipe = Recipe.from_json({"pass": [{"quantize": "int8", "tensors": dict.fromkeys(floats, "none")}]})
            convert(arguments.checkpoint, file, recipe=recipe, calibrate=texts)
            made = minibert.load(file)
            figures = [differences(*each) for each in zip(exact, (answers(made, sets[s]) for s in SETS), strict=True)]
            integers += [figures] if not floats else []
            print(common.line(row(name, figures)), flush=True)
    means = np.mean(integers, axis=0)
    print(common.line(row(f"mean of {len(integers)} int8 files", means)))


if __name__ == "__main__":
    main()
