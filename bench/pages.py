"""Tables in pages: each stands between two marks, of which the first names the script that remakes it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS, README, RESULTS = ROOT / "docs", ROOT / "README.md", ROOT / "bench/results"
_END = "<!-- end of table -->"


def fill(path: Path, script: str, text: str) -> None:
    """Puts a script's table between its marks.

    Raises:
        ValueError: the page lacks them.
    """
    mark = f"<!-- table: bench/{script} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(mark)
    _old, end, after = rest.partition(_END)
    if not found or not end:
        raise ValueError(f"{path}: has no table between {mark} and {_END}")
    path.write_text(f"{before}{mark}\n{text}\n{end}{after}", encoding="utf-8")
