"""Where the bytes of a model are, in its checkpoint and in its file: docs/bytes.svg, out of the file's own report.

    python -m bench.quality.bytes                           # of packages/minilm
    python -m bench.quality.bytes model.safetensors -o bytes.svg

It needs matplotlib (the extra "bench").
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench import common
from minibert.format import read_model

MINILM = common.ROOT / "packages/minilm/minibert_minilm/minilm.safetensors"
#: Parts of a report by what their names match; the rest is small.
GROUPS = {
    "word embeddings": r"embeddings\.word",
    "feed-forward halves of the layers": r"layers\.\d+\.ffn",
    "attention halves of the layers": r"layers\.\d+\.attention",
    "tokenizer": r"tokenizer",
    "positions, norms, head": r"",
}


def sizes(parts: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """By group, megabytes in the checkpoint and in the file."""
    found = dict.fromkeys(GROUPS, (0.0, 0.0))
    for part in parts:
        group = next(name for name, pattern in GROUPS.items() if re.match(pattern, part["name"]))
        before, after = found[group]
        found[group] = (before + part["bytes_before"] / 1e6, after + part["bytes_after"] / 1e6)
    return found


def plot(file: Path, path: Path) -> None:
    """Two bars of one scale, the checkpoint above the file."""
    groups = sizes(read_model(file).config.report["parts"])
    figure = common.new_figure(9, 3)
    axes = figure.subplots()
    left = [0.0, 0.0]
    for name, group in groups.items():
        bars = axes.barh([1, 0], group, left=left, height=0.6, label=f"{name}: {group[0]:.1f} → {group[1]:.1f} MB")
        shares = [
            f"{size / sum(each):.0%}" for size, each in zip(group, zip(*groups.values(), strict=True), strict=True)
        ]
        whole = sum(before for before, _ in groups.values())
        wide = [share if size > 0.03 * whole else "" for share, size in zip(shares, group, strict=True)]
        axes.bar_label(bars, wide, label_type="center", color="white", fontsize=8)
        left = [start + size for start, size in zip(left, group, strict=True)]
    axes.set_yticks([1, 0], [f"checkpoint\n{left[0]:.1f} MB", f"{file.name}\n{left[1]:.1f} MB"])
    axes.set_xlabel("MB")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    common.save_figure(figure, path)


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument(
        "file", type=Path, nargs="?", default=MINILM, help="a file of minibert (default: packages/minilm)"
    )
    parser.add_argument("-o", "--output", type=Path, default=common.DOCS / "bytes.svg", help="the picture")
    arguments = parser.parse_args()
    plot(arguments.file, arguments.output)


if __name__ == "__main__":
    main()
