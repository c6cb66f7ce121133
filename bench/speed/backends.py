"""The NumPy engine beside the kernels, and beside the float32 products that it cannot do without, in turns.

    python -m bench.speed.backends FILE [--tokens 16 128]

For each length the fastest pass of each, on one thread (NumPy's BLAS on as many as OPENBLAS_NUM_THREADS says, if it is
set). "products" are those of all matrices of the layers as float32 matrices of the same sizes: BLAS alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported

import numpy as np

from bench import common
from minibert.engine import Engine
from minibert.format import Config, padded, read_model


def products(config: Config, tokens: int) -> Callable[[], object]:
    """Multiplies each matrix of the layers, in float32, by rows of so many tokens."""
    random = np.random.default_rng(0)
    layers = [linear for name, linear in config.linears.items() if name.startswith("layers.")]
    weights = [random.random((padded(each.out_features), each.in_features), np.float32) for each in layers]
    rows = {width: random.random((width, tokens), np.float32) for width in {each.in_features for each in layers}}
    return lambda: [weight @ rows[weight.shape[1]] for weight in weights]


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("file", type=Path, help="a model that minibert converted")
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 128], help="lengths of the text (16 128)")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each (default: 20)")
    options = parser.parse_args()
    model = read_model(options.file)
    engines = {"kernels": Engine(model, threads=1), "NumPy": Engine(model, backend="numpy")}
    random = np.random.default_rng(0)
    print(", ".join(f"{key} {value}" for key, value in common.describe_machine().items()))
    rows: list[list[str]] = []
    heads = ["tokens", "kernels, ms", "NumPy, ms", "products, ms", "NumPy / kernels", "NumPy / products"]
    for tokens in options.tokens:
        ids = [random.integers(0, model.config.architecture.vocab_size, tokens).tolist()]
        calls: dict[str, Callable[[], object]] = {
            name: partial(engine.forward, ids) for name, engine in engines.items()
        }
        calls["products"] = products(model.config, tokens)
        for call in calls.values():
            call()
        best = {name: min(seconds) for name, seconds in common.time_in_turns(calls, options.rounds, 3).items()}
        milliseconds = [f"{1e3 * best[name]:.2f}" for name in calls]
        ratios = [f"{best['NumPy'] / best[name]:.1f}" for name in ("kernels", "products")]
        rows.append([str(tokens), *milliseconds, *ratios])
    print(common.table(heads, rows, words=0))


if __name__ == "__main__":
    main()
