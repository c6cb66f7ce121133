"""Token classification: entities with the characters where they stand, in the shapes of transformers' pipeline."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args, overload

import numpy as np

from minibert import options
from minibert.errors import InputError
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

#: How tokens become entities.
Aggregation: TypeAlias = Literal["none", "simple", "first", "average", "max"]


class _Spelled(TypedDict):
    """What every entity has: `text[start:end]` is what the text says."""

    score: float
    word: str
    start: int
    end: int


class Entity(_Spelled, total=False):
    """A token with its label ("entity") and place ("index"); or, where tokens are joined, "entity_group"."""

    entity: str
    index: int
    entity_group: str


class _Token(NamedTuple):
    """One token, or the tokens of one word, that an entity is made of."""

    word: str
    scores: np.ndarray
    start: int
    end: int
    continues: bool


class TokenReader(Reader[str, np.ndarray]):
    """Texts to entities.

    Args:
        labels: names of the outputs.
        tokenizer: of the model.
        aggregation_strategy: "none": every token by itself; "simple": neighbours of one label together; "first",
            "average", "max": each word first takes one label, that of its first token, of its tokens' mean scores, or
            of its surest token.
        ignore_labels: what is left out.
        stride: tokens that two windows of a long text share; None cuts the text.
        is_split_into_words: whether a text is a list of its words.
        delimiter: white space to put between them; a space for None.

    Raises:
        InputError: an unknown strategy, labels that are none, windows of single tokens, or a delimiter that would join
            words.
    """

    def __init__(
        self,
        labels: Sequence[str],
        tokenizer: Tokenizer,
        aggregation_strategy: str = "none",
        ignore_labels: Collection[str] = ("O",),
        stride: int | None = None,
        is_split_into_words: bool = False,
        delimiter: str | None = None,
    ) -> None:
        aggregation_strategy = options.choice("aggregation_strategy", aggregation_strategy, get_args(Aggregation))
        if stride is not None and aggregation_strategy == "none":
            raise InputError("with a stride, tokens are read twice: choose an aggregation_strategy that joins them")
        self._labels = labels
        self._tokenizer = tokenizer
        self._strategy = aggregation_strategy
        self._ignored = frozenset(options.words("ignore_labels", ignore_labels))
        self._stride = None if stride is None else options.integer("stride", stride, 0)
        self._split = options.flag("is_split_into_words", is_split_into_words)
        if delimiter is not None and not (isinstance(delimiter, str) and delimiter.isspace() and self._split):
            raise InputError(f"delimiter must be white space, and needs is_split_into_words, got {delimiter!r}")
        self._delimiter = " " if delimiter is None else delimiter

    def check(self, item: Any, index: int) -> str:
        """One text, out of its words if it is split into them."""
        if self._split:
            if isinstance(item, (str, Mapping)):
                raise InputError(f"text {index} is not split into words: give a list of them")
            return self._delimiter.join(options.words(f"text {index}", item))
        return single(item, index, "token classification")

    def windows(self, tokenizer: Tokenizer, item: str, max_length: int) -> tuple[list[Window], bool]:
        """One window, or with a stride as many as the text needs."""
        return slide(tokenizer, item, max_length=max_length, stride=self._stride)

    def find(self, window: Window, rows: np.ndarray) -> np.ndarray:
        """Scores of the text's own tokens: softmax of the logits, float32 [tokens, labels]."""
        return softmax(rows[window.start : window.start + len(window.tokens)])

    def answer(self, item: str, found: list[tuple[Window, np.ndarray]]) -> list[Entity]:
        """Entities in the order of the text."""
        entities = [entity for window, scores in found for entity in self._entities(item, window, scores)]
        return _merged(entities) if len(found) > 1 else entities

    def _entities(self, text: str, window: Window, scores: np.ndarray) -> list[Entity]:
        """Entities of one window."""
        if self._strategy == "none":
            return self._single(text, window, scores)
        tokens = self._tokens(text, window, scores)
        if self._strategy != "simple":
            tokens = [self._word(word) for word in _words(tokens)]
        groups = self._groups(tokens)
        return [group for group in groups if group.get("entity_group") not in self._ignored]

    def _single(self, text: str, window: Window, scores: np.ndarray) -> list[Entity]:
        entities = []
        for place, best in enumerate(scores.argmax(axis=1).tolist()):
            if self._labels[best] not in self._ignored:
                start, end = window.offsets[place]
                entities.append(
                    {
                        "entity": self._labels[best],
                        "score": float(scores[place, best]),
                        "index": window.start + place,
                        "word": self._name(text, window, place),
                        "start": start,
                        "end": end,
                    }
                )
        return entities

    def _name(self, text: str, window: Window, place: int) -> str:
        """What a token is called: by the vocabulary, or by the text where the vocabulary has no word for it."""
        if window.ids[window.start + place] == self._tokenizer.unknown_id:
            start, end = window.offsets[place]
            return text[start:end]
        return window.tokens[place]

    def _tokens(self, text: str, window: Window, scores: np.ndarray) -> list[_Token]:
        prefix = self._tokenizer.continuing_prefix
        tokens = []
        for place, (start, end) in enumerate(window.offsets):
            if window.ids[window.start + place] == self._tokenizer.unknown_id:
                continues = False
            elif prefix:
                # By the vocabulary's own mark. transformers compares lengths, and so takes a word for the
                # continuation of the one before it wherever normalizing changes the number of characters.
                continues = window.tokens[place].startswith(prefix) and len(window.tokens[place]) > len(prefix)
            else:
                continues = start > 0 and not any(each.isspace() for each in text[start - 1 : start + 1])
            tokens.append(_Token(self._name(text, window, place), scores[place], start, end, continues))
        return tokens

    def _word(self, tokens: list[_Token]) -> _Token:
        """The tokens of a word as one, with the scores that the strategy chooses."""
        if self._strategy == "first":
            scores = tokens[0].scores
        elif self._strategy == "max":
            scores = max(tokens, key=lambda token: token.scores.max()).scores
        else:
            scores = np.mean([token.scores for token in tokens], axis=0)
        word = self._tokenizer.join([token.word for token in tokens])
        return _Token(word, scores, tokens[0].start, tokens[-1].end, False)

    def _groups(self, tokens: list[_Token]) -> list[Entity]:
        """Neighbours of one label together; a label that begins an entity (B-) begins a group."""
        groups: list[tuple[str, list[tuple[_Token, np.float32]]]] = []
        for token in tokens:
            best = int(token.scores.argmax())
            begins, kind = parse_label(self._labels[best])
            if not groups or begins or kind != groups[-1][0]:
                groups.append((kind, []))
            groups[-1][1].append((token, token.scores[best]))
        return [
            {
                "entity_group": kind,
                "score": float(np.mean([score for _, score in members])),
                "word": self._tokenizer.join([token.word for token, _ in members]),
                "start": members[0][0].start,
                "end": members[-1][0].end,
            }
            for kind, members in groups
        ]


def parse_label(label: str) -> tuple[bool, str]:
    """Whether a label says that an entity begins, and of which kind: "B-person" is (True, "person").

    Labels without B- or I- before them continue what they follow.
    """
    if label.startswith(("B-", "I-")):
        return label[0] == "B", label[2:]
    return False, label


def _words(tokens: list[_Token]) -> list[list[_Token]]:
    words: list[list[_Token]] = []
    for token in tokens:
        if words and token.continues:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _merged(entities: list[Entity]) -> list[Entity]:
    """Entities of windows that overlap: of those that share characters the longest stays, then the surest."""
    merged: list[Entity] = []
    for entity in sorted(entities, key=lambda each: each["start"]):
        if merged and merged[-1]["start"] <= entity["start"] < merged[-1]["end"]:
            if _rank(entity) > _rank(merged[-1]):
                merged[-1] = entity
        else:
            merged.append(entity)
    return merged


def _rank(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


class TokenOptions(ReadOptions, total=False):
    """Options of `classify_tokens`."""

    aggregation_strategy: str
    ignore_labels: Collection[str]
    stride: int | None
    is_split_into_words: bool
    delimiter: str | None


class TokenClassification(BaseModel, kind="token-classification", method="classify_tokens"):
    """What a token-classification model does."""

    # The overloads overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    @overload
    def classify_tokens(self, inputs: str, **options: Unpack[TokenOptions]) -> list[Entity]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def classify_tokens(self, inputs: Iterable[str], **options: Unpack[TokenOptions]) -> list[list[Entity]]: ...
    def classify_tokens(self, inputs: Any, **options: Unpack[TokenOptions]) -> list[Entity] | list[list[Entity]]:
        """Entities of one text or many, such as names of persons and places.

        Args:
            inputs: one text gives one list of entities, many give a list of such lists.
            options: `aggregation_strategy`: "none" (the default) for every token by itself; "simple" for neighbours
                of one label together; "first", "average" or "max" for whole words, labelled by their first token, by
                the mean of their tokens' scores or by their surest token. `ignore_labels`: what is left out,
                by default ["O"]. `stride`: read a long text in windows that share so many tokens; by default a text
                is cut at `max_length`. `is_split_into_words`: a text is a list of its words, and places count in
                `delimiter.join(words)`; `delimiter` is white space (default " "). And how texts are cut and
                batched, see `minibert.reading.Limits`.

        Returns:
            Of each entity "entity" (the label) and "index" (the token's place), or "entity_group" (the label without
            B- and I-) if aggregated; "score", "word" (as the vocabulary spells it), and "start" and "end":
            `text[start:end]` is what the text itself says.

        Raises:
            InputError: inputs are no texts, an option makes no sense, or with `truncation=False` a text is too long.
            UnsupportedError: the model is none for token classification.
        """
        if is_one(inputs) or (options.get("is_split_into_words") and _are_words(inputs)):
            return next(self._iter_classify_tokens([inputs], **options))
        return list(self._iter_classify_tokens(inputs, **options))

    def _iter_classify_tokens(
        self, inputs: Iterable[str], *, read_ahead: int = READ_AHEAD, **options: Unpack[TokenOptions]
    ) -> Iterator[list[Entity]]:
        """`classify_tokens`, a few inputs ahead."""
        self.need("token-classification")
        own, limits = self.pipeline.options(TokenOptions, options)
        reader = TokenReader(self.labels, self.tokenizer, **own)
        return self.pipeline.answers(many(inputs), reader, limits, read_ahead=read_ahead)


def _are_words(inputs: Any) -> bool:
    """Whether a list holds words, rather than texts that are lists of words."""
    return isinstance(inputs, (list, tuple)) and bool(inputs) and all(isinstance(each, str) for each in inputs)
