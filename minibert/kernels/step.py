"""A step of the plan: its entries, and the end that all steps which make rows have in common."""

from __future__ import annotations

from minibert.kernels import opcodes as op
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.rows import layer_norm, quantize, rms_norm
from minibert.kernels.simd import f32_of_bits, load_i64


@kernel(int64, int64, int64)
def field(row, number):
    """Entry `number` of a step or job."""
    return load_i64(row + 8 * number)


@kernel(int64, int64)
def row_stride(step):
    """Bytes between two float32 rows of the step's width."""
    return field(step, op.WIDTH) * 4


@kernel(int64, int64, int64, int64)
def place_of(step, arena, number):
    """Address of row `number` of the step's float32 result, or 0 if it is not kept."""
    out = field(step, op.OUT)
    if out < 0:
        return 0
    return arena + out + number * row_stride(step)


@kernel(void, int64, int64, int64, int64)
def store_codes(step, arena, rows, number):
    """The codes of rows from `number` on, if the step makes codes."""
    codes = field(step, op.CODES)
    if codes >= 0:
        stride = field(step, op.CODES_STRIDE)
        place = arena + codes + number * stride
        scales = arena + field(step, op.SCALES) + op.SCALE_BYTES * number
        quantize(rows, row_stride(step), field(step, op.WIDTH), field(step, op.FACTOR), place, stride, scales)


@kernel(void, int64, int64, int64)
def normalize_rows(step, rows, out):
    """LayerNorm, or RMSNorm, of rows into `out`."""
    stride, width, size = row_stride(step), field(step, op.WIDTH), field(step, op.NORM_SIZE)
    eps = f32_of_bits(field(step, op.NORM_EPS))
    weight, bias = field(step, op.NORM_WEIGHT), field(step, op.NORM_BIAS)
    if field(step, op.NORM_RMS) != 0:
        rms_norm(rows, stride, width, size, eps, weight, bias, out, stride)
    else:
        layer_norm(rows, stride, width, size, eps, weight, bias, out, stride)
