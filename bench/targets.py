"""How fast each kind of matrix is on the targets of `minibert convert --target`: the table of docs/COMPRESSION.md.

    python -m bench.targets

Only writes down what `minibert_converter.budget.targets` has on record, and which commands measured that.
"""

from __future__ import annotations

from bench import common
from minibert_converter.budget.targets import TARGETS


def table() -> str:
    """Markdown: a line for each target."""
    lines = []
    for name, target in TARGETS.items():
        speeds = (target.int4, target.codebook, target.speed("int8", 0.5), target.speed("int8", 0.2))
        measured = ", ".join(f"`{command}`" for command in dict.fromkeys(target.measured))
        lines.append([f"`{name}`", target.says, measured, *(f"{speed:.2f}" for speed in speeds)])
    header = ["target", "", "measured by", "int4", "codebook", "half of the blocks", "a fifth"]
    return common.table(header, lines, words=3)


def main() -> None:
    common.command_line(__doc__).parse_args()
    common.fill(common.DOCS / "COMPRESSION.md", __file__, table())


if __name__ == "__main__":
    main()
