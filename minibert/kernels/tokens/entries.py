"""The integer tables that a tokenizer is lowered to, and the request that says which texts to read.

Every entry is an int64; tensors and arrays are addresses (0: absent). `minibert.text.lowering` writes them,
`minibert.kernels.tokens.tokenize` reads them; this module is all that they share, and it imports next to nothing.
"""

from __future__ import annotations

#: What a request asks for: the tables; code points, uint32; where each text begins among them, int64 [texts + 1]; how
#: many texts; the first that is still to be read; tokens after which a text is given up, one more than are wanted.
#: Then memory to work in, with room for so many characters of a text and of a word.
(
    TABLES,
    TEXT,
    BOUNDS,
    TEXTS,
    NEXT,
    MOST,
    WORK,
    CAPACITY,
    WORD_CAPACITY,
    # What comes out: ids int32; spans, int32 pairs, and numbers of words, int32, or 0; room for so many tokens; where
    # the tokens of each text end, int64 [texts + 1], the first of which is 0; why it stopped.
    IDS_OUT,
    SPANS_OUT,
    WORDS_OUT,
    ROOM,
    ENDS_OUT,
    STATUS,
) = range(15)
REQUEST_FIELDS = 16
#: Why a request stopped at text NEXT: all are read; its characters, a word of it, or its tokens need more room.
DONE, MORE_CHARACTERS, MORE_WORD, MORE_TOKENS = range(4)

#: A trie is three addresses.
LABELS, FIRST, BLOCKS = range(3)

#: Entries of the tables. ROOT_CHILDREN and PREFIX_CHILDREN are int32 [256]: children of the root, and of the node of
#: WordPiece's prefix; BYTE_IDS int32 [256]: the ids of bytes.
(
    MODEL,
    PASSES,
    PASS_COUNT,
    PAGES,
    RECORDS,
    SEQUENCES,
    PIECES,
    _PIECES_FIRST,
    _PIECES_BLOCKS,
    ROOT_CHILDREN,
    PREFIX_CHILDREN,
    IDS,
    WIDE_IDS,
    SCORES,
    WIDE_SCORES,
    UNKNOWN_SCORE,
    RANKS,
    WIDE_RANKS,
    SPLITS,
    UNKNOWN_ID,
    MAX_WORD,
    WHOLE_WORDS,
    BYTE_LEVEL,
    BYTE_PIECES,
    FUSE_UNKNOWN,
    BYTE_IDS,
) = range(26)
TABLE_FIELDS = 32
WORDPIECE, UNIGRAM, BPE = range(3)

#: Entries of a pass. Texts without a character as high as LOWEST are not changed by it; COLUMN and CLASSES are columns
#: of the table of characters, COLUMN_ASCII and CLASSES_ASCII what they say of the first 128 characters, uint16; VALUES
#: and FLAGS what belongs to the keys of TRIE, and STARTS uint8 [256], the bytes with which keys begin.
(
    KIND,
    LOWEST,
    COLUMN,
    COLUMN_ASCII,
    CLASSES,
    CLASSES_ASCII,
    COMPOSE,
    HANGUL,
    PATTERN,
    PATTERN_LENGTH,
    CONTENT,
    CONTENT_LENGTH,
    UNLESS,
    LEAST,
    WHERE,
    CUTS,
    DROPS,
    LEFT,
    RIGHT,
    TRIE,
    _TRIE_FIRST,
    _TRIE_BLOCKS,
    VALUES,
    FLAGS,
    STARTS,
) = range(25)
PASS_FIELDS = 32
#: In the order of PassKind. Those from ADDED on change the characters where they lie.
MAP, NORMAL_FORM, CLUSTERS, REPLACE, PREPEND, METASPACE, ADDED, STRIP, SPLIT, WORDS = range(10)
ALWAYS, FIRST_PART, NEVER = range(3)

#: Bytes of one character in a buffer of characters: the character, where it came from, whether a part begins at it.
CHARACTER_BYTES = 4 + 4 + 4 + 4
#: Two such buffers, and four numbers for a character beside.
WORK_BYTES = 2 * CHARACTER_BYTES + 4 * 4
#: Bytes for a character of a word, which has up to four: the byte, whose it is, a piece, and what a model needs for it.
WORD_BYTES = 4 * (1 + 4 + 12 + 79)
#: Bytes before all that, and between and behind its parts.
WORK_HEADER = 4096
