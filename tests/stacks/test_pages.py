"""docs/stacks: every block of Python is run, and prints what the page says; nobody else is asked."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minibert.engine.cache import cache_folder
from tests.stacks.conftest import need

FOLDER = Path(__file__).parents[2] / "docs/stacks"
#: Modules that a page's blocks import.
PAGES = {
    "README.md": ("langchain_core",),
    "chroma.md": ("chromadb",),
    "duckdb.md": ("duckdb", "pyarrow"),
    "faiss.md": ("faiss", "hnswlib", "usearch"),
    "haystack.md": ("haystack",),
    "lancedb.md": ("lancedb",),
    "langchain.md": ("langchain_core",),
    "llama_index.md": ("llama_index",),
    "openai.md": ("uvicorn", "langchain_openai", "llama_index", "haystack", "chromadb", "openai"),
    "scikit_learn.md": ("sklearn",),
    "sentence_transformers.md": ("langchain_huggingface", "chromadb", "lancedb"),
    "spacy.md": ("spacy",),
    "sqlite_vec.md": ("pysqlite3", "sqlite_vec"),
    "tables.md": ("pandas", "polars"),
}


def shown(page: str) -> list[str]:
    """What each block of Python prints, by the block of text behind it; nothing where there is none."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", (FOLDER / page).read_text(), re.MULTILINE | re.DOTALL)
    after = [*blocks[1:], ("", "")]
    return [
        text if kind == "text" else ""
        for (language, _), (kind, text) in zip(blocks, after, strict=True)
        if language == "python"
    ]


@pytest.fixture
def port():
    """Where `minibert serve minilm` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-m", "minibert", "serve", "minilm", "--port", str(number)]) as service:
        try:
            for _ in range(600):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", number)) == 0:
                        break
                assert service.poll() is None
                time.sleep(0.1)
            yield number
        finally:
            service.terminate()


def test_every_page_is_here():
    assert {path.name for path in FOLDER.glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_short(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", (FOLDER / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    assert all(block.count("\n") <= 20 for block in blocks)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_print_what_the_page_says(page, tmp_path, request):
    need("minibert_minilm", *PAGES[page])
    number = request.getfixturevalue("port") if page == "openai.md" else 0
    environment = {
        **os.environ,
        "HOME": str(tmp_path),  # what a stack leaves there
        "MINIBERT_CACHE": str(cache_folder()),
        "HF_HUB_OFFLINE": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "ANONYMIZED_TELEMETRY": "False",  # of Chroma, before it stopped
    }
    runner = Path(__file__).with_name("run_page.py")
    done = subprocess.run(
        [sys.executable, runner, FOLDER / page, tmp_path / "out.json", str(number)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == {"printed": shown(page), "asked": [], "heavy": []}


def test_a_block_that_asks_somebody_is_found_out(tmp_path):
    asks = (
        "import socket\ntry:\n    socket.create_connection(('nowhere.invalid', 80))\nexcept OSError:\n    print('no')\n"
    )
    (tmp_path / "page.md").write_text(f"```python\n{asks}```\n")
    runner = Path(__file__).with_name("run_page.py")
    subprocess.run([sys.executable, runner, tmp_path / "page.md", tmp_path / "out.json", "0"], check=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == {"printed": ["no\n"], "asked": ["nowhere.invalid"], "heavy": []}
