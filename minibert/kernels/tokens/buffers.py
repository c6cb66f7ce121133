"""Buffers of characters, and what the table of characters says of them.

A buffer of `capacity` characters is their code points, where each came from (start, end) and whether a part begins at
each, one int32 array behind the other; an added token is -1 - id. A pass reads one buffer and fills another; it gives
the number of characters, or -1 where there is no room for them.
"""

from __future__ import annotations

from minibert.format import token_tables as tt
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.memory import load_int, load_u16, store_int

_STAYS, _GOES, _SPACED, _FIRST_SEQUENCE, _LAST = tt.STAYS, tt.GOES, tt.SPACED, tt.FIRST_SEQUENCE, tt.LAST


@kernel(int64, int64, int64, int64, int64)
def value(tables, column, ascii_values, char):
    """What a column of the table of characters says of one."""
    if char < 0x80:
        return load_u16(ascii_values + 2 * char)
    page = load_u16(field(tables, e.PAGES) + 2 * (char >> 7))
    return load_u16(column + 2 * load_u16(field(tables, e.RECORDS) + 2 * (page * 128 + (char & 127))))


@kernel(void, int64, int64, int64, int64, int64, int64, int64)
def put(buffer, capacity, place, char, start, end, begins):
    """Character number `place` of a buffer."""
    at = buffer + 4 * place
    store_int(at, char)
    store_int(at + 4 * capacity, start)
    store_int(at + 8 * capacity, end)
    store_int(at + 12 * capacity, begins)


@kernel(void, int64, int64, int64, int64, int64, int64)
def copy(source, target, capacity, place, to, begins):
    """Character `place` of one buffer becomes character `to` of another."""
    at = source + 4 * place
    put(target, capacity, to, load_int(at), load_int(at + 4 * capacity), load_int(at + 8 * capacity), begins)


@kernel(int64, int64, int64, int64)
def begins_at(buffer, capacity, place):
    """Whether a part begins at a character."""
    return load_int(buffer + 12 * capacity + 4 * place)


@kernel(int64, int64, int64, int64, int64)
def part_end(buffer, capacity, place, count):
    """Where the part ends that begins at a place."""
    place += 1
    while place < count and begins_at(buffer, capacity, place) == 0:
        place += 1
    return place


@kernel(int64, int64, int64, int64, int64, int64)
def taken_apart(tables, replacement, char, out, room):
    """What stands for a character whose column holds `replacement`, as int32 at `out`: how many, or -1."""
    if room < 3:
        return -1
    if replacement == _GOES:
        return 0
    if replacement == _STAYS:
        store_int(out, char)
        return 1
    if replacement == _SPACED:
        store_int(out, 32)
        store_int(out + 4, char)
        store_int(out + 8, 32)
        return 3
    place = field(tables, e.SEQUENCES) + 4 * (replacement - _FIRST_SEQUENCE)
    count = 0
    while count < room:
        part = load_int(place + 4 * count)
        store_int(out + 4 * count, part & ~_LAST)
        count += 1
        if part >= _LAST:
            return count
    return -1


@kernel(int64, *[int64] * 8)
def place_parts(chars, counts, made, source, first, end, target_and_capacity, out):
    """Characters of one part to a buffer, with the numbers that come with each (see the twin's `placed`).

    `target_and_capacity` is the address of both. Gives the number of characters in the buffer, or -1.
    """
    target, capacity = field(target_and_capacity, 0), field(target_and_capacity, 1)
    if out + made > capacity:
        return -1
    following, begins = first, 1
    for number in range(made):
        old = load_int(counts + 4 * number)
        place = following
        if old > 0:
            place = following - 1
        else:
            following = following + 1 - old
        at = source + 4 * min(max(place, first), end - 1)
        start, stop = load_int(at + 4 * capacity), load_int(at + 8 * capacity)
        if place < first:
            stop = start
        put(target, capacity, out + number, load_int(chars + 4 * number), start, stop, begins)
        begins = 0
    return out + made
