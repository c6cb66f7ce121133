"""Records what PyLate makes of a small checkpoint of one vector a token: tests/golden/colbert.json.

    python tests/golden/make_colbert.py        # needs pylate

Variants of its settings, by name; of each text's vectors the shape, and the numbers rounded to 6 digits.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.colbert_folders import DOCUMENTS, QUERIES, VARIANTS, write_pylate  # noqa: E402


def main() -> None:
    from pylate import models  # pyright: ignore[reportMissingImports]

    golden = {}
    for name, settings in VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            model = models.ColBERT(str(write_pylate(Path(folder), **settings)), device="cpu")
            made = model.encode(QUERIES, is_query=True), model.encode(DOCUMENTS, is_query=False)
        rounded = [[each.round(6).tolist() for each in texts] for texts in made]
        golden[name] = {"queries": rounded[0], "documents": rounded[1]}
    (ROOT / "tests/golden/colbert.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
