"""Steps of int8 on NEON, in the order in which a core that does not reorder loses next to nothing.

On the Cortex-A53 a product is ready 6 cycles after it is begun, and a load that is ready sooner than what stands
before it waits for it. So the parts of the work are laid out on slots (`_SLOT`): while one row is multiplied, the
other's products are added to the sums. LLVM's scheduler would rather make all products first and run out of registers.
It is held to the order by empty pieces of assembly, through which pass what was made last and what is needed next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from minibert.kernels.emit import I8, I16, I32, I64, llvm_function, load, pointer, splat
from minibert.kernels.emit import part as emit_part
from minibert.kernels.isa.base import GROUP_STEPS, Sums

_I8X8, _I8X16, _I16X4, _I16X8, _I32X4 = (ir.VectorType(*t) for t in ((I8, 8), (I8, 16), (I16, 4), (I16, 8), (I32, 4)))
_REGISTERS = 4  # of 16 bytes in a panel
_HALVES = 2  # of a register, and of a panel

#: When each part of the work of two units begins, in slots of two instructions; the next two units are 6 slots later.
#: A part that needs another stands at least 3 slots, 6 cycles, behind it, and no two parts fall on one slot.
_SLOT = {
    ("multiply", 0): 0,
    ("multiply", 1): 2,
    ("add", 0): 3,
    ("add", 1): 5,
    ("settle", 0): 7,
    ("settle", 1): 10,
}
_SLOTS = len(_SLOT)
#: Loads of weights, of two registers each, for which there are registers at once.
_WEIGHT_LOADS = 2

#: What is loaded into neighbouring registers.
_NEIGHBOURS = ("weight", "element of four", "multiplier", "total")
#: What a register holds: ("sum", row, number), ("products", row, register, half), ("element", row, step) or, of those
#: that are loaded together, ("element of four", row, step), and ("weight", step, register). Of a group, products of
#: neighbouring lanes added, once and twice, are ("pairs", row, register) and ("outputs", row, half of the panel), which
#: ("multiplier", half) multiplies and adds to ("total", row, register). Those with "at" are addresses.
_Key = tuple[str | int, ...]
_Values = list[ir.Value]


@dataclass(frozen=True)
class _Part:
    """Instructions that need not wait for each other: what they read and write, and what emits them."""

    reads: list[_Key]
    writes: list[_Key]
    emit: Callable[[ir.IRBuilder, _Values], _Values]


def multiply_add_four_steps(
    builder: ir.IRBuilder, sums: list[Sums], elements: list[_Values], panels: _Values
) -> list[Sums]:
    """Sums of one or two rows + their elements x the panels of four steps.

    Args:
        builder: where to.
        sums: of each row, two registers for each register of a panel: of its lower and of its upper half.
        elements: the address of each row's element of each step.
        panels: the address of each step's panel.
    """
    held: dict[_Key, ir.Value] = {("sum", r, n): value for r, row in enumerate(sums) for n, value in enumerate(row)}
    held |= {("element at", r, step): address for r, row in enumerate(elements) for step, address in enumerate(row)}
    for step, panel in enumerate(panels):
        held |= {("weights at", step, half): builder.add(panel, ir.Constant(I64, 32 * half)) for half in range(_HALVES)}
    _emit_in_order(builder, held, _in_order(len(sums)))
    return [[held["sum", r, n] for n in range(len(row))] for r, row in enumerate(sums)]


def add_group(builder: ir.IRBuilder, rows: _Values, panel: ir.Value, totals: _Values) -> None:
    """Totals + multipliers x the sums of a group of one or two rows x codes of four bits, which take 16 bits.

    A product is added as it is made. Two registers of weights are multiplied with all rows, then two others. Four lanes
    of sums are those of one output: they are added in pairs, twice, as soon as a half of the last step is done.

    Args:
        builder: where to.
        rows: the address of each row's elements.
        panel: the address of the group: steps of codes, and 16 multipliers of 16 bits.
        totals: the address of each row's 16 int32.
    """
    numbers, last = range(len(rows)), GROUP_STEPS - 1
    held: dict[_Key, ir.Value] = {("total at", r): address for r, address in enumerate(totals)}
    held["multipliers at",] = builder.add(panel, ir.Constant(I64, 64 * GROUP_STEPS))
    parts: list[_Part] = []
    for step in range(GROUP_STEPS):
        for half in range(_HALVES):
            held["weights at", step, half] = builder.add(panel, ir.Constant(I64, 64 * step + 32 * half))
            for r, row in enumerate(rows):
                if half == 0 and step % 4 == 0:
                    held["elements at", r, step] = builder.add(row, ir.Constant(I64, 4 * step))
                    if step == 0:
                        parts.append(_load_elements(r, step))
                if half == r and step % 4 == 3 and step != last:
                    parts.append(_load_elements(r, step + 1))
                for register in (0, 1):
                    parts.append(_multiply_add(step, r, 2 * half + register))
                    if (step, half) == (last, 1):
                        parts.append(_add_lanes(r, register))
                if (step, half) == (last, 1):
                    parts.append(_load_totals(r))
        if step == last:
            parts.insert(-7 * len(rows) // 2, _load_multipliers())
    upper = [_add_lanes(r, register) for r in numbers for register in (2, 3)]
    parts += [_add_pairs_of_lanes(0, 0), *upper, *(_add_pairs_of_lanes(r, 0) for r in numbers[1:])]
    parts += [_add_to_totals(0, 0), _add_pairs_of_lanes(0, 1)]
    for r in numbers[1:]:
        parts += [_add_pairs_of_lanes(r, 1), _add_to_totals(r, 0)]
    parts += [_add_to_totals(r, 1) for r in numbers] + [_store_totals(r) for r in numbers]
    weights = [_load_weights(step, half) for step in range(GROUP_STEPS) for half in range(_HALVES)]
    _load_when_free(parts, weights, _WEIGHT_LOADS)
    _emit_in_order(builder, held, [*weights[:_WEIGHT_LOADS], *parts])


def _emit_in_order(builder: ir.IRBuilder, held: dict[_Key, ir.Value], parts: list[_Part]) -> None:
    """Emit parts, each behind what it reads and behind the one before it."""
    last = [key for key, value in held.items() if value.type == I64]  # all addresses stand before anything else
    for part in parts:
        _pass_through(builder, held, list(dict.fromkeys([*last, *part.reads])))
        held.update(zip(part.writes, part.emit(builder, [held[key] for key in part.reads]), strict=True))
        last = part.writes


def _pass_through(builder: ir.IRBuilder, held: dict[_Key, ir.Value], keys: list[_Key]) -> None:
    """What makes these values stands before this place, what uses them behind it.

    Weights lie in neighbouring registers: one of them alone could not pass without a copy. They are named only, which
    keeps their load before this place; what uses them waits for elements or products. So do elements of four steps.
    """
    named = [key for key in keys if key[0] in _NEIGHBOURS]
    passing = [key for key in keys if key not in named]
    if not passing:
        return
    values = [held[key] for key in [*passing, *named]]
    types = [value.type for value in values]
    results = types[: len(passing)]
    constraints = ["=r" if type_ == I64 else "=w" for type_ in results]
    constraints += [*map(str, range(len(passing))), *["w"] * len(named)]
    result = ir.LiteralStructType(results) if len(results) > 1 else results[0]
    passed = builder.asm(ir.FunctionType(result, types), "", ",".join(constraints), values, side_effect=False)
    for number, key in enumerate(passing):
        held[key] = builder.extract_value(passed, number) if len(passing) > 1 else passed


def _in_order(rows: int) -> list[_Part]:
    """All parts: arithmetic by its slots, and each load as soon as what it replaces has been used."""
    units = [(half, row, register) for half in range(2) for register in range(_REGISTERS) for row in range(rows)]
    slots = {
        _SLOTS * (number // 2) + slot: _ARITHMETIC[kind](*unit)
        for number, unit in enumerate(units)
        for (kind, side), slot in _SLOT.items()
        if number % 2 == side
    }
    parts = [slots[slot] for slot in sorted(slots)]
    elements = [_load_element(row, step) for step in range(4) for row in range(rows)]
    weights = [_load_weights(2 * half + step, of) for half in range(2) for of in range(_HALVES) for step in range(2)]
    _load_when_free(parts, weights, _WEIGHT_LOADS)
    _load_when_free(parts, elements, 2 * rows)
    return [weights[0], *elements[: 2 * rows], weights[1], *parts]


def _load_when_free(parts: list[_Part], loads: list[_Part], at_once: int) -> None:
    """Put loads among parts, each as soon as what it replaces has been used; the first `at_once` replace nothing."""
    for number in range(at_once, len(loads)):
        replaced = set(loads[number - at_once].writes)
        last_use = max(place for place, part in enumerate(parts) if replaced & set(part.reads))
        parts.insert(last_use + 1, loads[number])


def _load_element(row: int, step: int) -> _Part:
    """An element in all lanes of a register."""

    def emit(builder: ir.IRBuilder, addresses: _Values) -> _Values:
        return [builder.bitcast(splat(builder, load(builder, addresses[0], I32), 4), _I8X16)]

    return _Part([("element at", row, step)], [("element", row, step)], emit)


def _load_weights(step: int, half: int) -> _Part:
    """Two neighbouring registers of a panel, by a load that takes a cycle longer than a plain one: it never waits."""

    def emit(builder: ir.IRBuilder, addresses: _Values) -> _Values:
        pair = ir.LiteralStructType([_I8X16, _I8X16])
        load_pair = llvm_function(builder, "llvm.aarch64.neon.ld1x2.v16i8.p0", pair, [I8.as_pointer()])
        loaded = builder.call(load_pair, [pointer(builder, addresses[0], I8)])
        return [builder.extract_value(loaded, number) for number in range(2)]

    return _Part([("weights at", step, half)], [("weight", step, 2 * half + each) for each in range(2)], emit)


def _load_elements(row: int, step: int) -> _Part:
    """The elements of four steps, each in all lanes of a register."""
    writes: list[_Key] = [("element of four", row, step + number) for number in range(4)]
    return _load_neighbours(("elements at", row, step), writes, "ld4r", _I32X4, _I8X16)


def _load_multipliers() -> _Part:
    return _load_neighbours(("multipliers at",), [("multiplier", half) for half in range(_HALVES)], "ld1x2", _I16X8)


def _load_totals(row: int) -> _Part:
    return _load_neighbours(("total at", row), _total_keys(row), "ld1x4", _I32X4)


def _load_neighbours(
    address: _Key, writes: list[_Key], name: str, type_: ir.VectorType, read_as: ir.VectorType | None = None
) -> _Part:
    """Neighbouring registers, by one load."""

    def emit(builder: ir.IRBuilder, addresses: _Values) -> _Values:
        several, element = ir.LiteralStructType([type_] * len(writes)), type_.element
        suffix = f"v{type_.count}i{element.width}"
        function = llvm_function(builder, f"llvm.aarch64.neon.{name}.{suffix}.p0", several, [element.as_pointer()])
        loaded = builder.call(function, [pointer(builder, addresses[0], element)])
        values = [builder.extract_value(loaded, number) for number in range(len(writes))]
        return [builder.bitcast(value, read_as) for value in values] if read_as else values

    return _Part([address], writes, emit)


def _store_totals(row: int) -> _Part:
    def emit(builder: ir.IRBuilder, values: _Values) -> _Values:
        address, *totals = values
        i32_pointer = I32.as_pointer()
        name = "llvm.aarch64.neon.st1x4.v4i32.p0"
        function = llvm_function(builder, name, ir.VoidType(), [*[_I32X4] * _REGISTERS, i32_pointer])
        builder.call(function, [*totals, pointer(builder, address, I32)])
        return []

    return _Part([("total at", row), *_total_keys(row)], [], emit)


def _add_lanes(row: int, register: int) -> _Part:
    """Neighbouring lanes of a register's products, lower and upper half, added."""
    return _Part(_product_keys(row, register), [("pairs", row, register)], _added_neighbours)


def _add_pairs_of_lanes(row: int, half: int) -> _Part:
    """The same again, of two registers: what is left is one lane for each output."""
    reads: list[_Key] = [("pairs", row, 2 * half + each) for each in range(2)]
    return _Part(reads, [("outputs", row, half)], _added_neighbours)


def _added_neighbours(builder: ir.IRBuilder, values: _Values) -> _Values:
    function = llvm_function(builder, "llvm.aarch64.neon.addp.v8i16", _I16X8, [_I16X8, _I16X8])
    return [builder.call(function, values)]


def _add_to_totals(row: int, half: int) -> _Part:
    """Totals of half a panel + the sums of a group x its multipliers."""

    def emit(builder: ir.IRBuilder, values: _Values) -> _Values:
        sums, multipliers, *totals = values
        multiply = llvm_function(builder, "llvm.aarch64.neon.smull.v4i32", _I32X4, [_I16X4, _I16X4])
        added = []
        for first, total in zip((0, 4), totals, strict=True):
            of_four = [emit_part(builder, each, first, 4) for each in (sums, multipliers)]
            added.append(builder.add(total, builder.call(multiply, of_four)))
        return added

    totals = _total_keys(row)[2 * half : 2 * half + 2]
    return _Part([("outputs", row, half), ("multiplier", half), *totals], totals, emit)


def _total_keys(row: int) -> list[_Key]:
    return [("total", row, register) for register in range(_REGISTERS)]


def products(builder: ir.IRBuilder, element: ir.Value, weight: ir.Value) -> list[ir.Value]:
    """Products of int8 as int16: those of the lower halves of two registers, and of the upper ones."""
    multiply = llvm_function(builder, "llvm.aarch64.neon.smull.v8i16", _I16X8, [_I8X8, _I8X8])
    halves = []
    for first in (0, 8):
        lanes = ir.Constant(ir.VectorType(I32, 8), list(range(first, first + 8)))
        halves.append([builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), lanes) for v in (element, weight)])
    return [builder.call(multiply, half) for half in halves]


def add_pairs(builder: ir.IRBuilder, total: ir.Value, addends: ir.Value) -> ir.Value:
    """Four int32 + neighbouring int16, added to each other."""
    pairs = llvm_function(builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", _I32X4, [_I16X8])
    return builder.add(total, builder.call(pairs, [addends]))


def _multiply(half: int, row: int, register: int) -> _Part:
    """Products of the first of two steps."""
    reads: list[_Key] = [("element", row, 2 * half), ("weight", 2 * half, register)]
    return _Part(reads, _product_keys(row, register), lambda builder, values: products(builder, *values))


def _add(half: int, row: int, register: int) -> _Part:
    """Products of the second step, added to those of the first: two of them fit an int16."""

    def emit(builder: ir.IRBuilder, values: _Values) -> _Values:
        second = products(builder, *values[_HALVES:])
        return [builder.add(one, other) for one, other in zip(values[:_HALVES], second, strict=True)]

    held, step = _product_keys(row, register), 2 * half + 1
    return _Part([*held, ("element", row, step), ("weight", step, register)], held, emit)


def _multiply_add(step: int, row: int, register: int) -> _Part:
    """Products of a step, added to those of the steps before."""
    held, earlier = _product_keys(row, register), _product_keys(row, register) if step else []

    def emit(builder: ir.IRBuilder, values: _Values) -> _Values:
        made = products(builder, *values[-2:])
        return [builder.add(old, new) for old, new in zip(values, made, strict=False)] if earlier else made

    return _Part([*earlier, ("element of four", row, step), ("weight", step, register)], held, emit)


def _settle(_half: int, row: int, register: int) -> _Part:
    """Neighbouring products, added to the sums."""

    def emit(builder: ir.IRBuilder, values: _Values) -> _Values:
        return [
            add_pairs(builder, total, pairs) for pairs, total in zip(values[:_HALVES], values[_HALVES:], strict=True)
        ]

    sums: list[_Key] = [("sum", row, _HALVES * register + half) for half in range(_HALVES)]
    return _Part([*_product_keys(row, register), *sums], sums, emit)


def _product_keys(row: int, register: int) -> list[_Key]:
    return [("products", row, register, half) for half in range(_HALVES)]


_ARITHMETIC = {"multiply": _multiply, "add": _add, "settle": _settle}
