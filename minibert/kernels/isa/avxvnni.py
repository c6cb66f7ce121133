"""x86-64 with AVX-VNNI, which desktop CPUs have instead of AVX-512: `vpdpbusd` and `vpdpwssd` on 256 bits.

As on AVX-512 VNNI both are exact, and multiply unsigned with signed bytes.
"""

from __future__ import annotations

from dataclasses import replace

from llvmlite import ir

from minibert.kernels.emit import llvm_function
from minibert.kernels.isa.avx2 import I32X8, Microkernel256
from minibert.kernels.isa.avx2 import ISA as AVX2
from minibert.kernels.isa.base import Sums, Tile


class _Vnni(Microkernel256):
    def __init__(self, instruction: str, *, unsigned_panels: bool = False, registers: int = 2) -> None:
        super().__init__(I32X8, registers)
        # LLVM has one name for what AVX-512 VL and AVX-VNNI encode in two ways.
        self.instruction = f"llvm.x86.avx512.{instruction}.256"
        self.unsigned_panels = unsigned_panels

    def multiply_add(self, builder: ir.IRBuilder, sums: Sums, element: ir.Value, panel: list[ir.Value]) -> Sums:
        multiply_add = llvm_function(builder, self.instruction, I32X8, [I32X8] * 3)
        pairs = [(half, element) if self.unsigned_panels else (element, half) for half in panel]
        return [builder.call(multiply_add, [total, *pair]) for total, pair in zip(sums, pairs, strict=True)]


ISA = replace(
    AVX2,
    features="+avxvnni",
    code_offset=128,
    int8=_Vnni("vpdpbusd"),
    int8_panels=_Vnni("vpdpbusd", unsigned_panels=True),
    int16=_Vnni("vpdpwssd"),
    int8_tile=Tile(mr=6, nr=16),
    widens=False,
    int4=None,
    int8_half=_Vnni("vpdpbusd", unsigned_panels=True, registers=1),
)
