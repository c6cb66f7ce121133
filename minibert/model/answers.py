"""Extractive question answering: a question and a context, the characters that answer it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from minibert.errors import InputError
from minibert.model.base import BaseModel, ReadOptions
from minibert.tasks.answers import WINDOW_TOKENS, AnswerReader
from minibert.text.inputs import is_one, many
from minibert.text.packing import WINDOW

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AnswerOptions(ReadOptions, total=False):
    """Options of `answer`."""

    top_k: int
    doc_stride: int | None
    max_answer_len: int
    handle_impossible_answer: bool
    align_to_words: bool


class QuestionAnswering(BaseModel):
    """What a question-answering model does."""

    def answer(
        self,
        inputs: Any = None,
        *,
        question: str | list[str] | None = None,
        context: str | list[str] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Any:
        """Answers to one question or many, each a span of characters of its context.

        Args:
            inputs: one question gives one answer, many give a list. A question is a mapping
                `{"question": ..., "context": ...}` or a pair `(question, context)`.
            question: instead of `inputs`, the question, or a list of them.
            context: the text to look in: one for all questions, or a list with one for each.
            options: `top_k`: so many answers at most, best first (default 1, which gives no list).
                `doc_stride`: tokens that two windows of a long context share (default 128, or less where windows are
                short). `max_answer_len`: tokens of an answer at most (default 15). `handle_impossible_answer`:
                whether "" with start and end 0 may be an answer. `align_to_words`: whether an answer that begins or
                ends inside a word takes the whole word (default True). And how texts are batched, see `ReadOptions`;
                a window has `max_length` tokens, by default 384 or the model's own if that is less.

        Returns:
            `{"score": float, "start": int, "end": int, "answer": str}`, `answer` being `context[start:end]`; with
            `top_k` above 1 a list of these; for many questions a list of results. Contexts without any token give
            an empty answer with score 0.

        Raises:
            InputError: inputs are no questions with contexts, or an option makes no sense.
            UnsupportedError: the model is none for question answering.
        """
        if inputs is None:
            inputs = _questions(question, context)
        elif question is not None or context is not None:
            raise InputError("give either inputs, or question and context")
        if is_one(inputs):
            return next(self._iter_answer([inputs], **options))
        return list(self._iter_answer(inputs, **options))

    def _iter_answer(
        self,
        inputs: Iterable[Any],
        *,
        window: int = WINDOW,
        top_k: int = 1,
        doc_stride: int | None = None,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
        **read: Unpack[ReadOptions],
    ) -> Iterator[Any]:
        """`answer`, window by window."""
        self.need("question-answering")
        if read.get("max_length") is None:
            read["max_length"] = min(WINDOW_TOKENS, self.max_length)
        reader = AnswerReader(top_k, doc_stride, max_answer_len, handle_impossible_answer, align_to_words)
        return self.pipeline.answers(many(inputs), reader, self.pipeline.limits(**read), window=window)


def _questions(question: str | list[str] | None, context: str | list[str] | None) -> Any:
    """Questions with contexts, one or many, out of the two arguments."""
    if question is None or context is None:
        raise InputError("give a question and its context, as in answer(question=..., context=...)")
    if isinstance(question, str):
        if not isinstance(context, str):
            raise InputError("one question needs one context, a str")
        return question, context
    contexts = [context] * len(question) if isinstance(context, str) else context
    if len(contexts) != len(question):
        raise InputError(f"{len(question)} questions need one context or as many, got {len(contexts)}")
    return list(zip(question, contexts, strict=True))
