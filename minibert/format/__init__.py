"""Reading and writing the one file that holds a model."""

from __future__ import annotations

from minibert.format.constants import padded
from minibert.format.four_bit import expand_blocks, expand_four_bit, pack_codebook, pack_int4, pack_int4_blocks
from minibert.format.layout import (
    filled_blocks,
    pack_blocks,
    pack_float32,
    pack_int8,
    pack_nibbles,
    unpack_blocks,
    unpack_float32,
    unpack_int8,
    unpack_nibbles,
)
from minibert.format.parts import Linear, Table, TensorSpec
from minibert.format.reader import ModelFile, read_model
from minibert.format.schema import Architecture, Config, Exit, HeadLayer, Layer, Task, TextConfig
from minibert.format.tensors import expected_tensors
from minibert.format.tokenizer import pack_tokenizer, unpack_tokenizer
from minibert.format.writer import is_model_file, model_bytes, write_model

__all__ = [
    "Architecture",
    "Config",
    "Exit",
    "HeadLayer",
    "Layer",
    "Linear",
    "ModelFile",
    "Table",
    "Task",
    "TensorSpec",
    "TextConfig",
    "expand_blocks",
    "expand_four_bit",
    "expected_tensors",
    "filled_blocks",
    "is_model_file",
    "model_bytes",
    "pack_blocks",
    "pack_codebook",
    "pack_float32",
    "pack_int4",
    "pack_int4_blocks",
    "pack_int8",
    "pack_nibbles",
    "pack_tokenizer",
    "padded",
    "read_model",
    "unpack_blocks",
    "unpack_float32",
    "unpack_int8",
    "unpack_nibbles",
    "unpack_tokenizer",
    "write_model",
]
