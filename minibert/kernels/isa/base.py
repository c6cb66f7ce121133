"""What differs between CPU families: the microkernels of matrix products, and the tiles that fit a CPU's registers.

A microkernel multiplies broadcast elements of rows with packed panels (see minibert.kernels.tile). For one step along
the inner dimension a panel is 64 bytes: 16 lanes of one float32, two int16 or four int8, in as many vector registers as
that takes. How they are loaded, multiplied and added up is a `Microkernel`; an `Isa` is LLVM's name of a CPU, its
microkernels and its tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from llvmlite import ir

from minibert.format.constants import LANES
from minibert.kernels.emit import F32, F32_LANES, constant, llvm_function, load, splat, splat_lane
from minibert.kernels.isa.extremes import SELECTED, Extremes
from minibert.kernels.isa.lookup import Lookup, plain_lookup
from minibert.kernels.isa.rounding import RoundingProduct, plain_rounding_product

#: A group of inputs whose products are added up in 16 bits, in steps, and the bytes that it takes in a panel of groups:
#: its steps, then 64 bytes for what its sums are multiplied by.
GROUP_STEPS = 8
GROUP_BYTES = (GROUP_STEPS + 1) * 64

#: Registers that hold the 16 sums of one row and one panel, in an order of the microkernel's own.
Sums: TypeAlias = list[Any]


class Tile(NamedTuple):
    """The largest tile of sums, `mr` rows x `nr` columns, that stays in registers along the whole inner dimension.

    The sums, a step of their panels and one broadcast element must fit together: with AVX-512, 8 x 48 are 24 registers
    of sums, 3 of panels and 1 of an element, of 32. There must be enough sums to hide the latency of a multiply-add.
    """

    mr: int
    nr: int

    @property
    def panels(self) -> int:
        """Its width in panels."""
        return self.nr // LANES


class Microkernel(ABC):
    """Multiply-add of a broadcast row element and a panel, in one CPU's way.

    Attributes:
        by_element: whether a multiply-add takes its row element from any lane of a register, so that elements are best
            loaded four at a time (`four_elements`); else they are broadcast from memory, one at a time (`broadcast`).
        four_steps: whether four steps at a time are best read from memory and added in one go
            (`multiply_add_four_steps`).
        rows_together: rows that are multiplied together: dense tiles have multiples of them.
        rows_at_once: rows whose sums fit the registers where elements come four at a time; divides 4, 0 for any number.
    """

    by_element: bool = False
    four_steps: bool = False
    rows_together: int = 1
    rows_at_once: int = 0

    @abstractmethod
    def zero(self) -> Sums:
        """Empty sums."""

    @abstractmethod
    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> Any:
        """The 4 bytes of a row at `address`, in all lanes."""

    @abstractmethod
    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> Any:
        """The 64 bytes of a panel at `address`."""

    @abstractmethod
    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: Any, panel: Any) -> Sums:
        """Sums + element x panel."""

    def four_elements(self, builder: ir.IRBuilder, address: ir.Value) -> list[Any]:
        """Four neighbouring elements, each as `broadcast` has it: those of four rows, or of four steps of one row."""
        raise NotImplementedError

    def multiply_add_four_steps(
        self, builder: ir.IRBuilder, sums: list[Sums], elements: list[list[ir.Value]], panels: list[ir.Value]
    ) -> list[Sums]:
        """Sums of up to `rows_at_once` rows + their elements x the panels of four steps.

        `elements` are the addresses of each row's element of each step, `panels` those of each step's panel.
        """
        raise NotImplementedError

    @abstractmethod
    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        """The 16 sums as one vector, int32 or float32."""

    def finish_rows(self, builder: ir.IRBuilder, sums: list[Sums]) -> list[ir.Value]:
        """`finish` for all rows of a tile."""
        return [self.finish(builder, of_row) for of_row in sums]


class GroupMicrokernel(ABC):
    """Rows of bytes x codes of four bits, where products are best added up in 16 bits, a group of inputs at a time.

    A product of a byte and a code in -7..7 has a magnitude of at most 255 * 7. So many of them fit an int16 exactly
    that a group's sums are made in as many lanes as int8 products have, and come to int32 once a group, as they are
    multiplied by the group's multipliers.

    Attributes:
        row_offset: what is added to an int8 code of a row, on top of the CPU's own `code_offset`.
        mr: rows of the largest tile, one panel wide.
    """

    row_offset: int
    mr: int

    @abstractmethod
    def multipliers(self, builder: ir.IRBuilder, of_outputs: ir.Value) -> ir.Value:
        """What sums of a group are multiplied with, at most 64 bytes, of uint8 [16]."""

    @abstractmethod
    def add_group(self, builder: ir.IRBuilder, rows: list[ir.Value], panel: ir.Value, totals: list[ir.Value]) -> None:
        """Totals, 16 int32 of each row in memory + the sums of a group, of rows x a panel, x its multipliers."""


class Float32Microkernel(Microkernel):
    """One float32 a lane. Multiplication and addition are rounded separately unless the CPU fuses them natively."""

    def __init__(self, *, fused: bool, by_element: bool = False) -> None:
        self.fused = fused
        self.by_element = by_element

    def zero(self) -> Sums:
        return [constant(F32_LANES, 0.0)]

    def broadcast(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return splat(builder, load(builder, address, F32, 4))

    def four_elements(self, builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        four = load(builder, address, ir.VectorType(F32, 4), 4)
        return [splat_lane(builder, four, lane, F32_LANES.count) for lane in range(4)]

    def load_panel(self, builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        return load(builder, address, F32_LANES, 4)

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: ir.Value) -> Sums:
        if self.fused:
            fma = llvm_function(builder, "llvm.fma.v16f32", F32_LANES, [F32_LANES] * 3)
            return [builder.call(fma, [element, panel, sums[0]])]
        return [builder.fadd(sums[0], builder.fmul(element, panel))]

    def finish(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return sums[0]


class TileRegisters(ABC):
    """Registers that hold a tile each, and a multiplication of two of them.

    A register has 16 rows of 64 bytes: 16 rows of codes, 16 steps of a panel, or the sums of 16 rows and one panel. The
    compiler does not allocate them: whoever uses one gives its number.

    Attributes:
        registers: how many there are.
    """

    registers: int

    @abstractmethod
    def open(self, builder: ir.IRBuilder) -> None:
        """Before this thread's first use of them."""

    @abstractmethod
    def close(self, builder: ir.IRBuilder) -> None:
        """After its last one, until they are opened again."""

    @abstractmethod
    def zero(self, builder: ir.IRBuilder, register: int) -> None:
        """Empty sums."""

    @abstractmethod
    def load(self, builder: ir.IRBuilder, register: int, address: ir.Value, stride: ir.Value) -> None:
        """16 rows of 64 bytes, `stride` bytes apart, from memory."""

    @abstractmethod
    def multiply_add(self, builder: ir.IRBuilder, sums: int, rows: int, panel: int, signed: tuple[bool, bool]) -> None:
        """Sums + rows x panel; whether the bytes of each are signed."""

    @abstractmethod
    def store(self, builder: ir.IRBuilder, register: int, address: ir.Value, stride: ir.Value) -> None:
        """16 rows of 64 bytes, `stride` bytes apart, to memory."""


@dataclass(frozen=True)
class Isa:
    """One instruction set.

    Attributes:
        cpu: LLVM's name of the CPU whose features and schedule the code is generated for.
        features: LLVM feature string on top of the CPU's own.
        code_offset: what is added to an int8 code when it is stored as a byte of a row: 128 where the CPU multiplies
            unsigned with signed bytes, else 0.
        int8: rows of bytes (code + code_offset) x panels of int8: dense linears, and queries x keys.
        int8_dense: the same for dense linears, where they have a faster way.
        widens: whether rows and panels of dense linears are widened to int16 first, which are then multiplied by
        `int16`.
        int4: the same for int4 matrices, where their codes are multiplied faster than the int8 that they stand for.
        int8_panels: rows of int8 x panels of bytes (code + code_offset): block-sparse linears.
        int16: rows and panels of int16: softmax weights x values; None where bytes are better multiplied in planes.
        float32: rows and panels of float32.
        int8_tile: of dense int8 linears.
        float32_tile: of float32 linears.
        attention_mr: rows of attention's tiles, which are one panel wide; divides 16.
        block_tile: of block-sparse linears: outputs of a 4x4 block whose sums are held at once (`mr`, divides 4) x
            tokens.
        int8_half: as int8_panels for the first 8 lanes of a panel only, where that is faster; results of 8 lanes.
        tile_registers: what multiplies whole tiles of int8: dense linears, and attention.
        rounding_product: a * b / 2**15 of 32 int16, rounded; never asked for a = b = -2**15.
        lookup: of a table of 16 bytes, the one for each of 64 bytes below 16.
        extremes: the larger and the smaller of two floats.
        lanes: four-byte lanes of a register.
    """

    cpu: str
    features: str
    code_offset: int
    int8: Microkernel
    int8_panels: Microkernel
    int16: Microkernel | None
    float32: Microkernel
    int8_tile: Tile
    float32_tile: Tile
    attention_mr: int
    block_tile: Tile
    int8_dense: Microkernel | None = None
    int8_half: Microkernel | None = None
    tile_registers: TileRegisters | None = None
    rounding_product: RoundingProduct = plain_rounding_product
    lookup: Lookup = plain_lookup
    extremes: Extremes = SELECTED
    lanes: int = LANES
    widens: bool = False
    int4: GroupMicrokernel | None = None
