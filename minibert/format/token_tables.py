"""A tokenizer as tables that run where they lie: what the config says of them, and the proof of what they hold.

The tables are a few tries and one table of characters. Whoever follows them (kernels/tokens, reference/tokens) meets no
index that has not been proven here, and every way through a trie ends, for it takes a byte of the text at each step.
docs/FORMAT.md has the layout in prose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from minibert.errors import FormatError
from minibert.forking import unforked
from minibert.format.constants import MAX_TOKEN_TYPES, MAX_VOCAB_SIZE
from minibert.format.parts import TensorSpec
from minibert.format.record import FromJson, key, record
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES
from minibert.format.values import boolean, choice, integer, items, optional, shown, string

if TYPE_CHECKING:
    from numpy.typing import NDArray

TokenModel = Literal["wordpiece", "unigram", "bpe"]
PassKind = Literal[
    "map", "normal-form", "clusters", "replace", "strip", "prepend", "added", "metaspace", "split", "words"
]
Prefixed = Literal["always", "first", "never"]

#: Characters in one page of the table of characters; pages that are alike are stored once.
PAGE = 128
CODE_POINTS = 0x110000
#: Nodes in one block of a trie.
BLOCK_NODES = 64
MAX_NODES = 1 << 26
#: Labels may be read so many at once.
LABELS_AT_ONCE = 16
MAX_PASSES, MAX_COLUMNS = 32, 32
#: Records of the table of characters, and numbers in its sequences: columns hold places of both as uint16.
MAX_RECORDS, MAX_SEQUENCES = 1 << 16, (1 << 16) - 3
#: What a column of replacements holds beside places of sequences, which have 3 added: characters that stay as they are,
#: that go, and that get a space on both sides.
STAYS, GOES, SPACED, FIRST_SEQUENCE = range(4)
#: Added to the last character of a sequence.
LAST = 1 << 24
#: Classes of characters that a split tells apart.
MAX_CLASSES = 16
#: Classes of "words": all others, letters, numbers, white space.
OTHER, LETTER, NUMBER, SPACE = range(4)
#: Bits of a column of "added" and "strip": white space, and what words are made of.
IS_SPACE, IS_WORD = 1, 2
#: Bits of an added token: it eats white space on its left, on its right, and stands for a word alone.
STRIPS_LEFT, STRIPS_RIGHT, SINGLE_WORD = 1, 2, 4
#: Grapheme cluster breaks (Unicode's annex 29), as a column of "clusters" holds them.
(
    ANY,
    CR,
    LF,
    CONTROL,
    EXTEND,
    JOINER,
    REGIONAL,
    PREPENDED,
    SPACING,
    HANGUL_L,
    HANGUL_V,
    HANGUL_T,
    HANGUL_LV,
    HANGUL_LVT,
    PICTOGRAPH,
    CONSONANT,
    LINKER,
    CONJUNCT,
) = range(18)
#: A Hangul syllable is a leading consonant, a vowel and perhaps a trailing consonant, in this order of code points: the
#: first of each, and how many there are; of trailing ones the first stands for none.
HANGUL_FIRST, HANGUL_COUNT = 0xAC00, 11172
LEADS, VOWELS, TRAILS = (0x1100, 19), (0x1161, 21), (0x11A7, 28)
#: Clusters are looked up as a whole up to this many bytes of UTF-8.
CLUSTER_BYTES = 5
#: Characters of a word in which WordPiece looks for pieces.
MAX_WORD = 256
#: Bytes of a key, which bound the way from each place of a text; and of all beginnings of a trie's keys together, as
#: whoever spells them all out has them in memory.
MAX_PIECE_BYTES, MAX_TRIE_BYTES = 4096, MAX_TOKENIZER_BYTES
#: How many times as long a text may become by all passes together: 18 characters for one by a form of Unicode, again
#: 18 by a charsmap, 3 by lower case, and a sign before it are 1,944.
MAX_GROWTH = 2048

#: What characters without a piece cost more than the dearest piece: Unigram's unknown token.
UNKNOWN_PENALTY = 10.0

#: Names of the tensors; each trie has three of its own. They come before tokenizer.json, which needs no padding then.
PREFIX = "text."
CHARACTERS = f"{PREFIX}characters"
#: What it holds, once expanded.
PAGES, RECORDS, COLUMNS, SEQUENCES = (f"{CHARACTERS}.{part}" for part in ("pages", "records", "columns", "text"))
PIECES = f"{PREFIX}pieces"
IDS, SCORES, RANKS, SPLITS = (f"{PIECES}.{part}" for part in ("ids", "scores", "ranks", "splits"))
COMPOSITIONS, CLUSTERS = f"{PREFIX}compositions", f"{PREFIX}clusters"
ADDED = (f"{PREFIX}added", f"{PREFIX}added_normalized")


def _bytes_string(value: Any, where: str) -> str:
    text = string(value, where)
    try:
        short = len(text.encode()) <= 64
    except UnicodeEncodeError:
        short = False
    if not short:
        raise FormatError(f"{where} must be at most 64 bytes of text, not {shown(text)}")
    return text


_ID = integer(0, MAX_VOCAB_SIZE - 1)
_IDS = items(_ID, 0, 16)
_TYPES = items(integer(0, MAX_TOKEN_TYPES - 1), 0, 16)
_COLUMN = integer(-1, MAX_COLUMNS - 1)


@record
class TrieSize(FromJson):
    """How large a trie is: its nodes, the root among them, and its keys."""

    nodes: int = key(integer(1, MAX_NODES))
    keys: int = key(integer(0, MAX_NODES))


@record
class Pass(FromJson):
    """One pass over the characters of a text. Which keys mean something depends on its kind.

    Attributes:
        kind: "map" replaces characters one by one; "normal-form" brings them to a normal form of Unicode (NFD, ...);
            "clusters" replaces grapheme clusters (sentencepiece's Precompiled); "replace" replaces a text, or a
            character that stands `least` times or more; "strip" takes white space from both ends; "prepend" puts a
            text before each part, unless the part begins with `unless`; "added" finds the tokens beside the
            vocabulary; "metaspace" puts a sign for spaces; "split" cuts into words between classes of characters, and
            drops some; "words" cuts as GPT-2 does.
        column: of the table of characters, that the pass reads; -1 for none.
        classes: another column: combining classes of a normal form, breaks of clusters.
        compose: whether a normal form composes again (NFC, NFKC).
        hangul: whether a map or normal form takes Hangul syllables apart, by arithmetic.
        pattern: what is replaced; of "metaspace", the sign.
        content: what stands for it, or before a part.
        unless: see "prepend".
        least: see "replace"; 0 for a text as it is.
        where: before which parts "metaspace" puts its sign.
        cuts: by class, the classes before which a character of it is cut off, as bits ("split"); for "metaspace"
            whether words begin at its signs, as one number.
        drops: classes that are dropped, as bits.
        left, right: ends that are stripped.
        number: of "added", which of the two sets of tokens: 0 is looked for before, 1 after normalization. It has a
            column where tokens ask what stands beside them.
        lowest: a text without a character as high as this one is not changed.
    """

    kind: PassKind = key(choice(get_args(PassKind)))
    column: int = key(_COLUMN, default=-1, written=False)
    classes: int = key(_COLUMN, default=-1, written=False)
    compose: bool = key(boolean, default=False, written=False)
    hangul: bool = key(boolean, default=False, written=False)
    pattern: str = key(_bytes_string, default="", written=False)
    content: str = key(_bytes_string, default="", written=False)
    unless: str = key(_bytes_string, default="", written=False)
    least: int = key(integer(0, 256), default=0, written=False)
    where: Prefixed = key(choice(get_args(Prefixed)), default="always", written=False)
    cuts: tuple[int, ...] = key(items(integer(0, (1 << MAX_CLASSES) - 1), 0, MAX_CLASSES), default=(), written=False)
    drops: int = key(integer(0, (1 << MAX_CLASSES) - 1), default=0, written=False)
    left: bool = key(boolean, default=False, written=False)
    right: bool = key(boolean, default=False, written=False)
    number: int = key(integer(0, 1), default=0, written=False)
    lowest: int = key(integer(0, CODE_POINTS), default=0, written=False)

    def check(self, where: str) -> None:
        """Refuse a pass that lacks what its kind reads."""
        kind = self.kind
        reads_column = kind in ("map", "normal-form", "clusters", "strip", "split", "words")
        if (kind != "added" and reads_column != (self.column >= 0)) or (kind in ("normal-form", "clusters")) != (
            self.classes >= 0
        ):
            raise FormatError(f"{where}: column and classes are not those of a pass {shown(kind)}")
        if kind in ("replace", "metaspace") and not self.pattern:
            raise FormatError(f"{where}.pattern is empty")
        if (self.least or kind == "metaspace") and len(self.pattern) != 1:
            raise FormatError(f"{where}.pattern must be one character, not {shown(self.pattern)}")
        if (kind == "prepend" and not self.content) or len(self.unless) > 1:
            raise FormatError(f"{where}: there is nothing to prepend, or unless is more than a character")
        if kind == "split" and not self.cuts:
            raise FormatError(f"{where}.cuts is empty")


@record
class FrameTokens(FromJson):
    """Special tokens around a text, or around and between a pair, and the token types of all parts.

    Attributes:
        before, between, after: ids of special tokens; `between` is for pairs.
        types: token types of `before`, `between` and `after`, one each.
        text_types: token types of the texts.
    """

    before: tuple[int, ...] = key(_IDS)
    after: tuple[int, ...] = key(_IDS)
    between: tuple[int, ...] = key(_IDS, default=())
    types: tuple[int, ...] = key(_TYPES, default=())
    text_types: tuple[int, ...] = key(items(integer(0, MAX_TOKEN_TYPES - 1), 1, 2), default=(0, 0))

    def check(self, where: str) -> None:
        """Refuse types for other tokens than there are."""
        if len(self.types) != len(self.before) + len(self.between) + len(self.after):
            raise FormatError(f"{where}.types must be one for each special token")


@record
class Tokenization(FromJson):
    """A tokenizer as tables: how large they are, and what happens to a text.

    Attributes:
        model: how words become pieces.
        passes: what happens to the characters before, in order.
        single, pair: special tokens around one text and around two.
        direction: the end at which texts are cut: "right" or "left".
        unknown_id: id of the token for what has no piece; -1 for none.
        prefix: of WordPiece, what pieces within a word begin with.
        max_word: of WordPiece, characters of the longest word that is taken apart.
        whole_words: of BPE, whether a word that is a piece stays whole, whatever the merges say.
        byte_level: of BPE, whether pieces are bytes.
        byte_pieces: whether what has no piece becomes bytes, each of which is a piece.
        fuse_unknown: of BPE, whether unknown characters side by side are one token.
        trim: whether tokens' offsets leave out white space: 0 no, 1 yes, 2 but for a space put before the text.
        exact_scores: of Unigram, whether scores are float64.
        rows, records, columns, sequences: the table of characters: pages, records, columns, numbers in sequences.
        packed: bytes of the table of characters as it is stored.
        pieces, compositions, clusters, added, added_normalized: sizes of tries.
        merges: of BPE, how many there are.
    """

    model: TokenModel = key(choice(get_args(TokenModel)))
    passes: tuple[Pass, ...] = key(items(Pass.from_json, 0, MAX_PASSES))
    single: FrameTokens = key(FrameTokens.from_json)
    pair: FrameTokens = key(FrameTokens.from_json)
    pieces: TrieSize = key(TrieSize.from_json)
    rows: int = key(integer(0, CODE_POINTS // PAGE))
    records: int = key(integer(0, MAX_RECORDS))
    columns: int = key(integer(0, MAX_COLUMNS))
    sequences: int = key(integer(0, MAX_SEQUENCES))
    packed: int = key(integer(0, MAX_NODES))
    direction: str = key(choice(("right", "left")), default="right", written=False)
    unknown_id: int = key(integer(-1, MAX_VOCAB_SIZE - 1), default=-1)
    prefix: str = key(_bytes_string, default="", written=False)
    max_word: int = key(integer(0, MAX_WORD), default=0, written=False)
    whole_words: bool = key(boolean, default=False, written=False)
    byte_level: bool = key(boolean, default=False, written=False)
    byte_pieces: bool = key(boolean, default=False, written=False)
    fuse_unknown: bool = key(boolean, default=False, written=False)
    trim: int = key(integer(0, 2), default=0, written=False)
    exact_scores: bool = key(boolean, default=False, written=False)
    merges: int = key(integer(0, MAX_NODES), default=0, written=False)
    compositions: TrieSize | None = key(optional(TrieSize.from_json), default=None, written=False)
    clusters: TrieSize | None = key(optional(TrieSize.from_json), default=None, written=False)
    added: TrieSize | None = key(optional(TrieSize.from_json), default=None, written=False)
    added_normalized: TrieSize | None = key(optional(TrieSize.from_json), default=None, written=False)

    def check(self, where: str) -> None:
        """Refuse passes and models that read what is not there."""
        for number, each in enumerate(self.passes):
            if max(each.column, each.classes) >= self.columns:
                raise FormatError(f"{where}.passes[{number}] reads a column that is not there")
            tries = {
                "added": (self.added, self.added_normalized)[each.number],
                "normal-form": self.compositions if each.compose else self.pieces,
            }
            if tries.get(each.kind, self.pieces) is None:
                raise FormatError(f"{where}.passes[{number}] reads a trie that is not there")
        sizes = (self.columns, self.rows, self.records, self.packed)
        if not all(sizes) and any((*sizes, self.sequences, self.clusters)):
            raise FormatError(f"{where} has columns of characters, but no characters, or characters, but no columns")
        if self.byte_level and (self.model != "bpe" or self.byte_pieces):
            raise FormatError(f"{where}.byte_level is for bpe, and leaves nothing to byte_pieces")
        if self.byte_pieces and self.model == "wordpiece":
            raise FormatError(f"{where}.byte_pieces is for bpe and unigram")
        if self.unknown_id < 0 and not (self.model == "bpe" and (self.byte_level or self.byte_pieces)):
            raise FormatError(f"{where}.unknown_id is missing: not every text has pieces")


def token_tensors(tables: Tokenization, vocab_size: int) -> dict[str, TensorSpec]:
    """Name, dtype and shape of every tensor of the tables.

    Args:
        tables: what the config says of them.
        vocab_size: of the model: ids of up to 65,536 words take two bytes.
    """
    specs: dict[str, TensorSpec] = {}
    keys = tables.pieces.keys
    if tables.columns:
        specs[CHARACTERS] = TensorSpec("U8", (tables.packed,))
    for name, size in tries(tables).items():
        nodes = trie_room(size.nodes)
        specs[f"{name}.labels"] = TensorSpec("U8", (nodes,))
        specs[f"{name}.first"] = TensorSpec("U16", (nodes,))
        specs[f"{name}.blocks"] = TensorSpec("I32", (nodes // BLOCK_NODES, 4))
    specs[IDS] = TensorSpec("U16" if vocab_size <= 1 << 16 else "I32", (keys,))
    if tables.model == "unigram":
        specs[SCORES] = TensorSpec("I32", (keys, 2)) if tables.exact_scores else TensorSpec("F32", (keys,))
    if tables.model == "bpe":
        specs[RANKS] = TensorSpec("U16" if tables.merges < 1 << 16 else "I32", (keys,))
        specs[SPLITS] = TensorSpec("U8", (keys,))
    if tables.compositions:
        specs[f"{COMPOSITIONS}.values"] = TensorSpec("I32", (tables.compositions.keys,))
    if tables.clusters:
        specs[f"{CLUSTERS}.values"] = TensorSpec("U16", (tables.clusters.keys,))
    for name in ADDED:
        if size := tries(tables).get(name):
            specs[f"{name}.ids"] = TensorSpec("I32", (size.keys,))
            specs[f"{name}.flags"] = TensorSpec("U8", (size.keys,))
    return specs


def trie_room(nodes: int) -> int:
    """Nodes that a trie has room for: labels are read several at once, and the last node has an end."""
    return -(-(nodes + LABELS_AT_ONCE) // BLOCK_NODES) * BLOCK_NODES


def tries(tables: Tokenization) -> dict[str, TrieSize]:
    """The tries of the tables by the names of their tensors."""
    sizes = (tables.pieces, tables.compositions, tables.clusters, tables.added, tables.added_normalized)
    named = zip((PIECES, COMPOSITIONS, CLUSTERS, *ADDED), sizes, strict=True)
    return {name: size for name, size in named if size is not None}


def _character_shapes(tables: Tokenization) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        PAGES: ("<u2", (CODE_POINTS // PAGE,)),
        RECORDS: ("<u2", (tables.rows, PAGE)),
        SEQUENCES: ("<i4", (tables.sequences,)),  # behind an even number of uint16, before what may be an odd one
        COLUMNS: ("<u2", (tables.columns, tables.records)),
    }


#: The parts of the table of characters, in the order in which they are packed.
_PACKED = (PAGES, RECORDS, SEQUENCES, COLUMNS)


def pack_characters(tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """The table of characters as a file holds it: differences of neighbours in one zlib stream, a tenth of its size."""
    import zlib

    parts = [np.diff(tensors[name].reshape(-1), prepend=tensors[name].dtype.type(0)) for name in _PACKED]
    return np.frombuffer(zlib.compress(b"".join([part.tobytes() for part in parts]), 9), np.uint8)


def expanded(tables: Tokenization, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors with the table of characters expanded, in memory of its own.

    Raises:
        FormatError: it is no zlib stream of the size that the config says.
    """
    if not tables.columns:
        return dict(tensors)
    with unforked():
        import zlib

    shapes = _character_shapes(tables)
    size = sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in shapes.values())
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(tensors[CHARACTERS].data, size + 1)
    except zlib.error as error:
        raise FormatError(f"tensor '{CHARACTERS}' is damaged: {error}") from None
    if len(data) != size or not stream.eof or stream.unused_data:
        raise FormatError(f"tensor '{CHARACTERS}' is damaged: it is not one zlib stream of {size} bytes")
    found, place = dict(tensors), 0
    for name, (kind, shape) in shapes.items():
        differences = np.frombuffer(data, kind, math.prod(shape), place)
        found[name] = differences.cumsum(dtype=kind).reshape(shape)
        place += differences.nbytes
    return found


def places(tables: Tokenization) -> list[str]:
    """The tensors that say where others are read: a reader proves copies of these, which no change of the file reaches.

    What is left, labels, ids, scores, ranks and splits of pieces, is compared, added or handed out.
    """
    names = [f"{name}.{part}" for name in tries(tables) for part in ("first", "blocks")]
    names += [f"{name}.values" for name in (COMPOSITIONS, CLUSTERS) if name in tries(tables)]
    return names + [f"{name}.ids" for name in ADDED if name in tries(tables)]


def scores_of(tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Scores of the pieces, float32 or float64."""
    scores = tensors[SCORES]
    return scores.view("<f8")[:, 0] if scores.ndim == 2 else scores


def first_children(blocks: NDArray[np.int32], first: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Where the children of each node of a trie begin; those of one end where those of the next one begin."""
    return (blocks[:, 2:3] + first.reshape(-1, BLOCK_NODES)).reshape(-1)


def key_nodes(blocks: NDArray[np.int32]) -> NDArray[np.intp]:
    """The nodes of a trie at which a key ends, in order."""
    bits = np.ascontiguousarray(blocks[:, :2]).view(np.uint8)
    return np.flatnonzero(np.unpackbits(bits, axis=1, bitorder="little"))
