"""What a change of one tensor does to the answers of the whole model, on calibration texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from minibert.reference import Reference
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.export import export, store_linear
from minibert_converter.network import AnyLinear, Float32Array, LinearWeights, Network, QuantizedLinear, TiedLinear

#: Texts that are answered for each measurement: enough to rank tensors, whose losses differ by orders of magnitude.
MEASURED_TEXTS = 64


def answers(network: Network, tokens: Tokens) -> list[Float32Array]:
    """The rows that the network returns, in float32, chunk after chunk."""
    reference = Reference(*export(in_float32(network)))
    return [reference.forward(ids, types) for ids, types in tokens.chunks()]


def loss(rows: list[Float32Array], wanted: list[Float32Array]) -> float:
    """The mean square error of rows over the variance of what is wanted: 0 for the same answers, 1 for a constant."""
    mean = np.mean([row for chunk in wanted for row in chunk], axis=0, dtype=np.float64)
    error = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(rows, wanted, strict=True))
    spread = sum(float(np.square(chunk - mean).sum()) for chunk in wanted)
    return error / spread if spread > 0 else 0.0


def in_float32(network: Network) -> Network:
    """The network with every matrix and table as the float32 numbers that it stands for."""
    linears: dict[str, AnyLinear] = dict(network.linears)
    for name, linear in network.linears.items():
        if isinstance(linear, QuantizedLinear):
            linears[name] = LinearWeights(linear.dequantized() * _factor(network, name), linear.bias)
    tables = {
        name: table if isinstance(table, np.ndarray) else table.dequantized() for name, table in network.tables.items()
    }
    return replace(network, linears=linears, tables=tables)


def swapped_losses(base: Network, other: Network, names: list[str], tokens: Tokens) -> Iterator[tuple[str, float]]:
    """For each matrix, the loss if `base` had that one as `other` has it.

    Both must have gone through the same passes but for how weights were rounded, so that their other tensors agree.
    """
    base = in_float32(base)
    wanted = answers(base, tokens)
    for name in names:
        one = in_float32(replace(other, linears={name: other.linears[name]}, tables={})).linears[name]
        changed = replace(base, linears={**base.linears, name: one})
        yield name, loss(answers(changed, tokens), wanted)


def matrix_bytes(network: Network, threshold: float) -> Mapping[str, int]:
    """Bytes of each matrix in a file, with all that belongs to it."""
    return {
        name: sum(tensor.nbytes for tensor in store_linear(name, linear, threshold)[1].values())
        for name, linear in network.linears.items()
        if not isinstance(linear, TiedLinear)
    }


def _factor(network: Network, name: str) -> Float32Array | float:
    """What else the inputs of a matrix are multiplied by: half of a low-rank part reads the codes of its matrix."""
    matrix = network.linears[name.removesuffix(".low_rank.down")]
    owner = network.linears[matrix.target] if isinstance(matrix, TiedLinear) else matrix
    if name.endswith(".low_rank.down") and isinstance(owner, QuantizedLinear) and owner.input_factor is not None:
        return owner.input_factor
    return 1.0
