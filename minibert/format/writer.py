"""Writing a model file: checked before, proven after, and never half there.

The safetensors library does the serializing. What this module adds is the finish that mapping needs: every tensor on a
multiple of ALIGNMENT bytes, and a header whose bytes depend on nothing but the model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.errors import FormatError, MinibertError
from minibert.files import check_target, replacing
from minibert.format.blocks import block_sums, prove_blocks
from minibert.format.constants import ALIGNMENT, BLOCK_KINDS, FOUR_BIT_KINDS, MAX_MULTIPLIER
from minibert.format.four_bit import expand_blocks, prove_filling, prove_int4_codes, prove_multiplier, weight_sums
from minibert.format.layout import unpack_nibbles
from minibert.format.parts import Linear, TensorSpec
from minibert.format.reader import DTYPES, PADDING, read_model
from minibert.format.relative import DISTANCE_ROWS, prove_distance_rows
from minibert.format.schema import FORMAT_NAME, FORMAT_VERSION, Config
from minibert.format.tensors import TOKENIZER, expected_tensors
from minibert.format.token_proof import prove_tokens
from minibert.format.token_tables import expanded, token_tensors
from minibert.format.tokenizer import unpack_tokenizer
from minibert.format.values import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_model(path: str | os.PathLike[str], config: Config, tensors: Mapping[str, NDArray[Any]]) -> int:
    """Write a model file, atomically: a reader sees the old file or the new one, whole, whenever the power fails.

    The same model gives the same bytes. Besides what the reader proves, the writer proves what the reader has no time
    for: floats are finite, int8 weights lie in [-127, 127], weight sums are the sums of the weights, and the
    tokenizer expands, or its tables are proven and tokenizer.json can be made of them.

    Args:
        path: the file; an existing one is replaced. A symbolic link is followed, if it leads to a model file or to
            none yet.
        config: what the file says about the model.
        tensors: the tensors of `expected_tensors(config)` without its aliases (or with them, if they are equal to
            what they name), and "tokenizer.json" (`pack_tokenizer`).

    Returns:
        Bytes written.

    Raises:
        FormatError: if config and tensors don't agree with each other or with docs/FORMAT.md; names tensor or key.
        InputError: if the path is no place for a file (see `minibert.files.check_target`).
        MinibertError: if the disk is full or the folder not writable. The old file is untouched in each case.
    """
    check_target(path, ours=is_model_file)
    try:
        header, data = _serialize(_text_of(config), _stored(config, tensors))
        with replacing(path, ours=is_model_file) as file:
            file.write(header)
            file.write(data)
            file.flush()
            read_model(file.name)
    except FormatError as error:
        raise FormatError(f"cannot write {os.fspath(path)}: {error}") from None
    return len(header) + len(data)


def model_bytes(config: Config, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """What `write_model` would write.

    Raises:
        FormatError: if config and tensors don't agree with each other or with docs/FORMAT.md; names tensor or key.
    """
    header, data = _serialize(_text_of(config), _stored(config, tensors))
    return b"".join((header, data))


def is_model_file(path: str | os.PathLike[str]) -> bool:
    """Whether this is a model file that this release reads."""
    try:
        read_model(path)
    except MinibertError:
        return False
    return True


def _text_of(config: Config) -> str:
    """The config as compact JSON, once it has been found to say the same when read back."""
    value = config.to_json()
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError) as error:  # NaN, half a surrogate pair, a NumPy number, a cycle
        raise FormatError(f"the config cannot be written as JSON: {error}") from None
    Config.from_json(json.loads(text))
    return text


def _stored(config: Config, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors to store, each proven against the config."""
    specs = expected_tensors(config)
    stored: dict[str, NDArray[Any]] = {}
    for name in tensors:
        if name not in specs and name != TOKENIZER:
            raise FormatError(f"tensor {shown(name)} is not one that the config calls for")
    for name, spec in specs.items():
        target = config.aliases.get(name)
        if target is None:
            stored[name] = _proven(name, tensors.get(name), spec)
        elif name in tensors and not np.array_equal(tensors[name], tensors.get(target, ())):
            raise FormatError(f"tensor {shown(name)} is an alias of {shown(target)}, but holds something else")
    _prove_contents(config, {name: stored[config.aliases.get(name, name)] for name in specs})
    tokenizer = tensors.get(TOKENIZER)
    if tokenizer is None or tokenizer.dtype != np.uint8 or tokenizer.ndim != 1:
        raise FormatError(f"tensor '{TOKENIZER}' is missing, or not uint8 [n]: see pack_tokenizer")
    stored[TOKENIZER] = np.ascontiguousarray(tokenizer)
    text = unpack_tokenizer(stored[TOKENIZER])
    if (tables := config.text.tables) is not None:
        from minibert.format.pieces import restored_json  # here: reading needs none of it

        vocab_size = config.architecture.vocab_size
        found = expanded(tables, {name: stored[name] for name in token_tensors(tables, vocab_size)})
        prove_tokens(tables, found, vocab_size)
        restored_json(text, tables, found)
    return stored


def _prove_contents(config: Config, tensors: Mapping[str, NDArray[Any]]) -> None:
    """What the reader proves of tensors, and that sums are the sums of weights, and codes of 4 bits symmetric."""
    if DISTANCE_ROWS in tensors:
        prove_distance_rows(tensors[DISTANCE_ROWS], config.architecture.relative_rows)
    for name, table in config.tables.items():
        if table.kind == "int4":
            if unpack_nibbles(tensors[f"{name}.codes"]).min() < -7:
                raise FormatError(f"tensor {shown(f'{name}.codes')} holds -8; 4-bit codes are symmetric, in [-7, 7]")
            if tensors[f"{name}.multiplier"].max() > MAX_MULTIPLIER:
                raise FormatError(f"tensor {shown(f'{name}.multiplier')} holds more than {MAX_MULTIPLIER}")
    for name, linear in config.linears.items():
        if linear.kind in ("int4", "int4-4x4"):
            prove_int4_codes(name, tensors[f"{name}.codes"])
            prove_multiplier(name, linear, tensors[f"{name}.multiplier"])
        if linear.kind == "int4-4x4":
            prove_filling(name, linear, tensors[f"{name}.codes"])
        if linear.kind in BLOCK_KINDS:
            prove_blocks(name, linear, tensors[f"{name}.index"], tensors[f"{name}.starts"])
        stored = tensors.get(f"{name}.weight_sum")
        if stored is not None and not np.array_equal(stored, _sums(name, linear, tensors)):
            raise FormatError(f"tensor {shown(f'{name}.weight_sum')} does not hold the sums of the weights")


def _sums(name: str, linear: Linear, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.int32]:
    """The sum of each output's weights, of a matrix of integers."""
    if linear.kind in FOUR_BIT_KINDS:
        return weight_sums(name, linear, tensors)
    if linear.kind in BLOCK_KINDS:
        few = linear.kind == "int4-4x4"
        blocks = expand_blocks(name, linear, tensors) if few else tensors[f"{name}.blocks"]
        return block_sums(blocks, tensors[f"{name}.starts"])
    return tensors[f"{name}.weight"].sum(axis=(1, 3), dtype=np.int32).reshape(-1)


def _proven(name: str, tensor: NDArray[Any] | None, spec: TensorSpec) -> NDArray[Any]:
    """One tensor, C-contiguous, of the dtype, shape and range that the format promises."""
    if tensor is None:
        raise FormatError(f"tensor {shown(name)} is missing")
    if tensor.dtype != DTYPES[spec.dtype] or tensor.shape != spec.shape:
        raise FormatError(
            f"tensor {shown(name)} is {tensor.dtype} {list(tensor.shape)}; "
            f"the config calls for {DTYPES[spec.dtype]} {list(spec.shape)}"
        )
    if spec.dtype == "F32" and not np.isfinite(tensor).all():
        raise FormatError(f"tensor {shown(name)} holds values that are not finite (NaN or infinity)")
    if spec.dtype == "I8" and tensor.size and tensor.min() == -128:
        raise FormatError(f"tensor {shown(name)} holds -128; quantized weights are symmetric, in [-127, 127]")
    return np.ascontiguousarray(tensor)


def _serialize(config_text: str, stored: dict[str, NDArray[Any]]) -> tuple[bytes, memoryview]:
    """The file in two parts: everything before the first tensor's first byte, and the tensors' bytes."""
    from safetensors.numpy import save  # here: reading needs no safetensors

    with_padding = dict(stored)
    for name, tensor in stored.items():
        if name != TOKENIZER and tensor.nbytes % ALIGNMENT:
            # The library orders tensors by dtype, then by name: this one comes right behind the tensor that it pads.
            with_padding[name + PADDING] = np.zeros(-tensor.nbytes % ALIGNMENT // tensor.itemsize, tensor.dtype)
    metadata = {"format": FORMAT_NAME, "version": str(FORMAT_VERSION), "config": config_text}
    file = memoryview(save(with_padding, metadata))
    start = 8 + int.from_bytes(file[:8], "little")
    # The library writes the metadata in an order that differs from run to run, and aligns the data to 8 bytes.
    entries = json.loads(bytes(file[8:start]))
    entries["__metadata__"] = metadata
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    return len(header).to_bytes(8, "little") + header, file[start:]
