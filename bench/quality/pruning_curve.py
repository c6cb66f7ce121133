"""Accuracy against sparsity, one shot, for every way of pruning: the table and the plot of docs/PRUNING.md.

    python -m bench.quality.pruning_curve ../shared/models/sst2-minilm ../shared/data/sst2

The data stays where it is: only figures are kept. Texts to calibrate on come from the training set, labels unread.
Points that were measured before are taken from bench/results/pruning_curve.json, so that a run can be continued.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import minibert
from bench import common
from bench.quality.data import sst2, sst2_training_texts
from minibert.evaluate import evaluate
from minibert_converter.convert import convert

SPARSITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
#: What is removed and how it is chosen, as the table calls it; {} is the sparsity.
CURVES = {
    "4x4 blocks, magnitude": (("4x4:{}",), "magnitude"),
    "4x4 blocks, second-order": (("4x4:{}",), "second-order"),
    "heads and neurons, magnitude": (("heads:{}", "ffn:{}"), "magnitude"),
    "heads and neurons, second-order": (("heads:{}", "ffn:{}"), "second-order"),
}
#: Points that are measured in int8 as well.
INT8 = (None, 0.5)
CALIBRATION_TEXTS = 512


def measure(
    checkpoint: Path, texts: list[str], dev: tuple[list[str], list[str]], requests: list[str], method: str, dtype: str
) -> dict[str, Any]:
    """Size, accuracy and speed of one point of the curves."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        form = "none" if dtype == "float32" else dtype
        calibrate = texts if requests or dtype == "int8" else None
        report = convert(checkpoint, file, quantize=form, prune=requests, prune_method=method, calibrate=calibrate)
        model = minibert.load(file, threads=1)
        figures = evaluate(model, *dev)
        return {
            "accuracy": round(100 * figures["accuracy"], 2),
            "file_bytes": report.file_bytes,
            "texts_per_second": round(figures["texts_per_second"], 1),
            "convert_seconds": round(report.seconds, 1),
            "layers": report.passes[0].outcome.details.get("layers") if report.passes else None,
        }


def key(requests: list[str], method: str, dtype: str) -> str:
    return " ".join([*requests, *([method] if requests else []), dtype])


def table(points: common.Results) -> str:
    """Markdown: a line for each curve."""
    header = ["SST-2 dev accuracy", "0%", *(f"{sparsity:.0%}" for sparsity in SPARSITIES), "50%, int8"]
    rows = []
    dense = points[key([], "", "float32")]["accuracy"]
    for name, (templates, method) in CURVES.items():
        cells = [name, f"{dense:.2f}"]
        for sparsity, dtype in [*((each, "float32") for each in SPARSITIES), (0.5, "int8")]:
            cells.append(f"{points[key([t.format(sparsity) for t in templates], method, dtype)]['accuracy']:.2f}")
        rows.append(cells)
    return common.table(header, rows)


def plot(points: common.Results, path: Path) -> None:
    figure = common.new_figure(7, 4.2)
    axes = figure.subplots()
    dense = points[key([], "", "float32")]["accuracy"]
    for number, (name, (templates, method)) in enumerate(CURVES.items()):
        values = [points[key([t.format(s) for t in templates], method, "float32")]["accuracy"] for s in SPARSITIES]
        style = {"color": f"C{number // 2}", "linestyle": "-" if method == "second-order" else "--", "marker": "o"}
        axes.plot([0, *(100 * s for s in SPARSITIES)], [dense, *values], label=name, **style)
    axes.axhline(dense - 3, color="0.6", linewidth=0.8)
    axes.annotate("3 points below dense", (25, dense - 3), color="0.4", va="top", fontsize=8)
    axes.set(xlabel="encoder weights removed, %", ylabel="SST-2 dev accuracy, %", title="MiniLM-L6, pruned in one shot")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    common.save_figure(figure, path)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path, help="the folder of sst2-minilm")
    parser.add_argument("data", type=Path, help="the folder of SST-2: train.tsv.gz and dev.tsv")
    arguments = parser.parse_args()
    points = common.Results("pruning_curve")
    texts, dev = common.sample(sst2_training_texts(arguments.data), CALIBRATION_TEXTS), sst2(arguments.data)
    wanted = [([], "second-order", dtype) for dtype in ("float32", "int8")]
    for sparsity in (0.5, *(each for each in SPARSITIES if each != 0.5)):
        for templates, method in CURVES.values():
            requests = [template.format(sparsity) for template in templates]
            wanted += [(requests, method, dtype) for dtype in ("float32", *(["int8"] if sparsity in INT8 else []))]
    for requests, method, dtype in wanted:
        name = key(requests, method, dtype)
        if name not in points:
            points.keep(name, measure(arguments.checkpoint, texts, dev, requests, method, dtype))
            print(f"{name}: {points[name]['accuracy']:.2f}", flush=True)
    plot(points, common.DOCS / "pruning.svg")
    common.fill(common.DOCS / "PRUNING.md", __file__, table(points))


if __name__ == "__main__":
    main()
