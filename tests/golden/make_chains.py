"""Remakes chains.json beside this file: the vectors of sentence-transformers for the folders of tests/chains.py.

pip install -e '.[train]' sentence-transformers
python -m tests.golden.make_chains
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.chains import CHAINS, TEXTS, thinned, write_chain, write_router


def vectors(folder: Path, **options: str) -> list[list[float]]:
    """One row a text."""
    from sentence_transformers import SentenceTransformer

    rows = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, batch_size=1, **options)
    return [[float(f"{value:.8g}") for value in row] for row in thinned(rows).tolist()]


if __name__ == "__main__":
    golden = {}
    with tempfile.TemporaryDirectory() as name:
        for chain, modules in CHAINS.items():
            folder = write_chain(Path(name) / chain, modules)
            golden[chain] = {prompt: vectors(folder, prompt_name=prompt) for prompt in ("query", "document")}
        folder = write_router(Path(name) / "router")
        golden["router"] = {route: vectors(folder, task=route) for route in ("query", "document")}
    text = json.dumps(golden).replace("]], ", "]],\n")
    (Path(__file__).parent / "chains.json").write_text(text + "\n", encoding="utf-8")
