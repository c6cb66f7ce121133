"""How things are stored: what a tensor must be, and what the config says of one matrix and one embedding table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from minibert.errors import FormatError
from minibert.format.constants import (
    BLOCK,
    BLOCK_KINDS,
    FOUR_BIT_KINDS,
    GROUP,
    LANES,
    LINEAR_KINDS,
    MAX_BLOCKS,
    MAX_OUTPUTS,
    MAX_VOCAB_SIZE,
    MAX_WIDTH,
    RUN,
    SUBVECTOR_SIZES,
    TABLE_KINDS,
    LinearKind,
    TableKind,
    low_rank,
)
from minibert.format.record import FromJson, key, record
from minibert.format.values import boolean, choice, integer


class TensorSpec(NamedTuple):
    """What one tensor must be: `dtype` as safetensors calls it ("F32", "I8", "I32", "U16", "U8"), and its shape."""

    dtype: str
    shape: tuple[int, ...]


@record
class Linear(FromJson):
    """One weight matrix with its bias: `y = W x + b`.

    Attributes:
        kind: how the weights are stored and multiplied.
        in_features: inputs, a multiple of LANES (padding inputs have zero weights).
        out_features: outputs that mean something; stored padded to a multiple of LANES with zeros.
        input_factor: whether a vector multiplies the input before it is quantized (outlier migration,
            SmoothQuant, arXiv 2211.10438); only for int8 kinds.
        blocks: number of stored blocks of BLOCK outputs x GROUP inputs; for BLOCK_KINDS only.
        group_size: inputs of one output that share a multiplier, a multiple of GROUP; for "int4" only.
        weight_sum: whether the sums of the weights of a matrix of four bits are stored, as those of int8 kinds always
        are.
    """

    kind: LinearKind = key(choice(LINEAR_KINDS))
    in_features: int = key(integer(LANES, MAX_WIDTH))
    out_features: int = key(integer(1, MAX_OUTPUTS))
    input_factor: bool = key(boolean, default=False)
    blocks: int = key(integer(0, MAX_BLOCKS), default=0)
    group_size: int = key(integer(0, MAX_WIDTH), default=0)
    weight_sum: bool = key(boolean, default=False, written=False)

    @property
    def groups(self) -> int:
        """Multipliers of one output of an "int4" matrix; the last may have fewer inputs than the others."""
        return -(-self.in_features // self.group_size)

    @property
    def runs(self) -> int:
        """Runs of RUN stored blocks of an "int4-4x4" matrix; the last may have fewer."""
        return -(-self.blocks // RUN)

    @property
    def all_blocks(self) -> int:
        """Blocks that the matrix is made of, stored or not; those of outputs that are only padding are not counted."""
        return -(-self.out_features // BLOCK) * (self.in_features // GROUP)

    @property
    def density(self) -> float:
        """Fraction of the weights that is stored: below 1 for BLOCK_KINDS only."""
        return self.blocks / self.all_blocks if self.kind in BLOCK_KINDS else 1.0

    def check(self, where: str) -> None:
        """Refuse sizes that don't fit the kind."""
        if self.in_features % LANES:
            raise FormatError(f"{where}.in_features must be a multiple of {LANES}, not {self.in_features}")
        if self.input_factor and self.kind == "float32":
            raise FormatError(f"{where}.input_factor is for int8 matrices: a float32 one has nothing to migrate")
        if self.blocks and self.kind not in BLOCK_KINDS:
            raise FormatError(f"{where}.blocks is for the kinds {' and '.join(BLOCK_KINDS)}, not for {self.kind}")
        if self.blocks > self.all_blocks:
            raise FormatError(f"{where}.blocks is {self.blocks}, but the matrix has {self.all_blocks} of them")
        if (self.kind == "int4") != (self.group_size > 0):
            raise FormatError(f"{where}.group_size is {self.group_size}; int4 matrices have one, and no others")
        if self.weight_sum and self.kind not in FOUR_BIT_KINDS:
            raise FormatError(f"{where}.weight_sum is for matrices of four bits, not for {self.kind}")
        if self.group_size % GROUP:
            raise FormatError(f"{where}.group_size must be a multiple of {GROUP}, not {self.group_size}")


def low_rank_part(name: str, linears: Mapping[str, Linear]) -> tuple[str, str] | None:
    """The linears, down and up, that are the low-rank part of another; None if it has none.

    Whoever asks which role a linear has must ask this, of all linears of a config: the proof of a file and the plan
    that relies on it then cannot answer differently.
    """
    parts = low_rank(name)
    return parts if any(part in linears for part in parts) else None


@record
class Table(FromJson):
    """One embedding table, `rows` rows of the padded hidden size; all but "float32" have one float32 scale a row.

    A row of "int4" has 4-bit codes, and for each NIBBLE_GROUP columns a small whole number that multiplies them. A row
    of "codebook" has a byte for each `subvector_size` columns, which says what entry of a codebook they are (product
    quantization; Jégou et al., IEEE TPAMI 33(1), 2011). The kinds with "panels" lie as a linear of `rows` outputs
    does, so that the head of a fill-mask model can be the same tensor; only the table of words may.
    """

    kind: TableKind = key(choice(TABLE_KINDS))
    rows: int = key(integer(1, MAX_VOCAB_SIZE))
    subvector_size: int = key(integer(0, max(SUBVECTOR_SIZES)), default=0)

    def check(self, where: str) -> None:
        """Refuse sub-vectors where there are none."""
        sizes = SUBVECTOR_SIZES if self.kind == "codebook" else (0,)
        if self.subvector_size not in sizes:
            allowed = " or ".join(map(str, sizes))
            raise FormatError(f"{where}.subvector_size is {self.subvector_size}; of {self.kind} it must be {allowed}")
