"""x86-64 with AMX: registers of 16 rows of 64 bytes, and one instruction that multiplies two of them.

`tdpbusd` adds the products of 16 rows with a panel's next 16 steps to 16 x 16 sums: what 256 `vpdpbusd` do, in an
eighth of their time. It takes as long for one row. Dense linears and attention use it, everything else is AVX-512's.
Sums are exact here too. A process asks the system once for the registers (minibert.engine.cpu).
"""

from __future__ import annotations

from dataclasses import replace

from llvmlite import ir

from minibert.kernels.emit import I8, llvm_function
from minibert.kernels.isa.avx512vnni import ISA as AVX512
from minibert.kernels.isa.base import TileRegisters

_REGISTERS, _ROWS, _ROW_BYTES = 8, 16, 64
#: What `ldtilecfg` reads: palette 1, and for each register the bytes of a row (16 bits) and the rows (8 bits).
_SHAPES = bytes([1, *[0] * 15, *[_ROW_BYTES, 0] * _REGISTERS, *[0] * 16, *[_ROWS] * _REGISTERS, *[0] * 8])


class _Amx(TileRegisters):
    registers = _REGISTERS

    def open(self, builder: ir.IRBuilder) -> None:
        kind = ir.ArrayType(I8, len(_SHAPES))
        shapes = builder.module.globals.get("amx_shapes")
        if shapes is None:
            shapes = ir.GlobalVariable(builder.module, kind, "amx_shapes")
            shapes.initializer = ir.Constant(kind, bytearray(_SHAPES))
            shapes.linkage, shapes.global_constant = "internal", True
        self._call(builder, "ldtilecfg", builder.bitcast(shapes, I8.as_pointer()))

    def close(self, builder: ir.IRBuilder) -> None:
        self._call(builder, "tilerelease")

    def zero(self, builder: ir.IRBuilder, register: int) -> None:
        self._call(builder, "tilezero", _number(register))

    def load(self, builder: ir.IRBuilder, register: int, address: ir.Value, stride: ir.Value) -> None:
        self._call(builder, "tileloadd64", _number(register), builder.inttoptr(address, I8.as_pointer()), stride)

    def multiply_add(self, builder: ir.IRBuilder, sums: int, rows: int, panel: int, signed: tuple[bool, bool]) -> None:
        signs = "".join("s" if each else "u" for each in signed)
        self._call(builder, f"tdpb{signs}d", *map(_number, (sums, rows, panel)))

    def store(self, builder: ir.IRBuilder, register: int, address: ir.Value, stride: ir.Value) -> None:
        self._call(builder, "tilestored64", _number(register), builder.inttoptr(address, I8.as_pointer()), stride)

    def _call(self, builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> None:
        kinds = [argument.type for argument in arguments]
        builder.call(llvm_function(builder, f"llvm.x86.{name}", ir.VoidType(), kinds), arguments)


def _number(register: int) -> ir.Constant:
    return ir.Constant(I8, register)


ISA = replace(
    AVX512,
    features="+amx-tile,+amx-int8",
    tile_registers=_Amx(),
)
