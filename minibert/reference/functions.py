"""Row-wise float32 functions, operation for operation as the kernels do them."""

from __future__ import annotations

import numpy as np

from minibert import numerics
from minibert.format.constants import LANES, Pooling, padded

f32 = np.float32

#: Numbers that go through an activation together: they and all that is made of them stay in a second-level cache.
TOGETHER = 1 << 15


def lane_sum(x: np.ndarray) -> np.ndarray:
    """Sum over the last axis (a multiple of 16) in the engine's fixed order: 16 lanes, then folded in halves.

    Args:
        x: float32 [..., n * 16].

    Returns:
        float32 [...].
    """
    columns = np.ascontiguousarray(x.T)
    # Along the first axis NumPy adds one after another.
    total = np.add.reduce(columns.reshape(len(columns) // LANES, LANES, *columns.shape[1:]), axis=0, initial=f32(0.0))
    half = LANES // 2
    while half:
        total = total[:half] + total[half : 2 * half]
        half //= 2
    return total[0].T


def polynomial(t: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """Estrin's scheme in float32, lowest power first in `coefficients`: neighbours are joined until one is left.

    Unlike Horner's rule its steps hardly wait for one another, which is what limits the kernels.
    """
    terms: list[np.ndarray | np.float32] = [f32(c) for c in coefficients]
    while len(terms) > 1:
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [_joined(low, high, t) for low, high in zip(terms[::2], terms[1::2], strict=False)] + odd
        t = t * t if len(terms) > 1 else t
    return np.asarray(terms[0], f32)


def _joined(low: np.ndarray | np.float32, high: np.ndarray | np.float32, t: np.ndarray) -> np.ndarray:
    """high * t + low, in the memory of `high` if that is an array."""
    made = np.multiply(high, t, out=high if isinstance(high, np.ndarray) else None)
    made += low
    return made


def exp2(x: np.ndarray) -> np.ndarray:
    """2**x for float32 x <= 127, flushed to 2**-126 below that: a polynomial whose exponent is then raised."""
    x = np.maximum(x, f32(numerics.EXP2_LOWEST))
    whole = x + f32(numerics.ROUND_MAGIC)
    whole -= f32(numerics.ROUND_MAGIC)
    x -= whole
    mantissa = polynomial(x, numerics.EXP2_POLYNOMIAL)
    return (mantissa.view(np.int32) + (whole.astype(np.int32) << 23)).view(f32)


def _rounding_product(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """a * b / 2**15, rounded."""
    return np.asarray((a * b + (1 << 14)) >> 15)


def softmax_weights(distance: np.ndarray) -> np.ndarray:
    """2**(WEIGHT_BITS - distance / DISTANCE_STEPS), integers of integers in 0..DISTANCE_LIMIT."""
    c0, c1, c2, c3 = numerics.WEIGHT_POLYNOMIAL
    t = (distance << 15 - numerics.DISTANCE_BITS) & 0x7FFF
    mantissa = c0 - _rounding_product(t, c1 - _rounding_product(t, c2 - _rounding_product(t, c3)))
    return _rounding_product(mantissa, (2 << numerics.WEIGHT_BITS) >> (distance >> numerics.DISTANCE_BITS))


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), the exact GELU (arXiv 1606.08415) to 1.1e-6."""
    bound = f32(numerics.GELU_BOUND)
    z = np.clip(x, -bound, bound)
    t = z * z
    t *= f32(2.0 / numerics.GELU_BOUND**2)
    t -= f32(1.0)
    z *= polynomial(t, numerics.GELU_POLYNOMIAL)
    z += f32(0.5)
    z *= x
    return z


def gelu_codes(x: np.ndarray) -> np.ndarray:
    """GELU for values that become int8 codes at once."""
    bound = f32(numerics.GELU_CODES_BOUND)
    z = np.clip(x, -bound, bound)
    z *= polynomial(z * z, numerics.GELU_CODES_POLYNOMIAL)
    z += f32(0.5)
    z *= x
    return z


def _sigmoid_product(x: np.ndarray, argument: np.ndarray) -> np.ndarray:
    """x / (1 + exp(-argument))."""
    bounded = np.clip(argument, f32(-80.0), f32(80.0))
    bounded *= f32(-numerics.LOG2_E)
    divisor = exp2(bounded)
    divisor += f32(1.0)
    return x / divisor


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh approximation of GELU."""
    square = x * x
    return _sigmoid_product(x, x * (square * f32(numerics.GELU_TANH_CUBIC) + f32(numerics.GELU_TANH_LINEAR)))


def silu(x: np.ndarray) -> np.ndarray:
    """x / (1 + exp(-x))."""
    return _sigmoid_product(x, x)


def tanh(x: np.ndarray) -> np.ndarray:
    """2 sigmoid(2 x) - 1, accurate to 2e-7 absolute."""
    return _sigmoid_product(np.full_like(x, f32(2.0)), x * f32(2.0)) - f32(1.0)


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, f32(0.0))


_ACTIVATIONS = {
    "gelu": gelu,
    "gelu_codes": gelu_codes,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
    "tanh": tanh,
}


def activate(x: np.ndarray, activation: str) -> np.ndarray:
    """The named activation of float32 rows."""
    if activation == "none":
        return x
    made = np.empty_like(x)
    numbers, target = x.ravel("K"), made.ravel("K")
    for first in range(0, len(numbers), TOGETHER):
        part = slice(first, first + TOGETHER)
        target[part] = _ACTIVATIONS[activation](numbers[part])
    return made


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, size: int, eps: float) -> np.ndarray:
    """LayerNorm of the first `size` columns; the padding beyond them stays zero.

    Args:
        x: float32 [rows, padded(size)], zero in the padding.
        weight: float32 [padded(size)], zero in the padding.
        bias: float32 [padded(size)], zero in the padding.
        size: columns that count.
        eps: added to the variance.
    """
    inverse = f32(1.0) / f32(size)
    mean = lane_sum(x) * inverse
    centred = x - mean[:, None]
    centred[:, size:] = 0
    variance = lane_sum(centred * centred) * inverse
    scale = f32(1.0) / np.sqrt(variance + f32(eps))
    centred *= scale[:, None]
    centred *= weight
    centred += bias
    return centred


def rms_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, size: int, eps: float) -> np.ndarray:
    """`layer_norm` that takes no mean away (RMSNorm, arXiv 1910.07467)."""
    scale = f32(1.0) / np.sqrt(lane_sum(x * x) * (f32(1.0) / f32(size)) + f32(eps))
    made = x * scale[:, None]
    made *= weight
    made += bias
    return made


def rotary_table(rotation: float | tuple[float, ...], head_size: int, positions: int) -> np.ndarray:
    """Cosines and sines of rotary position embeddings (arXiv 2104.09864), for features whose pairs are neighbours.

    Args:
        rotation: the base of the frequencies base**(-2i / head_size), or the frequencies.
        head_size: features of a head, an even number.
        positions: rows.

    Returns:
        float32 [positions, 2, padded(head_size)], zero in the padding: x becomes x * cosine + swapped(x) * sine, where
        `swapped` exchanges neighbours and each even feature's sine is negative.
    """
    if isinstance(rotation, tuple):
        frequency = np.array(rotation, f32)
    else:
        frequency = (1.0 / rotation ** (np.arange(0, head_size, 2) / head_size)).astype(f32)
    # The angle is rounded to float32, as it was when models were trained; its cosine is exact to the last bit or so.
    angle = (np.arange(positions, dtype=f32)[:, None] * frequency).astype(np.float64)
    table = np.zeros((positions, 2, padded(head_size)), f32)
    for first, sign in ((0, -1.0), (1, 1.0)):
        table[:, 0, first:head_size:2] = np.cos(angle)
        table[:, 1, first:head_size:2] = sign * np.sin(angle)
    return table


def normalize(x: np.ndarray) -> np.ndarray:
    """Rows divided by their Euclidean length; a row of zeros stays zero."""
    length = np.sqrt(lane_sum(x * x))
    return x * (f32(1.0) / np.maximum(length, f32(1e-12)))[:, None]


def pool(rows: np.ndarray, places: np.ndarray, kind: Pooling) -> np.ndarray:
    """One row of those of a text's tokens, which are added one after another.

    Args:
        rows: float32 [tokens, n].
        places: int [tokens], of the tokens in their text, from 1 on: "weighted_mean" multiplies rows by them.
        kind: what is made of them.

    Returns:
        float32 [n].
    """
    if kind in ("cls", "last"):
        return rows[0 if kind == "cls" else -1]
    if kind == "max":
        return rows.max(axis=0)
    weighted = rows * places[:, None].astype(f32) if kind == "weighted_mean" else rows
    total = np.add.accumulate(weighted)[-1] + f32(0.0)  # never -0.0, as sums that begin with 0.0 never are
    if kind == "mean_sqrt_length":
        return total * (f32(1.0) / np.sqrt(f32(len(rows))))
    return total * (f32(1.0) / f32(places.sum() if kind == "weighted_mean" else len(rows)))


def quantize(x: np.ndarray, factor: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 codes with one scale and one zero point a row.

    Args:
        x: float32 [rows, n].
        factor: float32 [n] that multiplies the row first, or None.

    Returns:
        codes float32 [rows, n], whole numbers in -127..127, scales float32 [rows], zero points float32 [rows], whole
        numbers in -126..126: x * factor is about (codes - zero point) * scale.
    """
    if factor is not None:
        x = x * factor
    high, low = np.maximum.reduce(x, axis=-1, initial=0), np.minimum.reduce(x, axis=-1, initial=0)
    inverse, scale = _steps(high - low, numerics.CODE_STEPS)
    with np.errstate(invalid="ignore"):
        zero = f32(numerics.HIGHEST_CODE) - np.rint(high * inverse)
        magic = f32(numerics.ROUND_MAGIC) + zero
        # Rounded after the zero point is added: of a half, the even code is taken.
        codes = x * inverse[..., None]
        codes += magic[..., None]
        codes -= f32(numerics.ROUND_MAGIC)
        return codes, scale, zero


def quantize_symmetric(x: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes with one scale a row: float32 [rows, n], whole numbers in -limit..limit, and scales float32 [rows]."""
    largest = np.maximum.reduce(np.abs(x), axis=-1, initial=0)
    inverse, scale = _steps(largest, limit)
    with np.errstate(invalid="ignore"):
        codes = x * inverse[..., None]
        return np.rint(codes, out=codes), scale


def _steps(span: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps in one, and the size of a step, where a span is cut into `count` of them; both 0 for a tiny span."""
    large = span >= f32(numerics.SMALLEST_SPAN)
    inverse = f32(count) / np.where(large, span, f32(np.inf))
    return inverse, np.where(large, span, f32(0.0)) * f32(1.0 / count)
