"""What int8 costs on real tasks: the table of docs/TASKS.md.

    python -m bench.quality.int8_loss SENTENCE_MINILM ../shared

Each checkpoint is converted to float32 and to int8 by the default recipe, calibrated on the converter's own sentences,
and measured as `minibert eval` does it. Cranfield, which has no such form, is ranked as a whole: every abstract for
every query by the similarity of their vectors, nDCG@10 (Jarvelin and Kekalainen 2002), an abstract being relevant or
not. The data stays where it is: only figures are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minibert
from bench import common
from bench.quality import data as examples
from minibert.datasets import read_columns, read_conll
from minibert.evaluate import evaluate, evaluate_entities, evaluate_ranking
from minibert_converter.convert import convert

FORMS = {"float32": "none", "int8": "int8"}


def banking77(model: minibert.Model, data: Path) -> list[float]:
    """Accuracy."""
    labels, texts = zip(*read_columns(data / "banking77/test.tsv.gz", ["label", "text"]), strict=True)
    return [evaluate(model, texts, labels)["accuracy"]]


def stsb(model: minibert.Model, data: Path) -> list[float]:
    """Spearman correlation of the similarities."""
    return [evaluate(model, *examples.stsb(data / "stsb", "test"))["spearman"]]


def wnut17(model: minibert.Model, data: Path) -> list[float]:
    """Entity F1."""
    rows = read_conll(data / "wnut17/test.conll.gz")
    return [evaluate_entities(model, [words for words, _ in rows], [tags for _, tags in rows])["entity_f1"]]


def trec_qa(model: minibert.Model, data: Path) -> list[float]:
    """NDCG and mean reciprocal rank of the candidates of each question that has right and wrong ones."""
    rows = read_columns(data / "trecqa_wang/test.tsv.gz", ["question", "answer", "label"])
    questions, candidates, labels = zip(*rows, strict=True)
    figures = evaluate_ranking(model, questions, candidates, labels)
    return [figures["ndcg_at_10"], figures["mrr"]]


def cranfield(model: minibert.Model, data: Path) -> list[float]:
    """Mean nDCG over the queries that have relevant abstracts."""
    queries, documents, relevant = examples.cranfield(data / "cranfield")
    similar = model.similarity(model.encode_query(queries), model.encode_document(documents))
    return [float(np.mean(examples.ndcg(similar, relevant)))]


Measure = Callable[[minibert.Model, Path], list[float]]
#: By checkpoint (of the shared folder, or "" for the sentence embedder) what is measured of it, as the table calls it.
TASKS: dict[str, dict[str, Measure]] = {
    "banking77-minilm": {"Banking77, accuracy (3,080 questions)": banking77},
    "": {
        "STS-B, Spearman (1,379 pairs)": stsb,
        "TREC-QA, nDCG@10 and MRR (68 questions)": trec_qa,
        "Cranfield, nDCG@10 (225 queries)": cranfield,
    },
    "wnut17-minilm": {"WNUT17, entity F1 (1,287 texts)": wnut17},
}


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("sentence_checkpoint", type=Path, help="the folder of a sentence embedder")
    parser.add_argument("shared", type=Path, help="the folder of models/ and data/")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, measures in TASKS.items():
            checkpoint = arguments.shared / "models" / name if name else arguments.sentence_checkpoint
            models = []
            for form, flag in FORMS.items():
                convert(checkpoint, Path(folder) / form, quantize=flag)
                models.append(minibert.load(Path(folder) / form))
            for title, measure in measures.items():
                figures = [measure(model, arguments.shared / "data") for model in models]
                rows.append([title, *(", ".join(f"{100 * figure:.2f}" for figure in each) for each in figures)])
                print(common.line(rows[-1]), flush=True)
    common.fill(common.DOCS / "TASKS.md", __file__, common.table(["", *FORMS], rows))


if __name__ == "__main__":
    main()
