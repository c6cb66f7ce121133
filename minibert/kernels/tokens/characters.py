"""Passes that replace characters one by one, and by normal forms of Unicode."""

from __future__ import annotations

from minibert.format import token_tables as tt
from minibert.format.token_tables import HANGUL_COUNT, HANGUL_FIRST, LEADS, TRAILS, VOWELS
from minibert.kernels.kernel import int64, kernel, void
from minibert.kernels.step import field
from minibert.kernels.tokens import entries as e
from minibert.kernels.tokens.buffers import begins_at, copy, put, taken_apart, value
from minibert.kernels.tokens.memory import load_int, store_int
from minibert.kernels.tokens.trie import key, walk_character

_LEAD, _LEADS = LEADS
_VOWEL, _VOWELS = VOWELS
_TRAIL, _TRAILS = TRAILS
_STAYS = tt.STAYS


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


@kernel(int64, *[int64] * 7)
def normal_form(row, tables, source, first, end, chars, capacity):
    """A part in a normal form, with the numbers that `place_parts` wants: how many, or -1."""
    made = decompose(tables, row, source, first, end, chars, capacity)
    if made > 0 and field(row, e.COMPOSE) != 0:
        return compose(tables, row, chars, chars + 4 * capacity, made)
    return made
