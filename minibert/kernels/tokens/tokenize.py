"""A request: texts one after the other, each through all passes, then word by word through the model."""

from __future__ import annotations

from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.simd import load_i64, store_i64
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.buffers import copy, part_end, place_parts, put
from minibert.kernels.tokens.characters import map_characters, normal_form
from minibert.kernels.tokens.clusters import clusters
from minibert.kernels.tokens.memory import load_int, store_byte, store_int
from minibert.kernels.tokens.models import bpe, piece, unigram, wordpiece
from minibert.kernels.tokens.parts import added, metaspace, prepend, replace, split, strip, words


@kernel(int64, *[int64] * 4)
def read_text(text, count, buffer, capacity):
    """Code points into a buffer, each from its own place; all their bits, which no character exceeds."""
    bits = 0
    for place in range(count):
        char = load_int(text + 4 * place)
        bits |= char
        put(buffer, capacity, place, char, place, place + 1, place == 0)
    return bits


@kernel(int64, int64, int64)
def bits_of_all(buffer, count):
    """The bits of all characters."""
    bits = 0
    for place in range(count):
        bits |= max(load_int(buffer + 4 * place), 0)
    return bits


@kernel(int64, *[int64] * 6)
def rewrite_parts(row, tables, source, target_and_capacity, count, spare):
    """The pass "normal-form" or "clusters". `spare` has room for four int32 a character, and for 257 more."""
    target, capacity = field(target_and_capacity, 0), field(target_and_capacity, 1)
    out, first = 0, 0
    while first < count:
        end = part_end(source, capacity, first, count)
        if load_int(source + 4 * first) < 0:
            if out >= capacity:
                return -1
            copy(source, target, capacity, first, out, 1)
            out, first = out + 1, end
            continue
        if field(row, e.KIND) == e.NORMAL_FORM:
            made = normal_form(row, tables, source, first, end, spare, capacity)
        else:
            made = clusters(row, tables, source, first, end, spare, capacity)
        if made < 0:
            return -1
        out = place_parts(spare, spare + 4 * capacity, made, source, first, end, target_and_capacity, out)
        if out < 0:
            return -1
        first = end
    return out


@kernel(int64, *[int64] * 6)
def run_pass(row, tables, source, target_and_capacity, count, spare):
    """One pass that fills another buffer: how many characters are there, or -1."""
    kind, target, capacity = field(row, e.KIND), field(target_and_capacity, 0), field(target_and_capacity, 1)
    if kind == e.MAP:
        return map_characters(row, tables, source, target, capacity, count)
    if kind == e.REPLACE:
        return replace(row, source, target, capacity, count)
    if kind == e.PREPEND:
        return prepend(row, source, target, capacity, count)
    if kind == e.METASPACE:
        return metaspace(row, source, target, capacity, count)
    return rewrite_parts(row, tables, source, target_and_capacity, count, spare)


@kernel(int64, *[int64] * 6)
def run_in_place(row, tables, buffer, capacity, count, work):
    """One pass that takes characters away, or cuts: how many are left."""
    kind = field(row, e.KIND)
    if kind == e.ADDED:
        return added(row, tables, buffer, capacity, count, work)
    if kind == e.STRIP:
        return strip(row, tables, buffer, capacity, count)
    if kind == e.SPLIT:
        return split(row, tables, buffer, capacity, count)
    return words(row, tables, buffer, capacity, count)


@kernel(int64, *[int64] * 5)
def spell(buffer, first, end, word, owners):
    """The bytes of a word, and of which of its characters each is; how many."""
    size = 0
    for place in range(first, end):
        char = load_int(buffer + 4 * place)
        before = size
        if char < 0x80:
            store_byte(word + size, char)
            size += 1
        elif char < 0x800:
            store_byte(word + size, 0xC0 | char >> 6)
            store_byte(word + size + 1, 0x80 | (char & 63))
            size += 2
        elif char < 0x10000:
            store_byte(word + size, 0xE0 | char >> 12)
            store_byte(word + size + 1, 0x80 | (char >> 6 & 63))
            store_byte(word + size + 2, 0x80 | (char & 63))
            size += 3
        else:
            store_byte(word + size, 0xF0 | char >> 18)
            store_byte(word + size + 1, 0x80 | (char >> 12 & 63))
            store_byte(word + size + 2, 0x80 | (char >> 6 & 63))
            store_byte(word + size + 3, 0x80 | (char & 63))
            size += 4
        for byte in range(before, size):
            store_int(owners + 4 * byte, place)
    return size


@kernel(void, *[int64] * 6)
def put_token(request, buffer, number, id, first_character, last_character):
    """Token `number` of all that come out, from characters of a buffer; its word's number comes later."""
    store_int(field(request, e.IDS_OUT) + 4 * number, id)
    spans = field(request, e.SPANS_OUT)
    if spans != 0:
        capacity = field(request, e.CAPACITY)
        store_int(spans + 8 * number, load_int(buffer + 4 * (capacity + first_character)))
        store_int(spans + 8 * number + 4, load_int(buffer + 4 * (2 * capacity + last_character)))


@kernel(int64, *[int64] * 5)
def model_pieces(tables, word, size, characters, place):
    """The pieces of a word by the model, at `place`: the address of their arrays and of their room; how many."""
    pieces, room, work = field(place, 0), field(place, 1), field(place, 2)
    model = field(tables, e.MODEL)
    if model == e.WORDPIECE:
        return wordpiece(tables, word, size, characters, pieces, room)
    if model == e.UNIGRAM:
        return unigram(tables, word, size, work, pieces, room)
    return bpe(tables, word, size, work, pieces, room)


@kernel(int64, *[int64] * 5)
def put_words(request, tables, buffer, count, out):
    """The tokens of all words of a text; how many there are then of all texts, or minus one of the statuses."""
    work, capacity = field(request, e.WORK), field(request, e.CAPACITY)
    room = 4 * field(request, e.WORD_CAPACITY)
    word = work + 2 * e.WORK_HEADER + e.WORK_BYTES * capacity
    owners = word + room + 64
    place = work + 64  # of three entries: pieces, their room, and what the model works in
    store_i64(place, owners + 4 * room + 64)
    store_i64(place + 8, room)
    store_i64(place + 16, owners + 16 * room + 128)
    numbers, most = field(request, e.WORDS_OUT), out + field(request, e.MOST)
    first, number = 0, 0
    while first < count and out < most:
        end = part_end(buffer, capacity, first, count)
        before, char = out, load_int(buffer + 4 * first)
        if out >= field(request, e.ROOM):
            return -e.MORE_TOKENS
        if char < 0:
            put_token(request, buffer, out, -1 - char, first, first)
            out += 1
        else:
            if end - first > field(request, e.WORD_CAPACITY):
                return -e.MORE_WORD
            size = spell(buffer, first, end, word, owners)
            made = model_pieces(tables, word, size, end - first, place)
            if out + made > field(request, e.ROOM):
                return -e.MORE_TOKENS
            pieces = field(place, 0)
            for each in range(made):
                start, stop = piece(pieces, room, each, 1), piece(pieces, room, each, 2)
                id = piece(pieces, room, each, 0)
                put_token(request, buffer, out, id, load_int(owners + 4 * start), load_int(owners + 4 * (stop - 1)))
                out += 1
        if numbers != 0:
            for token in range(before, out):
                store_int(numbers + 4 * token, number)
        first, number = end, number + 1
    return out


@kernel(int64, *[int64] * 4)
def put_text(request, tables, number, out):
    """The tokens of a text; how many there are then of all texts, or minus one of the statuses."""
    bounds, capacity, work = field(request, e.BOUNDS) + 8 * number, field(request, e.CAPACITY), field(request, e.WORK)
    text, count = field(request, e.TEXT) + 4 * load_i64(bounds), load_i64(bounds + 8) - load_i64(bounds)
    if count > capacity:
        return -e.MORE_CHARACTERS
    source = work + e.WORK_HEADER
    target = source + e.CHARACTER_BYTES * capacity
    spare = target + e.CHARACTER_BYTES * capacity
    store_i64(work + 8, capacity)
    bits = read_text(text, count, source, capacity)
    row = field(tables, e.PASSES)
    for _ in range(field(tables, e.PASS_COUNT)):
        kind = field(row, e.KIND)
        if kind >= e.ADDED:
            count = run_in_place(row, tables, source, capacity, count, work + 128)
        elif bits >= field(row, e.LOWEST):
            store_i64(work, target)
            made = run_pass(row, tables, source, work, count, spare)
            if made < 0:
                return -e.MORE_CHARACTERS
            count = made
            source, target = target, source
            bits = bits_of_all(source, count)
        row += 8 * e.PASS_FIELDS
    return put_words(request, tables, source, count, out)


@kernel(void, int64)
def tokenize(request):
    """Read texts until all are read, or one needs more room: the entry point of requests."""
    tables, ends = field(request, e.TABLES), field(request, e.ENDS_OUT)
    status = e.DONE
    number = field(request, e.NEXT)
    while number < field(request, e.TEXTS):
        out = put_text(request, tables, number, load_i64(ends + 8 * number))
        if out < 0:
            status = -out
            break
        number += 1
        store_i64(ends + 8 * number, out)
    store_i64(request + 8 * e.NEXT, number)
    store_i64(request + 8 * e.STATUS, status)
