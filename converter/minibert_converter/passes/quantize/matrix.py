"""One matrix or table to int8, and how much of what it returns that loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from minibert.reference.functions import quantize
from minibert.reference.linear import integer_product
from minibert_converter.network import Float32Array, LinearWeights, QuantizedLinear, QuantizedTable
from minibert_converter.passes.prune.blocks import block_density
from minibert_converter.passes.quantize.four_bit import round_codebook, round_int4, round_int4_blocks
from minibert_converter.passes.quantize.migration import input_factors
from minibert_converter.passes.quantize.rounding import TOGETHER, round_compensated, round_to_nearest
from minibert_converter.passes.quantize.statistics import InputStatistics

#: What the weights of a matrix can be stored as.
Form = Literal["int8", "int4", "codebook"]
MATRIX_FORMS: tuple[str, ...] = get_args(Form)
#: The same where blocks are rounded as what they are stored as.
BlockForm = Literal[Form, "int4-4x4"]
_ROUNDINGS: Mapping[str, Callable[[Float32Array, np.ndarray], tuple[Any, Float32Array, Any]]] = {
    "int8": lambda weight, moments: (*round_compensated(weight, moments), None),
    "int4": round_int4,
    "int4-4x4": round_int4_blocks,
    "codebook": round_codebook,
}


def block_form(form: Form, weight: Float32Array, sparse_threshold: float) -> BlockForm:
    """What a matrix of a form is rounded as, float32 [out, in]: blocks where at most such a part of them is left.

    (Those of int8 lie on the grid that a dense matrix has: which it is stored as is decided by `export`.)
    """
    sparse = form == "int4" and block_density(weight, np.ones(weight.shape, bool)) <= sparse_threshold
    return "int4-4x4" if sparse else form


def quantize_nearest(linear: LinearWeights, form: BlockForm = "int8") -> QuantizedLinear:
    """Every weight to the nearest code."""
    if form == "int8":
        return QuantizedLinear(*round_to_nearest(linear.weight), linear.bias)
    codes, scales, grid = _ROUNDINGS[form](linear.weight, np.eye(linear.weight.shape[1]))
    return QuantizedLinear(codes, scales, linear.bias, grid=grid)


def quantize_table(table: Float32Array) -> QuantizedTable:
    """Every entry of a float32 [rows, H] table to the nearest code."""
    return QuantizedTable(*round_to_nearest(table))


@dataclass(frozen=True)
class Use:
    """One place where a matrix stands; shared ones stand in several.

    Attributes:
        bias: float32 [out], the bias there, for shifted inputs.
        seen: statistics of the inputs before the shift.
        shift: float32 [in], what is subtracted from the inputs.
    """

    bias: Float32Array
    seen: InputStatistics
    shift: Float32Array


def quantize_calibrated(
    weight: Float32Array, uses: Sequence[Use], form: BlockForm = "int8", factor: Float32Array | None = None
) -> list[QuantizedLinear]:
    """Factors from a sample of the inputs, then rounding against all of their second moments.

    The weights' errors meet the mean input in every row alike, so the bias takes that part of them back (bias
    correction, arXiv 1906.04721), and rounding need only mind the inputs' spread about their mean.

    Args:
        weight: float32 [out, in].
        uses: where the matrix stands.
        form: what weights are stored as.
        factor: float32 [in], the input factor; None chooses the best one.

    Returns:
        For each use the matrix: the same weights, scales and factor, another bias.
    """
    if factor is None:
        factor = input_factors(weight, np.concatenate([use.seen.sample - use.shift for use in uses]))
        if form != "int8":
            # Weights of four bits have less room for the outliers of inputs: half the way, in logarithms.
            factor = np.sqrt(factor)
    weight = weight / factor
    count = sum(use.seen.count for use in uses)
    moments = uses[0].seen.spread
    moments *= np.float32(uses[0].seen.count / count)
    for use in uses[1:]:
        moments += use.seen.spread * np.float32(use.seen.count / count)
    moments *= factor
    moments *= factor[:, None]
    codes, scales, grid = _ROUNDINGS[form](weight, moments)
    lost = weight - codes.astype(np.float32) * scales[:, None]
    biases = [(use.bias + lost @ (factor * (use.seen.mean - use.shift))).astype(np.float32) for use in uses]
    return [QuantizedLinear(codes, scales, bias, factor, grid) for bias in biases]


def output_error(weight: Float32Array, quantized: QuantizedLinear, rows: Float32Array) -> float:
    """Root of the mean square error of a matrix's outputs, over their spread about the mean.

    A constant error does not count: it is the bias's to take back.

    Args:
        weight: float32 [out, in], the matrix before it was quantized.
        quantized: what it became.
        rows: float32 [n, in], inputs; they are quantized row by row, as the engine does.
    """
    codes, scales, zeros = quantize(rows, quantized.input_factor)
    expected = rows @ weight.T
    error = integer_product(codes - zeros[:, None], quantized.q) * scales[:, None] * quantized.scale - expected
    return _relative(error - error.mean(axis=0), expected - expected.mean(axis=0))


def table_error(table: Float32Array, quantized: QuantizedTable) -> float:
    """Root of the mean square error of the rows, over that of their entries."""
    lost = kept = 0.0
    for first in range(0, len(table), TOGETHER):
        rows = slice(first, first + TOGETHER)
        error = QuantizedTable(quantized.q[rows], quantized.scale[rows]).dequantized() - table[rows]
        lost += float(np.square(error, dtype=np.float64).sum())
        kept += float(np.square(table[rows], dtype=np.float64).sum())
    return float(np.sqrt(lost / kept)) if kept > 0 else 0.0


def _relative(error: np.ndarray, reference: np.ndarray) -> float:
    scale = np.linalg.norm(reference)
    return float(np.linalg.norm(error) / scale) if scale > 0 else 0.0
