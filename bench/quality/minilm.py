"""What packages/minilm weighs and keeps of its checkpoint: the table of packages/minilm/README.md.

    python -m bench.quality.minilm SENTENCE_MINILM ../shared/data/stsb --fill

The checkpoint is converted to float32, and both files answer the pairs of STS-B; only figures are kept.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import minibert
from bench import common
from bench.quality.data import stsb
from minibert.evaluate import evaluate
from minibert_converter.convert import convert

PACKAGE = common.ROOT / "packages/minilm"
FILE = PACKAGE / "minibert_minilm/minilm.safetensors"
PARTS = ("dev", "test")


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("data", type=Path, help="the folder of STS-B")
    parser.add_argument("--fill", action="store_true", help="write the table into the package's README.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "float32.safetensors"
        convert(options.checkpoint, before, quantize="none")
        models = {"float32": minibert.load(before, copy=True), "this package": minibert.load(FILE)}
    scores: dict[str, dict[str, float]] = {name: {} for name in models}
    for part in PARTS:
        pairs, truth = stsb(options.data, part)
        for name, model in models.items():
            common.note(f"{name} answers {len(pairs)} pairs of {part}")
            scores[name][part] = evaluate(model, pairs, truth)["spearman"]
    rows = [
        (
            name,
            f"{model.size / 1e6:.2f} MB",
            *(f"{100 * scores[name][part]:.2f}" for part in PARTS),
            *(f"{scores[name][part] / scores['float32'][part]:.2%}" for part in PARTS),
        )
        for name, model in models.items()
    ]
    header = ("", "file", *PARTS, *(f"{part}, of float32" for part in PARTS))
    text = common.table(header, rows)
    print(text)
    if options.fill:
        common.fill(PACKAGE / "README.md", __file__, text)


if __name__ == "__main__":
    main()
