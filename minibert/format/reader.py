"""Reading a model file: everything is proven before any of it is handed out, and no weight is touched.

The file is mapped, its header parsed once, and each tensor becomes a read-only view into the mapping. What a kernel
will do with raw pointers depends on nothing but the config and these views, so this module is the one gate between a
file that anybody wrote and code that cannot be stopped by an exception.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.errors import FormatError, MinibertError
from minibert.forking import unforked
from minibert.format.blocks import prove_blocks
from minibert.format.carried import located
from minibert.format.constants import ALIGNMENT, BLOCK_KINDS
from minibert.format.content import CONVERT, Content, opened, own_copy
from minibert.format.four_bit import prove_filling, prove_multiplier
from minibert.format.parts import TensorSpec
from minibert.format.relative import DISTANCE_ROWS, prove_distance_rows
from minibert.format.schema import FORMAT_NAME, FORMAT_VERSION, Config
from minibert.format.tensors import TOKENIZER, expected_tensors
from minibert.format.token_tables import Tokenization, expanded, places, token_tensors
from minibert.format.tokenizer import unpack_tokenizer
from minibert.format.values import parse_json, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes of header. A BERT-base has 60 KB; parsing a hostile one of this size stays within a small machine's memory.
MAX_HEADER_BYTES = 8 << 20
#: The dtypes of the format by the names that safetensors gives them; the bytes are little-endian everywhere.
DTYPES = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "U16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
#: `NAME.padding` fills the bytes between the end of NAME and the next multiple of ALIGNMENT.
PADDING = ".padding"
NO_TABLES = "has no tables of its tokenizer: all that it has is tokenizer.json"

_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model file, proven and mapped.

    Attributes:
        config: what the file says about its model.
        tensors: every tensor of `expected_tensors(config)`, and "tokenizer.json", as read-only views into one mapping
            of the file (float32, int32, uint16, int8, uint8), 64-byte aligned but for the tokenizer. An alias is the
            very same array object as the tensor that it names. The mapping lives as long as any of them. Only the
            index and starts of block-sparse matrices and the rows of distances, which kernels turn into addresses, are
            copies.
        path: where the file was; "bytes" for a model that was given as such.
        size: bytes of the file.
        data: the whole file, where it was read into memory; None where it is mapped.
    """

    config: Config
    tensors: Mapping[str, NDArray[Any]]
    path: str
    size: int
    data: memoryview | None = None

    def tokenizer_json(self) -> str:
        """The text of the tokenizer.json that the file carries, or that its tables say; made anew in each call.

        Raises:
            FormatError: if it is damaged, or expands to more than 64 MiB; or if the tables are.
        """
        tables = self.config.text.tables
        try:
            text = unpack_tokenizer(self.tensors[TOKENIZER])
            if tables is None:
                return text
            with unforked():
                from minibert.format.pieces import restored_json  # here: who answers by the tables needs no JSON

            return restored_json(text, tables, self._proven_tables(tables))
        except FormatError as error:
            raise FormatError(f"{self.path}: {error}") from None

    def tokenizer_rest(self) -> dict[str, Any]:
        """What of tokenizer.json the tables do not say (see `minibert.format.pieces.proven_rest`).

        Raises:
            FormatError: if it is damaged, or expands to more than 64 MiB; or if there are no tables.
        """
        tables = self.config.text.tables
        try:
            if tables is None:
                raise FormatError(NO_TABLES)
            with unforked():
                from minibert.format.pieces import proven_rest

            return proven_rest(unpack_tokenizer(self.tensors[TOKENIZER]), tables)
        except FormatError as error:
            raise FormatError(f"{self.path}: {error}") from None

    def token_tables(self) -> dict[str, NDArray[Any]]:
        """The tensors of the tokenizer's tables (`config.text.tables`), the table of characters expanded, all proven.

        What says where others are read is a copy, so that what was proven stays true; the rest lies in the mapping.

        Raises:
            FormatError: if they lead anywhere else than into each other, or the file has none.
        """
        tables = self.config.text.tables
        try:
            if tables is None:
                raise FormatError(NO_TABLES)
            return self._proven_tables(tables)
        except FormatError as error:
            raise FormatError(f"{self.path}: {error}") from None

    def _proven_tables(self, tables: Tokenization) -> dict[str, NDArray[Any]]:
        vocab_size = self.config.architecture.vocab_size
        tensors = {name: self.tensors[name] for name in token_tensors(tables, vocab_size)}
        for name in places(tables):
            tensors[name] = own_copy(tensors[name].reshape(-1)).reshape(tensors[name].shape)
        found = expanded(tables, tensors)
        with unforked():
            from minibert.format.token_proof import prove_tokens  # here: a model of ids alone has nothing to prove

        prove_tokens(tables, found, vocab_size)
        return found


def read_model(source: str | os.PathLike[str] | bytes | bytearray | memoryview, *, copy: bool = False) -> ModelFile:
    """Open a model file: map it, prove it, and give views into it.

    The time depends on the number of tensors, not on their size: weights are read from disk when a kernel first
    reads them, and shared with every other process that has the same file mapped. Only where the blocks of
    block-sparse matrices lie is read and proven at once, one byte in nine of such a matrix.

    A mapped file must not be changed in place: answers would change with it, and if it became shorter the next one
    would end the process. Replacing it by a rename, as `write_model` does, is safe. A file that is seen to be written
    to meanwhile is refused.

    Args:
        source: a file written by `write_model`, the name of a model that is installed (see `located`), or all bytes.
        copy: read the file into memory instead of mapping it, so that no change of it matters. Bytes always are.

    Raises:
        FormatError: if there is no such file, or anything about it is not as docs/FORMAT.md has it; the message
            names the file and the tensor or key. Never anything else, whatever the file holds.
        MinibertError: if the machine has not enough memory for the header.
    """
    given = source if isinstance(source, (bytes, bytearray, memoryview)) else os.fsdecode(source)
    name = given if isinstance(given, str) else "bytes"
    try:
        if isinstance(given, str):
            given = name = located(given)
        with opened(given, copy) as content:
            return _read(content, name)
    except FormatError as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise MinibertError(f"{name}: not enough memory to read its header") from None


def _read(buffer: Content, path: str) -> ModelFile:
    header, data_start = _parse_header(buffer)
    config = _parse_config(header.pop("__metadata__", None))
    specs = expected_tensors(config)
    for name, target in config.aliases.items():
        if name in header:
            raise FormatError(f"tensor {shown(name)} is stored and also an alias of {shown(target)}")
    views = _Views(buffer, data_start)
    _prove_names(header, specs, config.aliases)
    for name, entry in header.items():
        views.add(name, entry, _spec_of(name, entry, specs))
    views.prove_ranges()
    sparse = {name: linear for name, linear in config.linears.items() if linear.kind in BLOCK_KINDS}
    offsets = [f"{linear}.{part}" for linear in sparse for part in ("index", "starts")]
    for name in (*offsets, DISTANCE_ROWS):
        if name in views.tensors:
            views.tensors[name] = own_copy(views.tensors[name])
    tensors = {name: views.tensors[config.aliases.get(name, name)] for name in specs}
    tensors[TOKENIZER] = views.tensors[TOKENIZER]
    if DISTANCE_ROWS in tensors:
        prove_distance_rows(tensors[DISTANCE_ROWS], config.architecture.relative_rows)
    for name, linear in sparse.items():
        prove_blocks(name, linear, tensors[f"{name}.index"], tensors[f"{name}.starts"])
    for name, linear in config.linears.items():
        if linear.kind in ("int4", "int4-4x4"):
            prove_multiplier(name, linear, tensors[f"{name}.multiplier"])
        if linear.kind == "int4-4x4":
            prove_filling(name, linear, tensors[f"{name}.codes"])
    return ModelFile(config, tensors, path, len(buffer), buffer if isinstance(buffer, memoryview) else None)


def _parse_header(buffer: Content) -> tuple[dict[str, Any], int]:
    """The safetensors header, and where the data behind it begins."""
    length = int.from_bytes(buffer[:8], "little")
    start = 8 + length
    if length > MAX_HEADER_BYTES or buffer[8:9] != b"{":
        raise FormatError(f"is not a safetensors file{_guess(bytes(buffer[:16]))}; {CONVERT}")
    if start > len(buffer):
        raise FormatError(f"is cut short: a header of {length} bytes, {len(buffer)} bytes in all; copy it again")
    try:
        text = str(buffer[8:start], "utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"the header is not valid JSON: {error}") from None
    header = parse_json(text, "the header")
    if type(header) is not dict:
        raise FormatError("the header is not a JSON object")
    return header, start


def _guess(start: bytes) -> str:
    """What a file that is no safetensors file may be instead, by its first bytes."""
    kinds = {
        b"PK\x03\x04": " but a zip archive or PyTorch checkpoint",
        b"GGUF": " but a GGUF file",
        b"version https://": " but a Git LFS pointer: fetch the file itself with git lfs pull",
        b"\x80": " but a pickle",
    }
    return next((kind for magic, kind in kinds.items() if start.startswith(magic)), "")


def _parse_config(metadata: Any) -> Config:
    if metadata is not None and (
        type(metadata) is not dict or any(type(value) is not str for value in metadata.values())
    ):
        raise FormatError("__metadata__ in the header must map strings to strings")
    if not metadata or metadata.get("format") != FORMAT_NAME:
        raise FormatError(f"is a safetensors file, but not one that minibert wrote; {CONVERT}")
    version = metadata.get("version")
    if version != str(FORMAT_VERSION):
        raise FormatError(
            f"has format version {shown(version)}; this release reads version {FORMAT_VERSION}: "
            "convert the checkpoint again with this release, or run the file with the release that wrote it"
        )
    if "config" not in metadata:
        raise FormatError("__metadata__ in the header lacks 'config'")
    return Config.from_json(parse_json(metadata["config"], "the config"))


def _prove_names(header: Mapping[str, Any], specs: Mapping[str, TensorSpec], aliases: Mapping[str, str]) -> None:
    for name in specs:
        if name not in header and name not in aliases:
            raise FormatError(f"tensor {shown(name)} is missing")
    if TOKENIZER not in header:
        raise FormatError(f"tensor '{TOKENIZER}' is missing")
    for name in header:
        padded_name = name[: -len(PADDING)] if name.endswith(PADDING) else name
        if name not in specs and name != TOKENIZER and (padded_name not in specs or padded_name not in header):
            raise FormatError(f"tensor {shown(name)} is not one that the config calls for")


def _spec_of(name: str, entry: Any, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    """What a stored tensor must be. Padding depends on the tensor before it, the tokenizer on nothing but itself."""
    if name in specs:
        return specs[name]
    if name == TOKENIZER:
        shape = entry.get("shape") if type(entry) is dict else None
        one_size = type(shape) is list and len(shape) == 1 and type(shape[0]) is int and shape[0] > 0
        return TensorSpec("U8", tuple(shape) if shape and one_size else (1,))
    spec = specs[name[: -len(PADDING)]]
    itemsize = DTYPES[spec.dtype].itemsize
    missing = -math.prod(spec.shape) * itemsize % ALIGNMENT
    if not missing:
        raise FormatError(f"tensor {shown(name)} is padding where none is due")
    return TensorSpec(spec.dtype, (missing // itemsize,))


class _Views:
    """Views into the mapped file, each proven alone by `add`, and all together by `prove_ranges`."""

    def __init__(self, buffer: Content, data_start: int) -> None:
        self.tensors: dict[str, NDArray[Any]] = {}
        self._buffer = buffer
        self._data_start = data_start
        self._data_size = len(buffer) - data_start
        self._ranges: list[tuple[int, int, str]] = []

    def add(self, name: str, entry: Any, spec: TensorSpec) -> None:
        if type(entry) is not dict or entry.keys() != _ENTRY_KEYS:
            raise FormatError(f"tensor {shown(name)}: its header entry must have dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if dtype != spec.dtype or type(shape) is not list or tuple(shape) != spec.shape or not _whole(shape):
            raise FormatError(
                f"tensor {shown(name)} is {shown(dtype)} {str(shape)[:60]}; "
                f"the config calls for {spec.dtype} {list(spec.shape)}"
            )
        if type(offsets) is not list or len(offsets) != 2 or not _whole(offsets):
            raise FormatError(f"tensor {shown(name)}: data_offsets must be two whole numbers")
        begin, end = offsets
        count = math.prod(spec.shape)
        if begin < 0 or end - begin != count * DTYPES[dtype].itemsize:
            raise FormatError(f"tensor {shown(name)}: {offsets} are not the offsets of {dtype} {shape}")
        if end > self._data_size:
            raise FormatError(
                f"tensor {shown(name)} ends {end - self._data_size} bytes behind the end of the file: "
                "the file is cut short, copy it again"
            )
        offset = self._data_start + begin
        if name != TOKENIZER and not name.endswith(PADDING) and offset % ALIGNMENT:
            raise FormatError(f"tensor {shown(name)} is not aligned: it begins at byte {offset}")
        self._ranges.append((begin, end, name))
        self.tensors[name] = np.frombuffer(self._buffer, DTYPES[dtype], count, offset).reshape(spec.shape)

    def prove_ranges(self) -> None:
        """The tensors fill the data from its first byte to its last, without overlap."""
        position, previous = 0, "the header"
        for begin, end, name in sorted(self._ranges):
            if begin < position:
                raise FormatError(f"tensor {shown(name)} overlaps {previous}")
            if begin > position:
                raise FormatError(f"{begin - position} bytes between {previous} and tensor {shown(name)} are nobody's")
            position, previous = end, f"tensor {shown(name)}"
        if position != self._data_size:
            raise FormatError(f"{self._data_size - position} bytes behind {previous} are nobody's")


def _whole(values: list[Any]) -> bool:
    return all([type(value) is int for value in values])
