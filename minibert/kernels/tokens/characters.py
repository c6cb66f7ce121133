"""Passes that replace characters: one by one, by normal forms of Unicode, and by grapheme clusters.

A buffer of `capacity` characters is their code points, where each came from (start, end) and whether a part begins at
each, one int32 array behind the other; an added token is -1 - id. A pass reads one buffer and fills another; it gives
the number of characters, or -1 where there is no room for them.
"""

from __future__ import annotations

from minibert.format import token_tables as tt
from minibert.format.token_tables import HANGUL_COUNT, HANGUL_FIRST, LEADS, TRAILS, VOWELS
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.memory import load_int, load_u16, store_int
from minibert.kernels.tokens.trie import key, utf8_length, walk_character

_LEAD, _LEADS = LEADS
_VOWEL, _VOWELS = VOWELS
_TRAIL, _TRAILS = TRAILS
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


@kernel(int64, int64, int64)
def hangul_parts(char, out):
    """The two or three parts of a Hangul syllable, as int32 at `out`."""
    rest = char - HANGUL_FIRST
    store_int(out, _LEAD + rest // (_VOWELS * _TRAILS))
    store_int(out + 4, _VOWEL + rest % (_VOWELS * _TRAILS) // _TRAILS)
    trail = rest % _TRAILS
    if trail == 0:
        return 2
    store_int(out + 8, _TRAIL + trail)
    return 3


@kernel(int64, *[int64] * 6)
def map_characters(row, tables, source, target, capacity, count):
    """The pass "map"."""
    column, ascii_values, hangul = field(row, e.COLUMN), field(row, e.COLUMN_ASCII), field(row, e.HANGUL)
    out, begins = 0, 0
    for place in range(count):
        char = load_int(source + 4 * place)
        begins |= begins_at(source, capacity, place)
        if out >= capacity:
            return -1
        if char < 0:
            copy(source, target, capacity, place, out, begins)
            out, begins = out + 1, 0
            continue
        start, end = load_int(source + 4 * (place + capacity)), load_int(source + 4 * (place + 2 * capacity))
        replacement = value(tables, column, ascii_values, char)
        if hangul != 0 and char >= HANGUL_FIRST and char < HANGUL_FIRST + HANGUL_COUNT:
            if out + 3 > capacity:
                return -1
            made = hangul_parts(char, target + 4 * out)
        elif replacement == _STAYS:
            put(target, capacity, out, char, start, end, begins)
            out, begins = out + 1, 0
            continue
        else:
            made = taken_apart(tables, replacement, char, target + 4 * out, capacity - out)
            if made < 0:
                return -1
        for number in range(made):
            put(target, capacity, out + number, load_int(target + 4 * (out + number)), start, end, begins)
            begins = 0
        out += made
    return out


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


@kernel(void, *[int64] * 6)
def sort_marks(tables, row, chars, counts, first, end):
    """Marks from `first` to `end` by their combining classes, those of one class in their order."""
    classes, ascii_values = field(row, e.CLASSES), field(row, e.CLASSES_ASCII)
    for place in range(first + 1, end):
        char, old = load_int(chars + 4 * place), load_int(counts + 4 * place)
        mine = value(tables, classes, ascii_values, char)
        to = place
        while to > first and value(tables, classes, ascii_values, load_int(chars + 4 * (to - 1))) > mine:
            store_int(chars + 4 * to, load_int(chars + 4 * (to - 1)))
            store_int(counts + 4 * to, load_int(counts + 4 * (to - 1)))
            to -= 1
        store_int(chars + 4 * to, char)
        store_int(counts + 4 * to, old)


@kernel(void, *[int64] * 8)
def sort_many_marks(tables, row, chars, counts, first, end, spare, numbers):
    """The same in linear time: counted by class in `numbers`, int32 [257], and copied by way of `spare`."""
    classes, ascii_values = field(row, e.CLASSES), field(row, e.CLASSES_ASCII)
    for number in range(257):
        store_int(numbers + 4 * number, 0)
    for place in range(first, end):
        at = numbers + 4 * (value(tables, classes, ascii_values, load_int(chars + 4 * place)) + 1)
        store_int(at, load_int(at) + 1)
    for number in range(256):
        at = numbers + 4 * number
        store_int(at + 4, load_int(at) + load_int(at + 4))
    for place in range(first, end):
        char = load_int(chars + 4 * place)
        at = numbers + 4 * value(tables, classes, ascii_values, char)
        to = load_int(at)
        store_int(at, to + 1)
        store_int(spare + 8 * to, char)
        store_int(spare + 8 * to + 4, load_int(counts + 4 * place))
    for place in range(first, end):
        store_int(chars + 4 * place, load_int(spare + 8 * (place - first)))
        store_int(counts + 4 * place, load_int(spare + 8 * (place - first) + 4))


@kernel(int64, int64, int64, int64)
def composition(row, first, second):
    """What two characters compose to, or -1."""
    lead, vowel, trail = first - _LEAD, second - _VOWEL, second - _TRAIL
    if lead >= 0 and lead < _LEADS and vowel >= 0 and vowel < _VOWELS:
        return HANGUL_FIRST + (lead * _VOWELS + vowel) * _TRAILS
    syllable = first - HANGUL_FIRST
    if syllable >= 0 and syllable < HANGUL_COUNT and trail > 0 and trail < _TRAILS and syllable % _TRAILS == 0:
        return first + trail
    trie = row + 8 * e.TRIE
    node = walk_character(trie, 0, first)
    if node >= 0:
        node = walk_character(trie, node, second)
    if node < 0:
        return -1
    number = key(trie, node)
    if number < 0:
        return -1
    return load_int(field(row, e.VALUES) + 4 * number)


@kernel(int64, *[int64] * 5)
def compose(tables, row, chars, counts, made):
    """Compose where that can be, in place; how many characters are left."""
    classes, ascii_values = field(row, e.CLASSES), field(row, e.CLASSES_ASCII)
    out, base, last = 0, -1, 0
    for place in range(made):
        char, old = load_int(chars + 4 * place), load_int(counts + 4 * place)
        kind = value(tables, classes, ascii_values, char)
        if base >= 0 and (last == 0 or (last < kind and kind > 0)):
            whole = composition(row, load_int(chars + 4 * base), char)
            if whole >= 0:
                store_int(chars + 4 * base, whole)
                store_int(counts + 4 * base, load_int(counts + 4 * base) + old - 1)
                continue
        if kind == 0:
            base, last = out, 0
        elif base >= 0:
            last = kind
        store_int(chars + 4 * out, char)
        store_int(counts + 4 * out, old)
        out += 1
    return out


@kernel(void, *[int64] * 6)
def sort_run(tables, row, chars, capacity, first, end):
    """Marks side by side by their combining classes; `chars` begins the memory of `normal_form`."""
    counts = chars + 4 * capacity
    if end - first > 32:
        sort_many_marks(tables, row, chars, counts, first, end, chars + 8 * capacity, chars + 16 * capacity)
    elif end - first > 1:
        sort_marks(tables, row, chars, counts, first, end)


@kernel(int64, *[int64] * 7)
def decompose(tables, row, source, first, end, chars, capacity):
    """A part taken apart, its marks in their order, with the numbers that `place_parts` wants: how many, or -1."""
    column, column_ascii = field(row, e.COLUMN), field(row, e.COLUMN_ASCII)
    classes, classes_ascii = field(row, e.CLASSES), field(row, e.CLASSES_ASCII)
    counts, hangul = chars + 4 * capacity, field(row, e.HANGUL)
    made, run = 0, 0  # no starter since `run`
    for place in range(first, end):
        char = load_int(source + 4 * place)
        if made + 3 > capacity:
            return -1
        if hangul != 0 and char >= HANGUL_FIRST and char < HANGUL_FIRST + HANGUL_COUNT:
            parts = hangul_parts(char, chars + 4 * made)
        else:
            replacement = value(tables, column, column_ascii, char)
            parts = taken_apart(tables, replacement, char, chars + 4 * made, capacity - made)
            if parts < 0:
                return -1
        for number in range(made, made + parts):
            store_int(counts + 4 * number, number > made)
            if value(tables, classes, classes_ascii, load_int(chars + 4 * number)) == 0:
                sort_run(tables, row, chars, capacity, run, number)
                run = number + 1
        made += parts
    sort_run(tables, row, chars, capacity, run, made)
    return made


@kernel(int64, *[int64] * 6)
def normal_form(row, tables, source, target_and_capacity, count, spare):
    """The pass "normal-form". `spare` has room for four int32 a character, and for 257 more."""
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
        made = decompose(tables, row, source, first, end, spare, capacity)
        if made < 0:
            return -1
        if field(row, e.COMPOSE) != 0:
            made = compose(tables, row, spare, spare + 4 * capacity, made)
        out = place_parts(spare, spare + 4 * capacity, made, source, first, end, target_and_capacity, out)
        if out < 0:
            return -1
        first = end
    return out


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


@kernel(int64, *[int64] * 6)
def clusters(row, tables, source, target_and_capacity, count, spare):
    """The pass "clusters". `spare` has room for two int32 a character."""
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
        made, place = 0, first
        while place < end:
            stop = cluster_end(tables, row, source, place, end)
            made = put_cluster(row, tables, source, place, stop, spare, made, capacity)
            if made < 0:
                return -1
            place = stop
        out = place_parts(spare, spare + 4 * capacity, made, source, first, end, target_and_capacity, out)
        if out < 0:
            return -1
        first = end
    return out
