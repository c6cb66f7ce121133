"""What makes pieces of a word: WordPiece, Unigram (Viterbi), BPE (a heap of merges).

A word is bytes of UTF-8 in memory. Each model leaves its pieces as three int32 arrays, ids, first bytes and ends, and
gives how many there are.
"""

from __future__ import annotations

from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.simd import load_i64, store_i64
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.memory import (
    float64,
    load_byte,
    load_f32_as_f64,
    load_f64,
    load_int,
    load_u16,
    store_f64,
    store_int,
)
from minibert.kernels.tokens.trie import child, key, walk


@kernel(int64, int64, int64, int64)
def number_at(array, wide, place):
    """An entry of an array of int32 (`wide`) or uint16."""
    if wide != 0:
        return load_int(array + 4 * place)
    return load_u16(array + 2 * place)


@kernel(int64, int64, int64)
def id_of(tables, node):
    """The id of the piece that ends at a node, or -1."""
    if node < 0:
        return -1
    number = key(tables + 8 * e.PIECES, node)
    if number < 0:
        return -1
    return number_at(field(tables, e.IDS), field(tables, e.WIDE_IDS), number)


@kernel(void, int64, int64, int64, int64, int64, int64)
def put_piece(pieces, room, number, id, start, end):
    """Piece `number` of a word, in arrays of `room` entries."""
    store_int(pieces + 4 * number, id)
    store_int(pieces + 4 * (room + number), start)
    store_int(pieces + 4 * (2 * room + number), end)


@kernel(int64, int64)
def width_of(lead):
    """Bytes of the character that begins with a byte."""
    return 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)


@kernel(int64, *[int64] * 6)
def wordpiece(tables, word, size, characters, pieces, room):
    """The longest piece at each place, or one unknown token."""
    trie = tables + 8 * e.PIECES
    count, start = 0, 0
    known = characters <= field(tables, e.MAX_WORD)
    children = field(tables, e.ROOT_CHILDREN)
    while known and start < size:
        node = load_int(children + 4 * load_byte(word + start))
        place, best, end = start + 1, -1, start
        while node >= 0:
            if key(trie, node) >= 0:
                best, end = node, place
            if place >= size:
                break
            node = child(trie, node, load_byte(word + place))
            place += 1
        known = best >= 0
        put_piece(pieces, room, count, id_of(tables, best), start, end)
        count, start = count + 1, end
        children = field(tables, e.PREFIX_CHILDREN)
    if not known:
        put_piece(pieces, room, 0, field(tables, e.UNKNOWN_ID), 0, size)
        return 1
    return count


@kernel(int64, int64, int64, int64, int64)
def is_piece(tables, word, start, end):
    """Whether some bytes of a word are a piece."""
    return id_of(tables, walk(tables + 8 * e.PIECES, 0, word + start, word + end)) >= 0


@kernel(void, *[int64] * 5, float64)
def offer_way(work, room, place, start, id, score):
    """A way to a place by a piece from `start` on: kept if it is the first, or better than the one before."""
    totals, starts, ids = work, work + 8 * (room + 1), work + 12 * (room + 1)
    if load_int(starts + 4 * place) < 0 or score > load_f64(totals + 8 * place):
        store_f64(totals + 8 * place, score)
        store_int(starts + 4 * place, start)
        store_int(ids + 4 * place, id)


@kernel(void, *[int64] * 5)
def best_ways(tables, word, size, work, room):
    """At each place of a word the best score of a way there, where its last piece begins (-1: no way), and its id."""
    trie, scores, wide = tables + 8 * e.PIECES, field(tables, e.SCORES), field(tables, e.WIDE_SCORES)
    unknown, unknown_score = field(tables, e.UNKNOWN_ID), load_f64(tables + 8 * e.UNKNOWN_SCORE)
    for place in range(size + 1):
        store_f64(work + 8 * place, 0.0)
        store_int(work + 8 * (room + 1) + 4 * place, -1)
    start = 0
    while start < size:
        total = load_f64(work + 8 * start)
        lead = load_byte(word + start)
        end, alone = min(start + width_of(lead), size), 0
        node, place = load_int(field(tables, e.ROOT_CHILDREN) + 4 * lead), start + 1
        while node >= 0:
            number = key(trie, node)
            if number >= 0:
                score = load_f64(scores + 8 * number) if wide != 0 else load_f32_as_f64(scores + 4 * number)
                id = number_at(field(tables, e.IDS), field(tables, e.WIDE_IDS), number)
                offer_way(work, room, place, start, id, score + total)
                if place == end:
                    alone = 1
            if place >= size:
                break
            node = child(trie, node, load_byte(word + place))
            place += 1
        if alone == 0:
            offer_way(work, room, end, start, unknown, unknown_score + total)
        start = end


@kernel(int64, *[int64] * 6)
def unigram(tables, word, size, work, pieces, room):
    """The pieces whose scores add up to the most. `work` has room for 16 bytes a byte, and one more."""
    unknown, starts, ids = field(tables, e.UNKNOWN_ID), work + 8 * (room + 1), work + 12 * (room + 1)
    best_ways(tables, word, size, work, room)
    # Backwards, unknown ones side by side together; then the right way round.
    count, end = 0, size
    while end > 0:
        start, id = load_int(starts + 4 * end), load_int(ids + 4 * end)
        if start < 0 or start >= end:  # a place inside a character, to which no way leads
            start, id = end - 1, unknown
        if id == unknown and count > 0 and load_int(pieces + 4 * (count - 1)) == unknown:
            store_int(pieces + 4 * (room + count - 1), start)
        else:
            put_piece(pieces, room, count, id, start, end)
            count += 1
        end = start
    for part in range(3):
        low, high = pieces + 4 * part * room, pieces + 4 * (part * room + count - 1)
        while low < high:
            first = load_int(low)
            store_int(low, load_int(high))
            store_int(high, first)
            low, high = low + 4, high - 4
    if field(tables, e.BYTE_PIECES) == 0:
        return count
    return unknown_as_bytes(tables, word, count, work, pieces, room)


@kernel(int64, int64, int64, int64, int64)
def piece(pieces, room, number, part):
    """The id, first byte or end of a piece."""
    return load_int(pieces + 4 * (part * room + number))


@kernel(int64, *[int64] * 6)
def unknown_as_bytes(tables, word, count, work, pieces, room):
    """Pieces with those that are unknown as one a byte, each standing for all of it."""
    unknown, byte_ids = field(tables, e.UNKNOWN_ID), field(tables, e.BYTE_IDS)
    for part in range(3):
        for number in range(count):
            store_int(work + 4 * (part * room + number), piece(pieces, room, number, part))
    made = 0
    for number in range(count):
        id, start, end = piece(work, room, number, 0), piece(work, room, number, 1), piece(work, room, number, 2)
        if id != unknown or is_piece(tables, word, start, end) != 0:
            put_piece(pieces, room, made, id, start, end)
            made += 1
        else:
            for place in range(start, end):
                put_piece(pieces, room, made, load_int(byte_ids + 4 * load_byte(word + place)), start, end)
                made += 1
    return made


@kernel(void, int64, int64, int64, int64)
def heap_push(heap, count, order, parts):
    """Put an entry into a heap of `count` pairs of int64, the least `order` first."""
    place = count
    while place > 0:
        parent = (place - 1) >> 1
        above = load_i64(heap + 16 * parent)
        if above <= order:
            break
        store_i64(heap + 16 * place, above)
        store_i64(heap + 16 * place + 8, load_i64(heap + 16 * parent + 8))
        place = parent
    store_i64(heap + 16 * place, order)
    store_i64(heap + 16 * place + 8, parts)


@kernel(void, int64, int64)
def heap_pop(heap, count):
    """Take the first entry out of a heap of `count` entries."""
    last = count - 1
    order, parts = load_i64(heap + 16 * last), load_i64(heap + 16 * last + 8)
    place = 0
    while 2 * place + 1 < last:
        below = 2 * place + 1
        if below + 1 < last and load_i64(heap + 16 * (below + 1)) < load_i64(heap + 16 * below):
            below += 1
        under = load_i64(heap + 16 * below)
        if order <= under:
            break
        store_i64(heap + 16 * place, under)
        store_i64(heap + 16 * place + 8, load_i64(heap + 16 * below + 8))
        place = below
    store_i64(heap + 16 * place, order)
    store_i64(heap + 16 * place + 8, parts)


@kernel(int64, *[int64] * 7)
def offer_merge(tables, word, symbols, heap, count, start, size):
    """Put the merge of the symbol at `start` with the next one into the heap, if there is one; its new count."""
    middle = load_int(symbols + 16 * start)
    node = load_int(symbols + 16 * start + 8)
    if middle >= size or node < 0:
        return count
    end = load_int(symbols + 16 * middle)
    trie = tables + 8 * e.PIECES
    node = walk(trie, node, word + middle, word + end)
    if node < 0:
        return count
    number = key(trie, node)
    if number < 0 or load_byte(field(tables, e.SPLITS) + number) != middle - start:
        return count
    rank = number_at(field(tables, e.RANKS), field(tables, e.WIDE_RANKS), number)
    heap_push(heap, count, rank << 32 | start, middle << 32 | end)
    return count + 1


@kernel(void, *[int64] * 5)
def first_symbols(tables, word, size, symbols, before):
    """Characters, or bytes, as symbols: at each first byte its end, id and node, int32; `before` says by ends where."""
    trie, children = tables + 8 * e.PIECES, field(tables, e.ROOT_CHILDREN)
    byte_level, byte_pieces = field(tables, e.BYTE_LEVEL), field(tables, e.BYTE_PIECES)
    fuses, unknown_id = field(tables, e.FUSE_UNKNOWN), field(tables, e.UNKNOWN_ID)
    start, unknown = 0, -1  # where the last symbol begins, if it is unknown
    while start < size:
        lead = load_byte(word + start)
        width = 1 if byte_level != 0 else width_of(lead)
        end = min(start + width, size)
        node = walk(trie, load_int(children + 4 * lead), word + start + 1, word + end)
        id = id_of(tables, node)
        if id < 0 and byte_pieces != 0:
            for place in range(start, end):
                put_symbol(
                    symbols,
                    before,
                    place,
                    place + 1,
                    load_int(field(tables, e.BYTE_IDS) + 4 * load_byte(word + place)),
                    -1,
                )
            unknown = -1
        elif id < 0 and unknown >= 0 and fuses != 0:
            put_symbol(symbols, before, unknown, end, unknown_id, -1)
        elif id < 0:
            put_symbol(symbols, before, start, end, unknown_id, -1)
            unknown = start
        else:
            put_symbol(symbols, before, start, end, id, node)
            unknown = -1
        start = end


@kernel(void, *[int64] * 6)
def put_symbol(symbols, before, start, end, id, node):
    """The symbol from a byte on."""
    at = symbols + 16 * start
    store_int(at, end)
    store_int(at + 4, id)
    store_int(at + 8, node)
    store_int(before + 4 * end, start)


@kernel(int64, *[int64] * 6)
def bpe(tables, word, size, work, pieces, room):
    """Merges of the least rank first, of one rank from the left. `work` has room for 72 bytes a byte, and one more."""
    trie = tables + 8 * e.PIECES
    if field(tables, e.WHOLE_WORDS) != 0:
        id = id_of(tables, walk(trie, 0, word, word + size))
        if id >= 0:
            put_piece(pieces, room, 0, id, 0, size)
            return 1
    symbols, before, heap = work, work + 16 * (room + 1), work + 24 * (room + 1)
    first_symbols(tables, word, size, symbols, before)
    count, start = 0, 0
    while start < size:
        count = offer_merge(tables, word, symbols, heap, count, start, size)
        start = load_int(symbols + 16 * start)
    while count > 0:
        start, parts = load_i64(heap) & 0xFFFFFFFF, load_i64(heap + 8)
        middle, end = parts >> 32, parts & 0xFFFFFFFF
        heap_pop(heap, count)
        count -= 1
        # Whoever was merged since has another end, or none.
        if load_int(symbols + 16 * start) != middle or load_int(symbols + 16 * middle) != end:
            continue
        node = walk(trie, load_int(symbols + 16 * start + 8), word + middle, word + end)
        store_int(symbols + 16 * middle, -1)
        put_symbol(symbols, before, start, end, id_of(tables, node), node)
        if start > 0:
            count = offer_merge(tables, word, symbols, heap, count, load_int(before + 4 * start), size)
        count = offer_merge(tables, word, symbols, heap, count, start, size)
    made, start = 0, 0
    while start < size:
        end = load_int(symbols + 16 * start)
        put_piece(pieces, room, made, load_int(symbols + 16 * start + 4), start, end)
        made, start = made + 1, end
    return made
