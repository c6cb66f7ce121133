"""The figures of bench/results as a picture: docs/latency.svg, one column a model, one row a number of threads.

    python -m bench.speed.plot

Needs matplotlib (the extra "bench").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.speed import table
from bench.speed.shapes import SHAPES

PICTURE = table.README.parent / "docs" / "latency.svg"


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """How many times as long as minibert each peer takes for one text, by the text's length."""
    from matplotlib.figure import Figure

    threads = sorted({row["threads"] for result in results.values() for row in result["rows"]})
    figure = Figure(figsize=(5 * len(results), 2.9 * len(threads)))
    grid = figure.subplots(len(threads), len(results), squeeze=False, sharey=True)
    for column, (name, result) in enumerate(results.items()):
        for row, count in enumerate(threads):
            axes = grid[row][column]
            for peer, points in ratios(result, count).items():
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=table.TITLES[peer])
            axes.axhline(1, color="black", linewidth=1)
            axes.set_xscale("log", base=2)
            axes.set_ylim(0, 4)
            axes.set_title(f"{name}, {count} thread{'s' * (count > 1)}", fontsize=10)
            axes.set_ylabel("times minibert's time", fontsize=9)
            axes.set_xlabel("tokens of the text", fontsize=9)
            axes.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f}")
            axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def ratios(result: dict[str, Any], threads: int) -> dict[str, list[tuple[int, float]]]:
    """(tokens, ratio) of each peer, for shapes of one text."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in result["rows"]:
        lengths = SHAPES[row["shape"]].lengths
        if row["threads"] == threads and row["runtime"] != "minibert" and len(lengths) == 1:
            found.setdefault(row["runtime"], []).append((lengths[0], row["ratio"]))
    return {peer: sorted(points) for peer, points in found.items()}


def main() -> None:
    draw(table.read_results(table.RESULTS), PICTURE)


if __name__ == "__main__":
    main()
