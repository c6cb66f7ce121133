"""Float32 weights to int8 or four bits: calibration, centring, migration of outliers, error-compensated rounding."""

from __future__ import annotations

from .matrix import Form
from .quantizer import QuantizeReport, TensorError, quantize

__all__ = ["Form", "QuantizeReport", "TensorError", "quantize"]
