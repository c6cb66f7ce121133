"""Float32 weights to int8 or four bits: calibration, centring, migration of outliers, error-compensated rounding."""

from __future__ import annotations

from minibert_converter.passes.quantize.matrix import Form
from minibert_converter.passes.quantize.quantizer import QuantizeReport, TensorError, quantize

__all__ = ["Form", "QuantizeReport", "TensorError", "quantize"]
