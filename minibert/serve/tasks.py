"""The tasks that no other dialect has, as JSON: what `Model` answers, in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minibert.model import Model
from minibert.serve import fields, work
from minibert.serve.refusals import TooMuch, WrongField
from minibert.serve.responses import Response, as_json
from minibert.serve.service import Call, Service
from minibert.serve.work import Cutter, Work
from minibert.tasks.fill_mask import MaskReader
from minibert.tasks.question_answering import WINDOW_TOKENS, AnswerReader
from minibert.tasks.text_classification import BEST
from minibert.tasks.token_classification import TokenReader
from minibert.text.inputs import is_one

#: Results for one text, at most: labels, answers, tokens for a mask.
_MOST = 1000
#: Texts that are written for fill-mask in all, one for each mask and each token that may stand there.
_FILLINGS = 4096

Prepare = Callable[[Cutter, "list[Any]", "dict[str, Any]"], Work]


class Task:
    """A task behind HTTP.

    Args:
        kind: of model.
        options: fields that are handed on to the method of `Model`.
        prepare: makes the work.
    """

    def __init__(self, kind: str, options: tuple[str, ...], prepare: Prepare) -> None:
        self.kind: str = kind
        self.options: tuple[str, ...] = options
        self._prepare = prepare

    def need(self, model: Model) -> None:
        """Raise UnsupportedError unless the model is one for this task."""
        model.need(self.kind)  # pyright: ignore[reportArgumentType]

    async def __call__(self, service: Service, call: Call) -> Response:
        """POST /tasks/NAME."""
        body = call.body
        served = service.served(body, self.need)
        items, one = _items(body)
        options = {name: body[name] for name in self.options if name in body}
        fields.whole(body, "top_k", 1, _MOST)
        cutter = service.cutter(served, body, default=True)

        def write(answers: list[Any]) -> Response:
            answer = answers[0] if one else answers
            return as_json({"model": served.name, "answer": answer, "usage": {"total_tokens": cutter.tokens}})

        return await service.answer(served.batcher, call, lambda: self._prepare(cutter, items, options), write)


def _items(body: fields.Body) -> tuple[list[Any], bool]:
    """What is asked: one text, pair or question, or many in a list."""
    value = body.get("inputs")
    if is_one(value):
        return [value], True
    if not isinstance(value, list) or not value:
        raise WrongField("inputs must be a text, a question, or a list of at least one", "inputs")
    return value, False


def _classify(cutter: Cutter, items: list[Any], options: dict[str, Any]) -> Work:
    top_k = options.get("top_k", BEST)
    return work.classification(cutter, fields.pairs(items, "inputs"), options.get("function_to_apply"), top_k)


def _zero_shot(cutter: Cutter, items: list[Any], options: dict[str, Any]) -> Work:
    if "candidate_labels" not in options:
        raise WrongField("candidate_labels is missing: it must be a list of strings", "candidate_labels")
    return work.zero_shot(cutter, fields.texts({"inputs": items}, "inputs")[0], **options)


def _entities(cutter: Cutter, items: list[Any], options: dict[str, Any]) -> Work:
    model = cutter.model
    fields.whole(options, "stride", 0, model.max_length // 2)  # more would read a text many times over
    reader = TokenReader(model.labels, model.tokenizer, **options)
    return work.reading(cutter, reader, [reader.check(each, place) for place, each in enumerate(items)])


def _answers(cutter: Cutter, items: list[Any], options: dict[str, Any]) -> Work:
    model = cutter.model
    window = min(WINDOW_TOKENS, model.max_length)
    fields.whole(options, "doc_stride", 0, window // 2)
    reader = AnswerReader(**options)
    questions = [reader.check(each, place) for place, each in enumerate(items)]
    for place, each in enumerate(questions):
        # A longer one leaves so little room that its context is read in windows without number.
        if len(each.question) > window and model.tokenizer.count(each.question) > window // 2:
            raise TooMuch(f"question {place} has more than {window // 2} tokens, half of what is read at once")
    return work.reading(cutter, reader, questions, window)


def _fill(cutter: Cutter, items: list[Any], options: dict[str, Any]) -> Work:
    reader = MaskReader(cutter.model.tokenizer, **options)
    made = work.reading(cutter, reader, [reader.check(each, place) for place, each in enumerate(items)])
    masks = sum(len(each.ids if each.wanted is None else each.wanted) for each in made.pieces)
    if masks * options.get("top_k", 5) > _FILLINGS:
        raise TooMuch(f"{masks} masks and a top_k of {options.get('top_k', 5)} are more than {_FILLINGS} answers")
    return made


TASKS = {
    "text-classification": Task("text-classification", ("top_k", "function_to_apply"), _classify),
    "zero-shot-classification": Task(
        "text-classification", ("candidate_labels", "hypothesis_template", "multi_label"), _zero_shot
    ),
    "token-classification": Task(
        "token-classification", ("aggregation_strategy", "ignore_labels", "stride"), _entities
    ),
    "question-answering": Task(
        "question-answering",
        ("top_k", "doc_stride", "max_answer_len", "handle_impossible_answer", "align_to_words"),
        _answers,
    ),
    "fill-mask": Task("fill-mask", ("top_k", "targets"), _fill),
}
