"""What block sparsity is worth: a whole BERT-base, dense and with parts of its 4x4 blocks, in turns on one thread.

    python -m bench.speed.sparsity [--onnxruntime PYTHON:MODEL]

The networks are random numbers of BERT-base's shape, for speed depends on neither values nor training. Every model is
held by a process of its own (see worker.py); a round gives each one turn. onnxruntime's model is made by prepare.py of
a checkpoint of the same shape (random_checkpoint.py).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench import common
from bench.speed.peers import Peer, PeerError, Process
from bench.speed.random_checkpoint import VOCABULARY
from minibert.format import (
    Architecture,
    Config,
    Layer,
    Linear,
    Table,
    Task,
    TextConfig,
    pack_blocks,
    pack_int8,
    pack_tokenizer,
    padded,
    write_model,
)

LAYERS, HIDDEN, HEADS, FFN, POSITIONS = 12, 768, 12, 3072, 512
SPARSITIES = (0.0, 0.5, 0.8, 0.9)
LENGTHS = (8, 16, 32, 64, 128, 256, 512)


def write_random(path: Path, sparsity: float) -> int:
    """A file of BERT-base's shape with that part of the encoder's blocks removed; returns the encoder's bytes."""
    random = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {"tokenizer.json": pack_tokenizer("{}")}
    linears: dict[str, Linear] = {}
    for number in range(LAYERS):
        for part, inputs, outputs in (
            ("attention.qkv", HIDDEN, 3 * HIDDEN),
            ("attention.output", HIDDEN, HIDDEN),
            ("ffn.up", HIDDEN, FFN),
            ("ffn.down", FFN, HIDDEN),
        ):
            name = f"layers.{number}.{part}"
            weight = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
            if sparsity:
                kept = random.random((outputs // 4, inputs // 4)) >= sparsity
                weight *= np.kron(kept, np.ones((4, 4), np.int8))
                names = ("blocks", "index", "starts")
                tensors |= {f"{name}.{key}": value for key, value in zip(names, pack_blocks(weight), strict=True)}
                linears[name] = Linear("int8-4x4", inputs, outputs, blocks=len(tensors[f"{name}.index"]))
            else:
                tensors[f"{name}.weight"] = pack_int8(weight)
                linears[name] = Linear("int8", inputs, outputs)
            tensors[f"{name}.scale"] = np.full(outputs, 0.0005 / (1 - sparsity) ** 0.5, np.float32)
            tensors[f"{name}.weight_sum"] = weight.sum(axis=1, dtype=np.int32)
            tensors[f"{name}.bias"] = np.zeros(outputs, np.float32)
    encoder = sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith("layers."))

    tables = {"word": VOCABULARY, "position": POSITIONS, "token_type": 2}
    for name, rows in tables.items():
        tensors[f"embeddings.{name}.weight"] = random.integers(-127, 128, (rows, HIDDEN)).astype(np.int8)
        tensors[f"embeddings.{name}.scale"] = np.pad(np.full(rows, 0.001, np.float32), (0, padded(rows) - rows))
    norms = [f"layers.{number}.{part}.norm" for number in range(LAYERS) for part in ("attention", "ffn")]
    for name in ("embeddings.norm", *norms):
        tensors[f"{name}.weight"] = np.ones(HIDDEN, np.float32)
        tensors[f"{name}.bias"] = np.zeros(HIDDEN, np.float32)
    architecture = Architecture(
        model_type="bert",
        hidden_size=HIDDEN,
        head_size=HIDDEN // HEADS,
        vocab_size=VOCABULARY,
        max_positions=POSITIONS,
        token_types=2,
        layer_norm_eps=1e-12,
        activation="gelu",
        layers=(Layer(HEADS, FFN),) * LAYERS,
        pooling="mean",
    )
    described = {f"embeddings.{name}": Table("int8", rows) for name, rows in tables.items()}
    config = Config(architecture, Task("sentence-embedding"), TextConfig(POSITIONS), linears, described)
    write_model(path, config, tensors)
    return encoder


def measure(processes: list[Process], length: int, options: argparse.Namespace) -> list[float]:
    """Median seconds of each process on one text: the median over its turns."""
    ids = [[[*np.random.default_rng(length).integers(1000, 29000, length).tolist()]]]
    for process in processes:
        process.ask("put", "text", ids)
    repeats = [max(2, int(options.seconds / process.ask("time", "text", 1)["seconds"][0])) for process in processes]
    turns: list[list[float]] = [[] for _ in processes]
    for place in common.in_turns(range(len(processes)), options.rounds):
        seconds = processes[place].ask("time", "text", repeats[place])["seconds"]
        turns[place].append(statistics.median(seconds))
    return [statistics.median(each) for each in turns]


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("--onnxruntime", metavar="PYTHON:MODEL", help="its interpreter and folder, to be compared with")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each model (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn (default: 0.3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sparsity-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        peers, encoders = [], []
        for sparsity in SPARSITIES:
            path = folder / f"{sparsity}.safetensors"
            encoders.append(write_random(path, sparsity))
            peers.append(Peer("minibert", sys.executable, str(path)))
        if options.onnxruntime:
            python, _, model = options.onnxruntime.partition(":")
            peers.append(Peer("onnxruntime", python, model))
        processes = []
        for number, peer in enumerate(peers):
            try:
                processes.append(stack.enter_context(Process(peer, 1, folder / f"{number}.log")))
            except PeerError as error:
                sys.exit(str(error))
        print(", ".join(f"{key} {value}" for key, value in common.describe_machine().items()))
        shares = (
            f"{sparsity:.0%} sparse: {size / 1e6:.1f} MB" for sparsity, size in zip(SPARSITIES, encoders, strict=True)
        )
        print(f"encoder on disk, everything counted: {', '.join(shares)}")
        print(f"of the dense one: {', '.join(f'{size / encoders[0]:.2%}' for size in encoders)}\n")
        heads = ["tokens", "dense", *(f"{sparsity:.0%} sparse" for sparsity in SPARSITIES[1:])]
        heads += [f"onnxruntime / {name}" for name in heads[1:]] if options.onnxruntime else []
        print(common.table(heads, [], words=0))
        for length in LENGTHS:
            common.note(f"{length} tokens")
            times = measure(processes, length, options)
            own = times[: len(SPARSITIES)]
            cells = [str(length), f"{own[0] * 1e3:.2f} ms"]
            cells += [f"{time * 1e3:.2f} ms = {own[0] / time:.2f}x" for time in own[1:]]
            cells += [f"{times[-1] / time:.2f}" for time in own] if options.onnxruntime else []
            print(common.line(cells), flush=True)


if __name__ == "__main__":
    main()
