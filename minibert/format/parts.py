"""How weights are stored: what the config says of one matrix, and of one embedding table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minibert.errors import FormatError
from minibert.format.constants import (
    BLOCK,
    GROUP,
    LANES,
    LINEAR_KINDS,
    MAX_BLOCKS,
    MAX_OUTPUTS,
    MAX_VOCAB_SIZE,
    MAX_WIDTH,
    SUBVECTOR_SIZES,
    TABLE_KINDS,
    LinearKind,
    TableKind,
    low_rank,
)
from minibert.format.record import record
from minibert.format.values import Fields


@record
class Linear:
    """One weight matrix with its bias: `y = W x + b`.

    Attributes:
        kind: how the weights are stored and multiplied.
        in_features: inputs, a multiple of LANES (padding inputs have zero weights).
        out_features: outputs that mean something; stored padded to a multiple of LANES with zeros.
        input_factor: whether a vector multiplies the input before it is quantized (outlier migration,
            SmoothQuant, arXiv 2211.10438); only for int8 kinds.
        blocks: number of stored blocks of BLOCK outputs x GROUP inputs; for "int8-4x4" only.
        group_size: inputs of one output that share a multiplier, a multiple of GROUP; for "int4" only.
    """

    kind: LinearKind
    in_features: int
    out_features: int
    input_factor: bool = False
    blocks: int = 0
    group_size: int = 0

    @property
    def groups(self) -> int:
        """Multipliers of one output of an "int4" matrix; the last may have fewer inputs than the others."""
        return -(-self.in_features // self.group_size)

    @property
    def all_blocks(self) -> int:
        """Blocks that the matrix is made of, stored or not; those of outputs that are only padding are not counted."""
        return -(-self.out_features // BLOCK) * (self.in_features // GROUP)

    @property
    def density(self) -> float:
        """Fraction of the weights that is stored: below 1 for "int8-4x4" only."""
        return self.blocks / self.all_blocks if self.kind == "int8-4x4" else 1.0

    @classmethod
    def from_json(cls, value: Any, where: str) -> Linear:
        """Read and check one linear; raises FormatError naming the key."""
        keys = Fields(value, where)
        linear = cls(
            kind=keys.choice("kind", LINEAR_KINDS),
            in_features=keys.integer("in_features", LANES, MAX_WIDTH),
            out_features=keys.integer("out_features", 1, MAX_OUTPUTS),
            input_factor=keys.boolean("input_factor", False),
            blocks=keys.integer("blocks", 0, MAX_BLOCKS, 0),
            group_size=keys.integer("group_size", 0, MAX_WIDTH, 0),
        )
        keys.end()
        if linear.in_features % LANES:
            raise FormatError(f"{where}.in_features must be a multiple of {LANES}, not {linear.in_features}")
        if linear.input_factor and linear.kind == "float32":
            raise FormatError(f"{where}.input_factor is for int8 matrices: a float32 one has nothing to migrate")
        if linear.blocks and linear.kind != "int8-4x4":
            raise FormatError(f"{where}.blocks is for the kind int8-4x4, not for {linear.kind}")
        if linear.blocks > linear.all_blocks:
            raise FormatError(f"{where}.blocks is {linear.blocks}, but the matrix has {linear.all_blocks} of them")
        if (linear.kind == "int4") != (linear.group_size > 0):
            raise FormatError(f"{where}.group_size is {linear.group_size}; int4 matrices have one, and no others")
        if linear.group_size % GROUP:
            raise FormatError(f"{where}.group_size must be a multiple of {GROUP}, not {linear.group_size}")
        return linear


def low_rank_part(name: str, linears: Mapping[str, Linear]) -> tuple[str, str] | None:
    """The linears, down and up, that are the low-rank part of another; None if it has none.

    Whoever asks which role a linear has must ask this, of all linears of a config: the proof of a file and the plan
    that relies on it then cannot answer differently.
    """
    parts = low_rank(name)
    return parts if any(part in linears for part in parts) else None


@record
class Table:
    """One embedding table, `rows` rows of the padded hidden size; all but "float32" have one float32 scale a row.

    A row of "int4" has 4-bit codes, and for each NIBBLE_GROUP columns a small whole number that multiplies them. A row
    of "codebook" has a byte for each `subvector_size` columns, which says what entry of a codebook they are (product
    quantization; Jégou et al., IEEE TPAMI 33(1), 2011). The kinds with "panels" lie as a linear of `rows` outputs
    does, so that the head of a fill-mask model can be the same tensor; only the table of words may.
    """

    kind: TableKind
    rows: int
    subvector_size: int = 0

    @classmethod
    def from_json(cls, value: Any, where: str) -> Table:
        """Read and check one table; raises FormatError naming the key."""
        keys = Fields(value, where)
        table = cls(
            kind=keys.choice("kind", TABLE_KINDS),
            rows=keys.integer("rows", 1, MAX_VOCAB_SIZE),
            subvector_size=keys.integer("subvector_size", 0, max(SUBVECTOR_SIZES), 0),
        )
        keys.end()
        sizes = SUBVECTOR_SIZES if table.kind == "codebook" else (0,)
        if table.subvector_size not in sizes:
            allowed = " or ".join(map(str, sizes))
            raise FormatError(f"{where}.subvector_size is {table.subvector_size}; of {table.kind} it must be {allowed}")
        return table
