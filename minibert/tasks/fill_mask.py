"""Fill-mask: which tokens may stand where a text has a mask, in the shapes of transformers' pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from minibert import options
from minibert.errors import InputError, UnsupportedError, warn
from minibert.format.constants import TaskKind
from minibert.reading import Reader, ReadOptions
from minibert.tasks.base import BaseModel
from minibert.tasks.scores import softmax
from minibert.text.inputs import is_one, many, single
from minibert.text.packing import READ_AHEAD
from minibert.text.sliding import Window, slide
from minibert.text.tokenizer import Tokenizer
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Unpack

KIND: TaskKind = "fill-mask"


class Filling(TypedDict):
    """A token that may stand where a mask does: its id, what it spells, and the text with it."""

    score: float
    token: int
    token_str: str
    sequence: str


class _Mask(NamedTuple):
    """The best tokens for one mask: its place in the window's ids, token ids and scores."""

    place: int
    tokens: list[int]
    scores: list[float]


class MaskReader(Reader[str, "list[_Mask]"]):
    """Texts with masks to what may stand there.

    Args:
        tokenizer: of the model.
        targets: the only tokens to choose from; None for the whole vocabulary.
        top_k: tokens to give for each mask, at most.

    Raises:
        InputError: `top_k` below 1, no targets, or one that the vocabulary has nothing for.
        UnsupportedError: the model's tokenizer has no mask token.
    """

    def __init__(self, tokenizer: Tokenizer, targets: str | Sequence[str] | None = None, top_k: int = 5) -> None:
        if tokenizer.mask_id is None:
            raise UnsupportedError("the model's tokenizer has no mask token ([MASK] or <mask>)")
        self._tokenizer = tokenizer
        self._mask = tokenizer.mask_id
        self._top_k = options.integer("top_k", top_k)
        self._targets = None if targets is None else _target_ids(tokenizer, targets)

    def check(self, item: Any, index: int) -> str:
        """One text."""
        return single(item, index, KIND)

    def windows(self, tokenizer: Tokenizer, item: str, max_length: int) -> tuple[list[Window], bool]:
        """One window, with a mask at least."""
        windows, truncated = slide(tokenizer, item, max_length=max_length)
        if self._mask not in windows[0].ids:
            name = tokenizer.token(self._mask)
            where = f" in its first {max_length} tokens" if truncated else ""
            shown = item if len(item) <= 60 else f"{item[:59]}…"
            raise InputError(f"the text {shown!r} has no {name}{where}: there is nothing to fill")
        return windows, truncated

    def wanted(self, window: Window) -> list[int]:
        """Where the masks are."""
        return [place for place, token in enumerate(window.ids) if token == self._mask]

    def find(self, window: Window, rows: np.ndarray) -> list[_Mask]:
        """The best tokens for each mask, of the softmax over the whole vocabulary."""
        found = []
        for place, row in zip(self.wanted(window), rows, strict=True):
            scores = softmax(row)
            best = _best(scores, self._top_k) if self._targets is None else self._best_targets(scores)
            found.append(_Mask(place, best.tolist(), scores[best].tolist()))
        return found

    def answer(self, item: str, found: list[tuple[Window, list[_Mask]]]) -> list[Filling] | list[list[Filling]]:
        """The best tokens, best first; of several masks a list for each."""
        window, masks = found[0]
        several = len(masks) > 1
        filled = [self._fillings(window, mask, several) for mask in masks]
        return filled if several else filled[0]

    def _fillings(self, window: Window, mask: _Mask, several: bool) -> list[Filling]:
        fillings: list[Filling] = []
        for token, score in zip(mask.tokens, mask.scores, strict=True):
            ids = [*window.ids[: mask.place], token, *window.ids[mask.place + 1 :]]
            fillings.append(
                {
                    "score": score,
                    "token": token,
                    "token_str": self._tokenizer.decode([token]),
                    # Special tokens are left out, unless the other masks would go with them.
                    "sequence": self._tokenizer.decode(ids, skip_special_tokens=not several),
                }
            )
        return fillings

    def _best_targets(self, scores: np.ndarray) -> np.ndarray:
        assert self._targets is not None
        return self._targets[_best(scores[self._targets], self._top_k)]


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the highest scores, best first; equal ones in order of place."""
    if count < len(scores):
        candidates = np.flatnonzero(scores >= -np.partition(-scores, count - 1)[count - 1])
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:count]


def _target_ids(tokenizer: Tokenizer, targets: str | Sequence[str]) -> np.ndarray:
    """Ids of targets, in rising order; of a target in several pieces the first, with a warning."""
    ids = []
    for target in options.words("targets", [targets] if isinstance(targets, str) else targets):
        id = tokenizer.token_id(target)
        if id is None:
            pieces = tokenizer.content(target)
            if not pieces.ids or pieces.ids[0] == tokenizer.unknown_id:
                raise InputError(f"the vocabulary has no token for the target {target!r}")
            id = pieces.ids[0]
            if len(pieces.ids) > 1:
                shown = " ".join(pieces.tokens[:8])
                warn(
                    f"the target {target!r} is no single token of the vocabulary but {shown}: {pieces.tokens[0]!r} "
                    "stands for it",
                    UserWarning,
                )
        ids.append(id)
    if not ids:
        raise InputError("targets must name at least one token, or be None for the whole vocabulary")
    return np.array(sorted(set(ids)))


class FillOptions(ReadOptions, total=False):
    """Options of `fill_mask`."""

    targets: str | Sequence[str] | None
    top_k: int


class FillMask(BaseModel, kind=KIND, method="fill_mask"):
    """What a fill-mask model does."""

    def fill_mask(self, inputs: str | Iterable[str], **options: Unpack[FillOptions]) -> list[Any]:
        """The likeliest tokens for the masks ([MASK] or <mask>) of one text or many.

        Args:
            inputs: one text gives one result, many give a list.
            options: `top_k`: so many tokens for each mask (default 5). `targets`: the only tokens to choose from,
                each a single token of the vocabulary; their scores remain those among the whole vocabulary. And how
                texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            `[{"score": float, "token": int, "token_str": str, "sequence": str}, ...]`, best first; for a text of
            several masks such a list for each.

        Raises:
            InputError: inputs are no texts, one has no mask, or a target is no token.
            UnsupportedError: the model is none for fill-mask.
        """
        if is_one(inputs):
            return next(self._iter_fill_mask([inputs], **options))  # pyright: ignore[reportArgumentType]
        return list(self._iter_fill_mask(inputs, **options))

    def _iter_fill_mask(
        self, inputs: Iterable[str], *, read_ahead: int = READ_AHEAD, **options: Unpack[FillOptions]
    ) -> Iterator[list[Any]]:
        """`fill_mask`, a few inputs ahead."""
        self.need(KIND)
        own, limits = self.pipeline.options(FillOptions, options)
        reader = MaskReader(self.tokenizer, **own)
        return self.pipeline.answers(many(inputs), reader, limits, read_ahead=read_ahead)
