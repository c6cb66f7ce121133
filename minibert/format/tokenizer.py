"""tokenizer.json inside the file: compressed, for the 466 KB of an English BERT shrink to 191 KB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minibert.errors import FormatError
from minibert.forking import unforked

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes of tokenizer.json, expanded. The largest in use (250,000 pieces) have 17 MB; a bomb of zeros stops here.
MAX_TOKENIZER_BYTES = 64 << 20


def pack_tokenizer(text: str) -> NDArray[np.uint8]:
    """Compress the text of a tokenizer.json.

    Args:
        text: the file's content.

    Returns:
        uint8 `[n]`, a zlib stream (RFC 1950): what the tensor `tokenizer.json` holds.

    Raises:
        FormatError: if the text is over 64 MiB or holds half a surrogate pair.
    """
    import zlib

    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"tokenizer.json is not valid text: {error}") from None
    if len(data) > MAX_TOKENIZER_BYTES:
        raise FormatError(f"tokenizer.json has {len(data)} bytes; the limit is {MAX_TOKENIZER_BYTES}")
    return np.frombuffer(zlib.compress(data, 9), dtype=np.uint8)


def unpack_tokenizer(packed: NDArray[np.uint8]) -> str:
    """Undo `pack_tokenizer`, never expanding to more than 64 MiB.

    Args:
        packed: uint8 `[n]`, contiguous.

    Returns:
        The text of tokenizer.json; that it is a tokenizer is for the tokenizers library to find out.

    Raises:
        FormatError: if the bytes are not one whole zlib stream of UTF-8 text within the limit.
    """
    with unforked():
        import zlib  # here, so that loading a model for token ids alone doesn't pay for it

    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed.data, MAX_TOKENIZER_BYTES + 1)
    except zlib.error as error:
        raise FormatError(f"tensor 'tokenizer.json' is damaged: {error}") from None
    if len(data) > MAX_TOKENIZER_BYTES:
        raise FormatError(f"tensor 'tokenizer.json' expands to more than {MAX_TOKENIZER_BYTES} bytes")
    if not stream.eof or stream.unused_data:
        raise FormatError("tensor 'tokenizer.json' is damaged: not one whole zlib stream")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"tensor 'tokenizer.json' is damaged: {error}") from None


def _byte_letters() -> str:
    """The letters by which byte-level vocabularies spell bytes: those that can be seen, and others in their order."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in seen else next(others)) for byte in range(256))


#: The letter of each byte.
BYTE_LETTERS = _byte_letters()
