"""Loads and bits that only text needs."""

from __future__ import annotations

from llvmlite import ir
from numba import types

from minibert.format.token_tables import LABELS_AT_ONCE
from minibert.kernels.emit import I8, I16, I64, llvm_function, load, splat, store
from minibert.kernels.kernel import int64, intrinsic, void

float64 = types.float64
_F64 = ir.DoubleType()


@intrinsic(int64, int64)
def load_u16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """A uint16."""
    return builder.zext(load(builder, address, I16, 2), I64)


@intrinsic(int64, int64)
def load_byte(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """A uint8."""
    return builder.zext(load(builder, address, I8), I64)


@intrinsic(int64, int64)
def load_int(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """An int32, widened."""
    return builder.sext(load(builder, address, ir.IntType(32), 4), I64)


@intrinsic(void, int64, int64)
def store_int(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """The low 32 bits."""
    store(builder, builder.trunc(value, ir.IntType(32)), address, 4)


@intrinsic(void, int64, int64)
def store_byte(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """The low 8 bits."""
    store(builder, builder.trunc(value, I8), address)


@intrinsic(float64, int64)
def load_f64(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """A float64."""
    return load(builder, address, _F64, 8)


@intrinsic(float64, int64)
def load_f32_as_f64(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """A float32, widened."""
    return builder.fpext(load(builder, address, ir.FloatType(), 4), _F64)


@intrinsic(void, int64, float64)
def store_f64(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Store a float64."""
    store(builder, value, address, 8)


@intrinsic(int64, int64)
def count_bits(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """How many bits are set."""
    return builder.call(llvm_function(builder, "llvm.ctpop.i64", I64, [I64]), [value])


@intrinsic(int64, int64, int64)
def bit(builder: ir.IRBuilder, value: ir.Value, place: ir.Value) -> ir.Value:
    """The bit at a place below 64."""
    return builder.and_(builder.lshr(value, place), ir.Constant(I64, 1))


@intrinsic(int64, int64, int64)
def bits_below(builder: ir.IRBuilder, value: ir.Value, place: ir.Value) -> ir.Value:
    """The bits below a place below 64."""
    mask = builder.sub(builder.shl(ir.Constant(I64, 1), place), ir.Constant(I64, 1))
    return builder.and_(value, mask)


@intrinsic(int64, int64, int64, int64)
def find_label(builder: ir.IRBuilder, labels: ir.Value, count: ir.Value, byte: ir.Value) -> ir.Value:
    """The place of a byte among the first `count` of LABELS_AT_ONCE bytes, or 64 where it isn't among them."""
    lanes = ir.VectorType(I8, LABELS_AT_ONCE)
    same = builder.icmp_unsigned("==", load(builder, labels, lanes), splat(builder, builder.trunc(byte, I8)))
    found = builder.zext(builder.bitcast(same, ir.IntType(LABELS_AT_ONCE)), I64)
    most = ir.Constant(I64, LABELS_AT_ONCE)
    count = builder.select(builder.icmp_signed("<", count, most), count, most)
    mask = builder.sub(builder.shl(ir.Constant(I64, 1), count), ir.Constant(I64, 1))
    i1 = ir.IntType(1)
    function = llvm_function(builder, "llvm.cttz.i64", I64, [I64, i1])
    return builder.call(function, [builder.and_(found, mask), ir.Constant(i1, 0)])
