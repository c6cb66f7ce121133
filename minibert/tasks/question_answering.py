"""Extractive question answering: which characters of a context answer a question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from minibert import options
from minibert.errors import InputError
from minibert.reading import Reader, ReadOptions
from minibert.tasks.base import BaseModel
from minibert.tasks.scores import softmax
from minibert.text.inputs import is_one, many, split
from minibert.text.packing import READ_AHEAD
from minibert.text.sliding import Window, slide
from minibert.text.tokenizer import Tokenizer
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Tokens of a question and a part of the context that are read at once, unless the caller says otherwise.
WINDOW_TOKENS = 384
#: Tokens that two windows of a context share.
STRIDE = 128

#: Keys of a question in SQuAD and data sets like it; `question` and `context` are read.
_SQUAD_KEYS = {"question", "context", "id", "title", "answers", "is_impossible"}


class Answer(TypedDict):
    """A span of characters of a context: `answer` is `context[start:end]`."""

    score: float
    start: int
    end: int
    answer: str


class Question(NamedTuple):
    """A question, and the text that may answer it."""

    question: str
    context: str


class _Spans(NamedTuple):
    """The best answers of one window: scores, first and last tokens; and how sure it is that there is none."""

    scores: np.ndarray
    first: np.ndarray
    last: np.ndarray
    impossible: float


class AnswerReader(Reader[Question, _Spans]):
    """Questions with contexts to answers.

    Args:
        top_k: answers to give, at most.
        doc_stride: tokens that two windows of a long context share.
        max_answer_len: tokens of an answer, at most.
        handle_impossible_answer: whether "no answer" may be one of the answers.
        align_to_words: whether an answer that begins or ends inside a word takes the whole word.

    Raises:
        InputError: a number is too small.
    """

    def __init__(
        self,
        top_k: int = 1,
        doc_stride: int | None = None,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> None:
        self._top_k = options.integer("top_k", top_k)
        self._stride = None if doc_stride is None else options.integer("doc_stride", doc_stride, 0)
        self._max_answer_len = options.integer("max_answer_len", max_answer_len)
        self._impossible = options.flag("handle_impossible_answer", handle_impossible_answer)
        self._align = options.flag("align_to_words", align_to_words)

    def check(self, item: Any, index: int) -> Question:
        """A question and a context, out of a mapping with these keys or a pair in this order."""
        if isinstance(item, Mapping):
            if not {"question", "context"} <= set(item) <= _SQUAD_KEYS:
                raise InputError(f'question {index} must have "question" and "context", got keys {list(item)}')
            item = item["question"], item["context"]
        text, pair = split(item, index)
        if pair is None:
            raise InputError(f"question {index} has no context: give a pair (question, context)")
        return Question(text, pair)

    def windows(self, tokenizer: Tokenizer, item: Question, max_length: int) -> tuple[list[Window], bool]:
        """The context in windows that overlap, behind the whole question."""
        stride = self._stride
        if stride is None:
            # As much overlap as is usual, and less where the question leaves little room.
            room = max_length - tokenizer.count(item.question, "")
            stride = max(min(STRIDE, room // 2), 0)
        return slide(tokenizer, item.context, max_length=max_length, stride=stride, question=item.question)

    def find(self, window: Window, rows: np.ndarray) -> _Spans:
        """The best spans of a window.

        A span's score is the product of two probabilities: that its first token begins the answer, and that its last
        one ends it. Both are a softmax over the context's tokens and the first special token, which stands for "there
        is no answer".
        """
        places = np.r_[0, window.start : window.start + len(window.tokens)]
        starts, ends = softmax(rows[places, 0]), softmax(rows[places, 1])
        impossible = float(starts[0] * ends[0])
        starts, ends = starts[1:], ends[1:]
        reach = min(self._max_answer_len, len(ends))
        if not reach:
            return _Spans(np.zeros(0, np.float32), np.zeros(0, np.intp), np.zeros(0, np.intp), impossible)
        # scores[length - 1, first]: shorter answers stand first, so that of equal scores they win.
        scores = np.zeros((reach, len(starts)), np.float32)
        for length in range(reach):
            scores[length, : len(starts) - length] = starts[: len(starts) - length] * ends[length:]
        # Spans of different tokens may be the same characters: a few more than asked for.
        count = min(4 * self._top_k + 16, scores.size)
        flat = scores.ravel()
        best = np.argpartition(-flat, count - 1)[:count]
        # argpartition breaks ties as it likes; what is as good as the worst of them comes in order of place.
        worst = flat[best].min()
        best = np.flatnonzero(flat >= worst)
        best = best[np.argsort(-flat[best], kind="stable")][:count]
        length, first = np.unravel_index(best, scores.shape)
        fits = first + length < len(starts)
        length, first, best = length[fits], first[fits], best[fits]
        return _Spans(flat[best], first, first + length, impossible)

    def answer(self, item: Question, found: list[tuple[Window, _Spans]]) -> Answer | list[Answer]:
        """The best answer, or the `top_k` best in a list; each place in the text once, with its highest score."""
        best: dict[tuple[int, int], float] = {}
        for window, spans in found:
            for score, first, last in zip(
                spans.scores.tolist(), spans.first.tolist(), spans.last.tolist(), strict=True
            ):
                if self._align:
                    first, last = _whole_words(window.words, first, last)
                place = window.offsets[first][0], window.offsets[last][1]
                best[place] = max(best.get(place, 0.0), score)
        answers: list[Answer] = [
            {"score": score, "start": start, "end": end, "answer": item.context[start:end]}
            for (start, end), score in best.items()
        ]
        if self._impossible:
            # No window may have an answer.
            score = min(spans.impossible for _, spans in found)
            answers.append({"score": score, "start": 0, "end": 0, "answer": ""})
        answers.sort(key=lambda each: -each["score"])
        if self._top_k > 1:
            return answers[: self._top_k]
        return answers[0] if answers else {"score": 0.0, "start": 0, "end": 0, "answer": ""}


def _whole_words(words: list[int | None], first: int, last: int) -> tuple[int, int]:
    """The first and last token of the words that two tokens belong to."""
    while first and words[first] is not None and words[first - 1] == words[first]:
        first -= 1
    while last + 1 < len(words) and words[last] is not None and words[last + 1] == words[last]:
        last += 1
    return first, last


class AnswerOptions(ReadOptions, total=False):
    """Options of `answer`."""

    top_k: int
    doc_stride: int | None
    max_answer_len: int
    handle_impossible_answer: bool
    align_to_words: bool


class QuestionAnswering(BaseModel, kind="question-answering", method="answer"):
    """What a question-answering model does."""

    def answer(
        self,
        inputs: Any = None,
        context: str | Iterable[str] | None = None,
        *,
        question: str | Iterable[str] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Any:
        """Answers to one question or many, each a span of characters of its context.

        Args:
            inputs: one question gives one answer, many give a list. A question is a mapping
                `{"question": ..., "context": ...}` or a pair `(question, context)`.
                Or, where `context` is given, the question alone, or a list of them.
            context: the text to look in: one for all questions, or a list with one for each.
            question: the same as `inputs`, beside `context`.
            options: `top_k`: so many answers at most, best first (default 1, which gives no list).
                `doc_stride`: tokens that two windows of a long context share (default 128, or less where windows are
                short). `max_answer_len`: tokens of an answer at most (default 15). `handle_impossible_answer`:
                whether "" with start and end 0 may be an answer. `align_to_words`: whether an answer that begins or
                ends inside a word takes the whole word (default True). And how texts are batched, see
                `minibert.reading.Limits`; a window has `max_length` tokens, by default 384 or the model's own if that
                is less.

        Returns:
            `{"score": float, "start": int, "end": int, "answer": str}`, `answer` being `context[start:end]`; with
            `top_k` above 1 a list of these; for many questions a list of results. Contexts without any token give
            an empty answer with score 0.

        Raises:
            InputError: inputs are no questions with contexts, or an option makes no sense.
            UnsupportedError: the model is none for question answering.
        """
        if inputs is not None and question is not None:
            raise InputError("give either inputs, or question and context")
        if inputs is None or context is not None:
            inputs = _questions(question if inputs is None else inputs, context)
        if is_one(inputs):
            return next(self._iter_answer([inputs], **options))
        return list(self._iter_answer(inputs, **options))

    def _iter_answer(
        self, inputs: Iterable[Any], *, read_ahead: int = READ_AHEAD, **options: Unpack[AnswerOptions]
    ) -> Iterator[Any]:
        """`answer`, a few inputs ahead."""
        self.need("question-answering")
        if options.get("max_length") is None:
            options["max_length"] = min(WINDOW_TOKENS, self.max_length)
        own, limits = self.pipeline.options(AnswerOptions, options)
        return self.pipeline.answers(many(inputs), AnswerReader(**own), limits, read_ahead=read_ahead)


def _questions(question: Any, context: Any) -> Any:
    """Questions with contexts, one or many, out of the two arguments."""
    if question is None or context is None:
        raise InputError("give a question and its context, as in answer(question=..., context=...)")
    if isinstance(question, str):
        if not isinstance(context, str):
            raise InputError("one question needs one context, a str")
        return question, context
    questions = list(many(question, pair=False))
    contexts = [context] * len(questions) if isinstance(context, str) else list(many(context, pair=False))
    if len(contexts) != len(questions):
        raise InputError(f"{len(questions)} questions need one context or as many, got {len(contexts)}")
    return list(zip(questions, contexts, strict=True))
