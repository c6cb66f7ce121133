"""Characters of Python strings: surrogates, which UTF-8 cannot carry, and cutting long texts into pieces."""

from __future__ import annotations

from collections.abc import Iterator


def has_surrogates(text: str) -> bool:
    """Whether UTF-8 cannot carry the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and unpaired surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def places_of(text: str) -> list[int]:
    """Where each character of `well_formed(text)`, and its end, is in `text`."""
    places = []
    place = 0
    while place < len(text):
        places.append(place)
        pair = "\ud800" <= text[place] <= "\udbff" and "\udc00" <= text[place + 1 : place + 2] <= "\udfff"
        place += 2 if pair else 1
    return [*places, place]


def pieces(text: str, size: int, longest: int) -> Iterator[str]:
    """`text` cut in front of white space into pieces of about `size`, of `longest` at most where there is none."""
    start = 0
    while len(text) - start > size:
        end = start + size
        stop = min(start + longest, len(text))
        while end < stop and not (text[end].isspace() and not text[end - 1].isspace()):
            end += 1
        yield text[start:end]
        start = end
    yield text[start:]
