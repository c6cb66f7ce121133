"""What recipes say: the tables of docs/COMPRESSION.md and docs/DISTILLATION.md, made of the declarations of options.

python -m bench.recipe_options
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import common
from minibert_converter.passes.distillation import Distill
from minibert_converter.passes.options import rows
from minibert_converter.passes.registry import PASSES
from minibert_converter.recipe import Recipe

HEADER = ("key", "value", "default", "flag", "what it says")


def lines(kind: type) -> Iterator[tuple[str, ...]]:
    """A row for each option; the key that names a pass stands out."""
    for number, (key, one) in enumerate(rows(kind)):
        name = f"**`{key}`**" if kind is not Recipe and not number else f"`{key}`"
        default, flag = (f"`{text}`" if text else "" for text in (one.shown_default, one.flag))
        yield name, one.type.says, default, flag, one.help


def passes() -> str:
    """All passes but the one that trains, and what stands beside them."""
    kinds = [kind for kind in PASSES.values() if kind is not Distill]
    table = common.table(HEADER, [line for kind in kinds for line in lines(kind)], len(HEADER))
    return f"{table}\n\nBeside the passes:\n\n{common.table(HEADER, list(lines(Recipe))[1:], len(HEADER))}"


def distillation() -> str:
    """The pass that trains; no option of it has a flag."""
    return common.table([*HEADER[:3], HEADER[4]], [(*line[:3], line[4]) for line in lines(Distill)], len(HEADER) - 1)


def main() -> None:
    common.command_line(__doc__).parse_args()
    common.fill(common.DOCS / "COMPRESSION.md", __file__, passes())
    common.fill(common.DOCS / "DISTILLATION.md", __file__, distillation())


if __name__ == "__main__":
    main()
