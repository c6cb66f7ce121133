"""Float32 weights to int8: calibration, centring, migration of outliers, error-compensated rounding."""

from __future__ import annotations

from .calibration import builtin_texts
from .quantizer import QuantizeReport, TensorError, quantize

__all__ = ["QuantizeReport", "TensorError", "builtin_texts", "quantize"]
