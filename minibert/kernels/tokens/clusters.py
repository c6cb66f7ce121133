"""The pass that replaces grapheme clusters, as sentencepiece's charsmaps want it."""

from __future__ import annotations

from minibert.format import token_tables as tt
from minibert.kernels.kernel import int64, kernel
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.buffers import taken_apart, value
from minibert.kernels.tokens.memory import load_int, load_u16, store_int
from minibert.kernels.tokens.trie import key, utf8_length, walk_character

_STAYS = tt.STAYS


@kernel(int64, int64)
def extends(kind):
    """Whether a character of a class extends what stands before it."""
    return kind == tt.EXTEND or kind == tt.JOINER or kind == tt.LINKER or kind == tt.CONJUNCT


@kernel(int64, int64, int64)
def joins(before, kind):
    """Whether two classes side by side are never cut apart, whatever stands before them (GB3 to GB9b)."""
    joined = before == tt.CR and kind == tt.LF
    if before == tt.HANGUL_L:
        joined = kind == tt.HANGUL_L or kind == tt.HANGUL_V or kind == tt.HANGUL_LV or kind == tt.HANGUL_LVT
    if before == tt.HANGUL_V or before == tt.HANGUL_LV:
        joined = kind == tt.HANGUL_V or kind == tt.HANGUL_T
    if before == tt.HANGUL_T or before == tt.HANGUL_LVT:
        joined = kind == tt.HANGUL_T
    if before != tt.CR and before != tt.LF and before != tt.CONTROL:
        joined |= extends(kind) != 0 or kind == tt.SPACING
    if before == tt.PREPENDED:
        joined |= kind != tt.CR and kind != tt.LF and kind != tt.CONTROL
    return joined


@kernel(int64, int64, int64, int64, int64, int64)
def cluster_end(tables, row, source, place, end):
    """Where the grapheme cluster ends that begins at a place (annex 29 of Unicode, GB3 to GB13)."""
    classes, ascii_values = field(row, e.CLASSES), field(row, e.CLASSES_ASCII)
    before = value(tables, classes, ascii_values, load_int(source + 4 * place))
    pictograph, regional = before == tt.PICTOGRAPH, before == tt.REGIONAL
    linked = 0
    if before == tt.CONSONANT:
        linked = 1
    place += 1
    while place < end:
        kind = value(tables, classes, ascii_values, load_int(source + 4 * place))
        # Most characters: nothing joins two of no class.
        if kind == tt.ANY and before != tt.PREPENDED:
            break
        joined = joins(before, kind) != 0
        joined |= linked == 2 and kind == tt.CONSONANT
        joined |= pictograph and before == tt.JOINER and kind == tt.PICTOGRAPH
        joined |= regional and kind == tt.REGIONAL
        if not joined:
            break
        regional = kind == tt.REGIONAL and not regional
        pictograph = kind == tt.PICTOGRAPH or (pictograph and extends(kind) != 0)
        if kind == tt.CONSONANT:
            linked = 1
        elif kind == tt.LINKER and linked > 0:
            linked = 2
        elif kind != tt.CONJUNCT and kind != tt.JOINER:
            linked = 0
        before = kind
        place += 1
    return place


@kernel(int64, int64, int64, int64, int64)
def cluster_value(row, source, place, end):
    """What stands for the shortest beginning of a cluster that is a key, as columns hold it; 0 where none is."""
    trie = row + 8 * e.TRIE
    if field(trie, 0) == 0:
        return _STAYS
    node = 0
    while place < end and node >= 0:
        node = walk_character(trie, node, load_int(source + 4 * place))
        if node >= 0:
            number = key(trie, node)
            if number >= 0:
                return load_u16(field(row, e.VALUES) + 2 * number)
        place += 1
    return _STAYS


@kernel(int64, *[int64] * 7)
def put_counted(tables, replacement, char, old, chars, made, room):
    """What stands for `old` characters behind `made` others, with numbers as `place_parts` wants them; or -1."""
    counts = chars + 4 * room
    new = taken_apart(tables, replacement, char, chars + 4 * made, room - made)
    if new < 0:
        return -1
    for number in range(new):
        store_int(counts + 4 * (made + number), number >= old)
    made += new
    if new < old and made > 0:
        at = counts + 4 * (made - 1)
        store_int(at, load_int(at) - (old - new))
    return made


@kernel(int64, *[int64] * 8)
def put_cluster(row, tables, source, place, stop, chars, made, room):
    """What stands for a cluster, or for each of its characters, behind `made` others; how many there are, or -1."""
    column, ascii_values = field(row, e.COLUMN), field(row, e.COLUMN_ASCII)
    if stop - place > 1:
        size = 0
        for inner in range(place, min(stop, place + 6)):
            size += utf8_length(load_int(source + 4 * inner))
        if size <= tt.CLUSTER_BYTES:
            char = load_int(source + 4 * place)
            replacement = value(tables, column, ascii_values, char)
            if replacement == _STAYS:
                replacement = cluster_value(row, source, place, stop)
            if replacement != _STAYS:
                return put_counted(tables, replacement, char, stop - place, chars, made, room)
    for inner in range(place, stop):
        char = load_int(source + 4 * inner)
        made = put_counted(tables, value(tables, column, ascii_values, char), char, 1, chars, made, room)
        if made < 0:
            return -1
    return made


@kernel(int64, *[int64] * 7)
def clusters(row, tables, source, first, end, chars, capacity):
    """A part with its clusters replaced, with the numbers that `place_parts` wants: how many, or -1."""
    made, place = 0, first
    while place < end:
        stop = cluster_end(tables, row, source, place, end)
        made = put_cluster(row, tables, source, place, stop, chars, made, capacity)
        if made < 0:
            return -1
        place = stop
    return made
