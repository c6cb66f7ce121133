"""What it saves to store shared layers once: an ALBERT of 12 layers and its twin, in which each layer has its own copy.

    python -m bench.speed.sharing build/bench/albert

The checkpoint is made by transformers, with random weights and ALBERT-base's sizes; both files hold the same numbers
and give the same answers. Printed are the sizes of the files, the bytes of each that a running engine has mapped and
touched, and times, taken in turns. Linux only: bytes come from /proc. Needs PyTorch and transformers (extra `train`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench import common
from bench.speed.random_checkpoint import VOCABULARY, tokenizer
from minibert.engine import Engine
from minibert.format import read_model, write_model
from minibert_converter.convert import convert

TURNS = 15
TOKENS = (16, 128, 1024)


def make(folder: Path) -> Path:
    """The checkpoint, unless it is there already."""
    if not (folder / "config.json").is_file():
        import torch
        from transformers import AlbertConfig, AlbertModel

        torch.manual_seed(0)
        sizes = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_hidden_layers": 12}
        AlbertModel(AlbertConfig(vocab_size=VOCABULARY, **sizes)).save_pretrained(folder)
        tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def touched(path: Path) -> int:
    """Bytes of a file that this process has mapped and read."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and words[0] == "Rss:":
            total += 1024 * int(words[1])
    return total


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("folder", type=Path, help="where the checkpoint and both files go")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shared, alone = folder / "shared.safetensors", folder / "alone.safetensors"
    convert(make(folder / "checkpoint"), shared, task="sentence-embedding")
    file = read_model(shared)
    write_model(alone, replace(file.config, aliases={}), file.tensors)
    del file

    engines = {path: Engine(read_model(path), threads=1) for path in (shared, alone)}
    random = np.random.default_rng(0)
    results: dict[Path, dict[str, float]] = {path: {"file_bytes": path.stat().st_size} for path in engines}
    for tokens in TOKENS:
        ids = [random.integers(5, VOCABULARY, min(tokens, 128)).tolist() for _ in range(-(-tokens // 128))]
        answers = [engine.forward(ids).tobytes() for engine in engines.values()]
        assert answers[0] == answers[1]
        calls = {path: partial(engine.forward, ids) for path, engine in engines.items()}
        for path, seconds in common.time_in_turns(calls, TURNS).items():
            results[path][f"ms_{tokens}_tokens"] = round(1000 * min(seconds), 2)
    for path, found in results.items():
        print(json.dumps({"file": path.name, **found, "touched_bytes": touched(path)}))


if __name__ == "__main__":
    main()
