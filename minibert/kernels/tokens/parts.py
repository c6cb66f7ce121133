"""Passes that cut a text into parts, put signs before them, and find the tokens beside the vocabulary.

Buffers are those of `minibert.kernels.tokens.buffers`. What takes characters away works where they lie.
"""

from __future__ import annotations

from minibert.format import token_tables as tt
from minibert.kernels.kernel import int64, kernel
from minibert.kernels.simd import load_i64, store_i64
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.buffers import begins_at, copy, part_end, put, value
from minibert.kernels.tokens.memory import bit, load_byte, load_int, store_int
from minibert.kernels.tokens.trie import key, lead_byte, walk_character

_SPACE, _APOSTROPHE = 0x20, 0x27


@kernel(int64, int64, int64, int64, int64)
def pattern_length(row, source, place, end):
    """Characters from a place on that are replaced together; 0 where it isn't what a pass replaces."""
    pattern, length, least = field(row, e.PATTERN), field(row, e.PATTERN_LENGTH), field(row, e.LEAST)
    if least > 0:
        sign, same = load_int(pattern), 0
        while place + same < end and load_int(source + 4 * (place + same)) == sign:
            same += 1
        if same < least:
            return 0
        return same
    if place + length > end:
        return 0
    for number in range(length):
        if load_int(source + 4 * (place + number)) != load_int(pattern + 4 * number):
            return 0
    return length


@kernel(int64, *[int64] * 5)
def replace(row, source, target, capacity, count):
    """The pass "replace"."""
    content, content_length = field(row, e.CONTENT), field(row, e.CONTENT_LENGTH)
    out, first = 0, 0
    while first < count:
        end = part_end(source, capacity, first, count)
        begins, place = 1, first
        while place < end:
            length = 0
            if load_int(source + 4 * place) >= 0:
                length = pattern_length(row, source, place, end)
            if out + max(content_length, 1) > capacity:
                return -1
            if length == 0:
                copy(source, target, capacity, place, out, begins)
                out, begins, place = out + 1, 0, place + 1
                continue
            place += length
            at = source + 4 * (place - 1)
            for number in range(content_length):
                char = load_int(content + 4 * number)
                put(target, capacity, out, char, load_int(at + 4 * capacity), load_int(at + 8 * capacity), begins)
                out, begins = out + 1, 0
        first = end
    return out


@kernel(int64, *[int64] * 5)
def prepend(row, source, target, capacity, count):
    """The pass "prepend"."""
    content, length, unless = field(row, e.CONTENT), field(row, e.CONTENT_LENGTH), field(row, e.UNLESS)
    out = 0
    for place in range(count):
        begins, char = begins_at(source, capacity, place), load_int(source + 4 * place)
        if out + length + 1 > capacity:
            return -1
        if begins != 0 and char >= 0 and char != unless:
            at = source + 4 * place
            for number in range(length):
                sign = load_int(content + 4 * number)
                put(target, capacity, out, sign, load_int(at + 4 * capacity), load_int(at + 8 * capacity), begins)
                out, begins = out + 1, 0
        copy(source, target, capacity, place, out, begins)
        out += 1
    return out


@kernel(int64, *[int64] * 5)
def metaspace(row, source, target, capacity, count):
    """The pass "metaspace"."""
    sign, where, splits = load_int(field(row, e.PATTERN)), field(row, e.WHERE), field(row, e.LEFT)
    out = 0
    for place in range(count):
        at = source + 4 * place
        char, start, end = load_int(at), load_int(at + 4 * capacity), load_int(at + 8 * capacity)
        begins = begins_at(source, capacity, place)
        if char == _SPACE:
            char = sign
        if out + 2 > capacity:
            return -1
        wanted = where == e.ALWAYS or (where == e.FIRST_PART and start == 0)
        if begins != 0 and wanted and char >= 0 and char != sign:
            put(target, capacity, out, sign, start, end, 1)
            out, begins = out + 1, 0
        if splits != 0 and char == sign:
            begins = 1
        put(target, capacity, out, char, start, end, begins)
        out += 1
    return out


@kernel(int64, int64, int64, int64)
def beside(tables, row, char):
    """What added tokens ask of a character beside them, as bits."""
    if field(row, e.COLUMN) == 0:
        return 0
    return value(tables, field(row, e.COLUMN), field(row, e.COLUMN_ASCII), char)


@kernel(int64, *[int64] * 5)
def longest(row, buffer, place, end, found):
    """The end of the longest added token that begins at a place, or -1; its number at the address `found`."""
    trie, node, after = row + 8 * e.TRIE, 0, -1
    while place < end and node >= 0:
        node = walk_character(trie, node, load_int(buffer + 4 * place))
        place += 1
        if node >= 0:
            number = key(trie, node)
            if number >= 0:
                after = place
                store_i64(found, number)
    return after


@kernel(int64, *[int64] * 6)
def stands_alone(row, tables, buffer, before, following, end):
    """Whether no neighbour of an added token belongs to a word: `before` says what the one before it is."""
    if before & tt.IS_WORD != 0:
        return 0
    if following < end and beside(tables, row, load_int(buffer + 4 * following)) & tt.IS_WORD != 0:
        return 0
    return 1


@kernel(int64, *[int64] * 6)
def copy_part(buffer, capacity, first, end, out, begins):
    """Characters of a buffer, moved down to `out`, as one part; where the next one goes."""
    for place in range(first, end):
        copy(buffer, buffer, capacity, place, out, begins)
        out, begins = out + 1, 0
    return out


@kernel(int64, *[int64] * 8)
def added_in_part(row, tables, buffer, capacity, first, end, out, work):
    """Added tokens in one part, in place; where the next part goes. `work` has room for an entry."""
    starts = field(row, e.STARTS)
    done, place = first, first
    behind = 0  # what the character before `done` is
    while place < end:
        after = -1
        if load_byte(starts + lead_byte(load_int(buffer + 4 * place))) != 0:
            after = longest(row, buffer, place, end, work)
        if after < 0:
            place += 1
            continue
        number, start, following = load_i64(work), place, after
        place = after
        rules = load_byte(field(row, e.FLAGS) + number)
        # The last character of the token before may have been written over by now.
        before = behind
        if start > done:
            before = beside(tables, row, load_int(buffer + 4 * (start - 1)))
        if rules & tt.SINGLE_WORD != 0 and stands_alone(row, tables, buffer, before, following, end) == 0:
            continue
        if rules & tt.STRIPS_LEFT != 0:
            while start > done and beside(tables, row, load_int(buffer + 4 * (start - 1))) & tt.IS_SPACE != 0:
                start -= 1
        if rules & tt.STRIPS_RIGHT != 0:
            while following < end and beside(tables, row, load_int(buffer + 4 * following)) & tt.IS_SPACE != 0:
                following += 1
        first_start = load_int(buffer + 4 * (start + capacity))
        last_end = load_int(buffer + 4 * (following - 1 + 2 * capacity))
        behind = beside(tables, row, load_int(buffer + 4 * (following - 1)))
        out = copy_part(buffer, capacity, done, start, out, 1)
        put(buffer, capacity, out, -1 - load_int(field(row, e.VALUES) + 4 * number), first_start, last_end, 1)
        out, done = out + 1, following
    if out == done and done == first:  # nothing was moved before, and nothing found here: all of it stays in its place
        return end
    return copy_part(buffer, capacity, done, end, out, 1)


@kernel(int64, *[int64] * 6)
def added(row, tables, buffer, capacity, count, work):
    """The pass "added", in place."""
    out, first = 0, 0
    while first < count:
        end = part_end(buffer, capacity, first, count)
        if load_int(buffer + 4 * first) < 0:
            out = copy_part(buffer, capacity, first, end, out, 1)
        else:
            out = added_in_part(row, tables, buffer, capacity, first, end, out, work)
        first = end
    return out


@kernel(int64, *[int64] * 5)
def strip(row, tables, buffer, capacity, count):
    """The pass "strip", in place."""
    column, ascii_values = field(row, e.COLUMN), field(row, e.COLUMN_ASCII)
    out, first = 0, 0
    while first < count:
        end = part_end(buffer, capacity, first, count)
        start, stop = first, end
        if load_int(buffer + 4 * first) >= 0:
            if field(row, e.LEFT) != 0:
                while start < stop and value(tables, column, ascii_values, load_int(buffer + 4 * start)) & 1 != 0:
                    start += 1
            if field(row, e.RIGHT) != 0:
                while start < stop and value(tables, column, ascii_values, load_int(buffer + 4 * (stop - 1))) & 1 != 0:
                    stop -= 1
        out = copy_part(buffer, capacity, start, stop, out, 1)
        first = end
    return out


@kernel(int64, *[int64] * 5)
def split(row, tables, buffer, capacity, count):
    """The pass "split", in place."""
    column, ascii_values = field(row, e.COLUMN), field(row, e.COLUMN_ASCII)
    cuts, drops = field(row, e.CUTS), field(row, e.DROPS)
    out, cut, after = 0, 0, 0  # `after`: the classes before which the last character is cut off
    for place in range(count):
        char = load_int(buffer + 4 * place)
        if begins_at(buffer, capacity, place) != 0:
            cut, after = 1, 0
        if char < 0:
            copy(buffer, buffer, capacity, place, out, 1)
            out += 1
            continue
        kind = value(tables, column, ascii_values, char)
        cut |= bit(after, kind)
        after = load_i64(cuts + 8 * kind)
        if bit(drops, kind) != 0:
            cut = 1
            continue
        copy(buffer, buffer, capacity, place, out, cut)
        out, cut = out + 1, 0
    return out


@kernel(int64, int64, int64, int64)
def contraction(buffer, place, end):
    """Characters of 's, 't, 'm, 'd, 're, 've or 'll from an apostrophe on; 0 where it is none of them."""
    if place + 1 >= end:
        return 0
    first = load_int(buffer + 4 * (place + 1))
    if first == 0x73 or first == 0x74 or first == 0x6D or first == 0x64:
        return 2
    if place + 2 >= end:
        return 0
    second = load_int(buffer + 4 * (place + 2))
    if (first == 0x72 or first == 0x76) and second == 0x65:
        return 3
    if first == 0x6C and second == 0x6C:
        return 3
    return 0


@kernel(int64, *[int64] * 5)
def words(row, tables, buffer, capacity, count):
    """The pass "words", in place: `minibert.reference.tokens.parts.word_end` says where words end."""
    column, ascii_values = field(row, e.COLUMN), field(row, e.COLUMN_ASCII)
    first = 0
    while first < count:
        end = part_end(buffer, capacity, first, count)
        place = first
        while place < end and load_int(buffer + 4 * first) >= 0:
            store_int(buffer + 12 * capacity + 4 * place, 1)
            char = load_int(buffer + 4 * place)
            if char == _APOSTROPHE:
                length = contraction(buffer, place, end)
                if length > 0:
                    place += length
                    continue
            kind, stop = value(tables, column, ascii_values, char), place + 1
            if char == _SPACE and stop < end:
                following = value(tables, column, ascii_values, load_int(buffer + 4 * stop))
                if following != tt.SPACE:
                    kind, stop = following, stop + 1
            while stop < end and value(tables, column, ascii_values, load_int(buffer + 4 * stop)) == kind:
                stop += 1
            if kind == tt.SPACE and stop < end and stop - place > 1:
                stop -= 1
            place = stop
        first = end
    return count
