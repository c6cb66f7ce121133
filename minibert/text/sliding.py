"""Texts token by token: the characters that each token came from, and windows that overlap where a text is too long."""

from __future__ import annotations

from typing import NamedTuple

from minibert.errors import InputError
from minibert.text.tokenizer import Content, Frame, Tokenizer


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
