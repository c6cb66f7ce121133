"""A table of 16 bytes, of which each lane takes the one that its own byte says: how codes of four bits are read.

x86 and ARM have an instruction for it, of as many bytes as a register has; plain LLVM has none.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from minibert.kernels.emit import I8, I32, llvm_function, part, side_by_side

#: Of a builder, a table of 16 bytes and places below 16: what the table has there. Places may be of any number.
Lookup = Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]

_TABLE = 16


def lookup_by(name: str, lanes: int) -> Lookup:
    """By LLVM's intrinsic `name`, which looks up `lanes` bytes, each in the part of 16 bytes where it is itself."""

    def emit(builder: ir.IRBuilder, table: ir.Value, places: ir.Value) -> ir.Value:
        vector = ir.VectorType(I8, lanes)
        function = llvm_function(builder, name, vector, [vector, vector])
        repeated = side_by_side(builder, [table] * (lanes // _TABLE))
        parts = [part(builder, places, first, lanes) for first in range(0, places.type.count, lanes)]
        return side_by_side(builder, [builder.call(function, [repeated, each]) for each in parts])

    return emit


def plain_lookup(builder: ir.IRBuilder, table: ir.Value, places: ir.Value) -> ir.Value:
    """Lane by lane."""
    found = ir.Constant(places.type, ir.Undefined)
    for lane in range(places.type.count):
        number = ir.Constant(I32, lane)
        place = builder.zext(builder.extract_element(places, number), I32)
        found = builder.insert_element(found, builder.extract_element(table, place), number)
    return found
