"""Pieces of LLVM IR from which intrinsics and microkernels are made. Addresses are int64."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from minibert.format.constants import LANES

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
F32_LANES = ir.VectorType(F32, LANES)
I32_LANES = ir.VectorType(I32, LANES)
I8_LANES = ir.VectorType(I8, LANES)


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """A vector constant with all lanes equal."""
    return ir.Constant(vector, [value] * vector.count)


def pointer(builder: ir.IRBuilder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    """An int64 address as a pointer."""
    return builder.inttoptr(address, pointee.as_pointer())


def load(builder: ir.IRBuilder, address: ir.Value, type_: ir.Type, align: int = 1) -> ir.Value:
    """Load a value from an int64 address."""
    value = builder.load(pointer(builder, address, type_))
    value.align = align
    return value


def store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, align: int = 1) -> None:
    """Store a value at an int64 address."""
    builder.store(value, pointer(builder, address, value.type)).align = align


def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Have the cache line at an int64 address fetched into the second-level cache; any address will do."""
    i8_pointer = I8.as_pointer()
    function = llvm_function(builder, "llvm.prefetch.p0", ir.VoidType(), [i8_pointer, I32, I32, I32])
    flags = [ir.Constant(I32, flag) for flag in (0, 2, 1)]  # to be read; LLVM's locality; data
    builder.call(function, [builder.inttoptr(address, i8_pointer), *flags])


def opaque(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same int64, of whose past the optimizer knows nothing."""
    return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [value], side_effect=False)


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int = LANES) -> ir.Value:
    """A scalar in all lanes."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, constant(ir.VectorType(I32, lanes), 0))


def splat_lane(builder: ir.IRBuilder, vector: ir.Value, lane: int, lanes: int = LANES) -> ir.Value:
    """One lane of a vector in all lanes."""
    undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, undefined, constant(ir.VectorType(I32, lanes), lane))


def part(builder: ir.IRBuilder, value: ir.Value, first: int, count: int) -> ir.Value:
    """Neighbouring lanes of a vector."""
    lanes = ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


def side_by_side(builder: ir.IRBuilder, parts: list[ir.Value]) -> ir.Value:
    """Vectors joined to one."""
    while len(parts) > 1:
        size = 2 * parts[0].type.count
        lanes = ir.Constant(ir.VectorType(I32, size), list(range(size)))
        parts = [builder.shuffle_vector(a, b, lanes) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def select_max(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of two floats lane by lane; b where a is not a number."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def select_min(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The smaller of two floats lane by lane; b where a is not a number."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def llvm_function(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """An LLVM intrinsic or external function, declared once in the module."""
    known = builder.module.globals.get(name)
    return known if known is not None else ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def counted_loop(builder: ir.IRBuilder, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
    """`body(number)` for 0..count, an int64; there may be none."""
    entry, loop = builder.block, builder.append_basic_block("loop")
    done = builder.append_basic_block("done")
    zero = ir.Constant(I64, 0)
    builder.cbranch(builder.icmp_signed(">", count, zero), loop, done)
    builder.position_at_end(loop)
    number = builder.phi(I64)
    number.add_incoming(zero, entry)
    body(number)
    following = builder.add(number, ir.Constant(I64, 1))
    number.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    builder.position_at_end(done)


class CarryingLoop:
    """A loop over 0..count, at least once, that carries registers of several rows; the builder stands in its body.

    Attributes:
        number: of the pass.
        carried: the registers of each row.
    """

    def __init__(self, builder: ir.IRBuilder, count: ir.Value, start: list[list[ir.Value]]) -> None:
        self._builder, self._count = builder, count
        entry = builder.block
        self._block = builder.append_basic_block("loop")
        builder.branch(self._block)
        builder.position_at_end(self._block)
        self.number = builder.phi(I64)
        self.number.add_incoming(ir.Constant(I64, 0), entry)
        self.carried = [[builder.phi(value.type) for value in row] for row in start]
        self._add_incoming(start, entry)

    def _add_incoming(self, rows: list[list[ir.Value]], block: ir.Block) -> None:
        for phis, values in zip(self.carried, rows, strict=True):
            for phi, value in zip(phis, values, strict=True):
                phi.add_incoming(value, block)

    def close(self, after: list[list[ir.Value]]) -> None:
        """End the body, from which the next pass takes `after`."""
        following = self._builder.add(self.number, ir.Constant(I64, 1))
        end, done = self._builder.block, self._builder.append_basic_block("done")
        self.number.add_incoming(following, end)
        self._add_incoming(after, end)
        self._builder.cbranch(self._builder.icmp_signed("<", following, self._count), self._block, done)
        self._builder.position_at_end(done)
