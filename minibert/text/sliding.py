"""Windows of texts that are too long: sliding ones with the characters of each token, and ones that share no token."""

from __future__ import annotations

from collections.abc import Iterator

from minibert.errors import InputError
from minibert.text.characters import pieces
from minibert.text.tokenizer import MAX_CHARACTERS, Content, Frame, Tokenizer
from minibert.tuples import NamedTuple

#: A text whose windows share no token is read in pieces of about so many characters, one at a time.
_PIECE_CHARACTERS = 1 << 16


class Window(NamedTuple):
    """What the model reads at once of a text.

    Attributes:
        ids: token ids, special tokens included.
        type_ids: one token type for each id, or None when all are 0.
        start: place in `ids` of the first of the text's own tokens; the others follow without a gap.
        tokens: what the vocabulary calls the text's tokens in this window.
        offsets: (start, end) of each one's characters in the text, as indices of the Python string.
        words: number of the word that each token belongs to.
        attended: how many of the first tokens are attended to; None for all.
    """

    ids: list[int]
    type_ids: list[int] | None
    start: int
    tokens: list[str]
    offsets: list[tuple[int, int]]
    words: list[int | None]
    attended: int | None = None


class Part(NamedTuple):
    """What the model reads at once of a text whose windows share no token.

    Attributes:
        ids: token ids: special tokens, a prompt, the text's own, special tokens.
        type_ids: one token type for each id, or None when all are 0.
        start: place in `ids` of the first of the text's own tokens.
        own: how many of these there are.
    """

    ids: list[int]
    type_ids: list[int] | None
    start: int
    own: int


def slide(
    tokenizer: Tokenizer,
    text: str,
    *,
    max_length: int,
    stride: int | None = None,
    question: str | None = None,
) -> tuple[list[Window], bool]:
    """The windows of a text, one at least.

    Args:
        tokenizer: of the model.
        text: what is read in windows.
        max_length: tokens of a window, special tokens included.
        stride: tokens that two windows share; None cuts the text to one window.
        question: a text that stands before each window, as the first of a pair, whole.

    Returns:
        The windows in order, and whether the text was cut.

    Raises:
        InputError: `max_length` leaves no room for the text, or none for going on beyond `stride`.
    """
    frame = tokenizer.frame(question is not None)
    first = Content([], [], [], [], False) if question is None else tokenizer.content(question)
    room = max_length - len(frame.before) - len(frame.between) - len(frame.after) - len(first.ids)
    if room < 1:
        asked = "" if question is None else f" and the {len(first.ids)} tokens of the question"
        raise InputError(f"a max_length of {max_length} leaves no room beside the special tokens{asked}")
    if stride is not None and not 0 <= stride < room:
        raise InputError(f"a stride of {stride} is too long: windows have room for {room} tokens of the text")
    content = tokenizer.content(text, room if stride is None else None)
    windows = [_window(frame, first, content, slice(0, room))]
    if stride is not None:
        starts = range(room - stride, len(content.ids) - stride, room - stride)
        windows += [_window(frame, first, content, slice(start, start + room)) for start in starts]
    return windows, content.truncated


def divide(
    tokenizer: Tokenizer, text: str, *, max_length: int, prompt: int = 0, ignored_id: int = -1
) -> Iterator[Part]:
    """All of a text in windows that share no token, each made when it is asked for.

    Args:
        tokenizer: of the model.
        text: what is read, of any length.
        max_length: tokens of a window, special tokens and the prompt's included.
        prompt: how many of the text's first characters are a prompt, whose tokens stand before every window. A token
            that goes on into the text is the text's.
        ignored_id: id of tokens that are left out; -1 for none.

    Yields:
        One window for every full load of the text's own tokens and one for the rest; none of a text without tokens.

    Raises:
        InputError: `max_length` leaves no room for the text.
    """
    frame = tokenizer.frame(False)
    head: list[int] = []
    own: list[int] = []
    read = 0
    for piece in pieces(text, _PIECE_CHARACTERS, MAX_CHARACTERS):
        content = tokenizer.content(piece)
        first = 0
        if read < prompt:
            ends = (place for place, (_, end) in enumerate(content.offsets) if read + end > prompt)
            first = next(ends, len(content.ids))
            head += [id for id in content.ids[:first] if id != ignored_id]
        read += len(piece)
        room = max_length - len(frame.before) - len(head) - len(frame.after)
        if room < 1:
            asked = f" and the {len(head)} tokens of the prompt" if head else ""
            raise InputError(f"a max_length of {max_length} leaves no room beside the special tokens{asked}")
        own += [id for id in content.ids[first:] if id != ignored_id]
        full = len(own) // room * room
        for start in range(0, full, room):
            yield _part(frame, head, own[start : start + room])
        del own[:full]
    if own:
        yield _part(frame, head, own)


def _part(frame: Frame, head: list[int], own: list[int]) -> Part:
    types = None
    if frame.type_ids is not None:
        before, of_text, _, _, after = frame.type_ids
        types = [*before, *[of_text] * (len(head) + len(own)), *after]
    return Part([*frame.before, *head, *own, *frame.after], types, len(frame.before) + len(head), len(own))


def _window(frame: Frame, first: Content, content: Content, part: slice) -> Window:
    ids = content.ids[part]
    head = [*frame.before, *first.ids, *frame.between]
    types = None
    if frame.type_ids is not None:
        before, of_first, between, of_second, after = frame.type_ids
        types = [*before, *[of_first] * len(first.ids), *between, *[of_second] * len(ids), *after]
    return Window(
        [*head, *ids, *frame.after],
        types,
        len(head),
        content.tokens[part],
        content.offsets[part],
        content.words[part],
    )
