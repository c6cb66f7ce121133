"""What compact forms keep on texts of a kind that they were not calibrated on: a table of docs/COMPRESSION.md.

    python -m bench.quality.unseen SENTENCE_MINILM ../shared/data

Each row is converted by its flags alone, and so calibrated on the sentences that ship with the converter. Scores are
those of bench/quality/int8_loss.py. Cosines are between the vectors of a file and those of float32: of texts of one and
of two words, drawn from a vocabulary and from the queries of Banking77, and of these queries. The data stays where it
is: only figures are kept, in bench/results/unseen.json.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import minibert
from bench import common
from bench.quality import int8_loss
from minibert.datasets import read_columns
from minibert_converter.convert import convert

#: Flags by row; the first is what the others are compared with.
ROWS: dict[str, dict[str, Any]] = {
    "float32": {"quantize": "none"},
    "the default, int8": {},
    "`--quantize int4`": {"quantize": "int4"},
    "`--quantize int4 --embeddings int4`": {"quantize": "int4", "embeddings": ["int4"]},
    "`--quantize int4 --embeddings codebook`": {"quantize": "int4", "embeddings": ["codebook"]},
    "`--quantize int4 --embeddings codebook:8`": {"quantize": "int4", "embeddings": ["codebook:8"]},
}
SCORES = {"STS-B test": int8_loss.stsb, "TREC-QA": int8_loss.trec_qa}
#: Texts of each kind whose vectors are compared.
TEXTS = 500


def short_texts(data: Path) -> dict[str, list[str]]:
    """Texts by kind: of one and two words of a vocabulary and of queries, and the queries."""
    queries = [text for (text,) in read_columns(data / "banking77/test.tsv.gz", ["text"])]
    lines = (data / "vocab/bert-base-uncased-vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = [word for word in lines if word.isalpha() and len(word) > 2]
    used = sorted({word for text in queries for word in text.lower().split() if word.isalpha()})
    random = np.random.default_rng(0)

    def drawn(words: list[str]) -> list[str]:
        pairs = [" ".join(words[i] for i in random.choice(len(words), 2, replace=False)) for _ in range(TEXTS)]
        return common.sample(words, TEXTS) + pairs

    return {"vocabulary": drawn(vocabulary), "words of queries": drawn(used), "queries": common.sample(queries, TEXTS)}


def table(results: common.Results) -> str:
    """Markdown: a line for each row that was measured."""
    whole = results[next(iter(ROWS))]
    kinds = list(whole["cosines"])
    lines = []
    for row in ROWS:
        if (one := results.get(row)) is None:
            continue
        scores = [f"{one['scores'][name]:.2f} ({one['scores'][name] / whole['scores'][name]:.1%})" for name in SCORES]
        cosines = [" ".join(f"{one['cosines'][kind][which]:.3f}" for which in ("mean", "least")) for kind in kinds]
        lines.append([row, f"{one['bytes'] / 1e6:.2f} MB", *scores, *cosines])
    return common.table(["", "file", *SCORES, *(f"{kind}: mean, least" for kind in kinds)], lines)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("data", type=Path, help="the folder of the data sets")
    parser.add_argument("--again", nargs="*", default=[], metavar="ROW", help="rows to make anew")
    arguments = parser.parse_args()
    results, texts = common.Results("unseen"), short_texts(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        vectors: dict[str, np.ndarray] = {}
        for number, (row, flags) in enumerate(ROWS.items()):
            if number and row in results and row not in arguments.again:
                continue
            common.note(f"converting: {row}")
            file = Path(folder) / f"{number}.safetensors"
            convert(arguments.checkpoint, file, **flags)
            model = minibert.load(file, threads=1)
            made = {kind: model.encode(each, normalize_embeddings=True) for kind, each in texts.items()}
            vectors = vectors or made
            cosines = {kind: (each * vectors[kind]).sum(axis=1) for kind, each in made.items()}
            known = number == 0 and row in results  # its vectors are needed, its scores are there
            figures = {
                "bytes": file.stat().st_size,
                "scores": results[row]["scores"]
                if known
                else {
                    # as the table of int8_loss has them; of several figures the first
                    name: 100 * score(model, arguments.data)[0]
                    for name, score in SCORES.items()
                },
                "cosines": {
                    kind: {"mean": float(each.mean()), "least": float(each.min())} for kind, each in cosines.items()
                },
            }
            results.keep(row, figures)
    text = table(results)
    common.fill(common.DOCS / "COMPRESSION.md", __file__, text)
    print(text)


if __name__ == "__main__":
    main()
