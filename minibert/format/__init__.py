"""Reading and writing the one file that holds a model."""

from __future__ import annotations

from minibert.format.layout import pack_float32, pack_int8, unpack_float32, unpack_int8
from minibert.format.schema import (
    Architecture,
    Config,
    HeadLayer,
    Layer,
    Linear,
    Table,
    Task,
    TextConfig,
    padded,
)
from minibert.format.tensors import TensorSpec, expected_tensors

__all__ = [
    "Architecture",
    "Config",
    "HeadLayer",
    "Layer",
    "Linear",
    "Table",
    "Task",
    "TensorSpec",
    "TextConfig",
    "expected_tensors",
    "pack_float32",
    "pack_int8",
    "padded",
    "unpack_float32",
    "unpack_int8",
]
