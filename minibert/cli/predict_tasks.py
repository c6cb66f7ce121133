"""What `minibert predict` can do: for each task its options, how it is asked, and how its answers look to people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.cli.options import lines, pairs, positive
from minibert.datasets import listed
from minibert.errors import InputError
from minibert.tasks import ALIASES

if TYPE_CHECKING:
    from minibert.model import Model


def _top_k(text: str) -> int | str:
    return text if text == "all" else positive(text)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {number}")
    return number


#: Options that only some tasks have, as argparse declares them.
OPTIONS: dict[str, dict[str, Any]] = {
    "pair": {"action": "store_true", "help": "each text is a pair with a tab between"},
    "top_k": {"type": _top_k, "metavar": "K", "help": "the K best answers to each text, or 'all'"},
    "function": {
        "choices": ("softmax", "sigmoid", "none"),
        "help": "what makes scores of logits (default: the model's)",
    },
    "aggregation": {
        "choices": ("none", "simple", "first", "average", "max"),
        "help": "how tokens become entities (default: none)",
    },
    "ignore_labels": {"metavar": "A,B", "help": "labels to leave out (default: O)"},
    "stride": {"type": _count, "metavar": "N", "help": "read long texts in windows that share N tokens"},
    "question": {"metavar": "TEXT", "help": "the question; texts are contexts"},
    "context": {"metavar": "TEXT", "help": "the context; texts are questions"},
    "doc_stride": {"type": _count, "metavar": "N", "help": "tokens that windows share (default: 128)"},
    "max_answer_len": {"type": positive, "metavar": "N", "help": "tokens of an answer (default: 15)"},
    "impossible": {"action": "store_true", "help": "there may be no answer"},
    "targets": {"metavar": "A,B", "help": "the only words to choose from"},
    "labels": {"metavar": "A,B", "help": 'what to choose from; "a, b",c where a label has a comma'},
    "template": {"metavar": "TEXT", "help": "a sentence with {} for the label"},
    "multi_label": {"action": "store_true", "help": "any number of labels may be true"},
    "query": {"metavar": "TEXT", "help": "what the texts, as documents, are ranked by"},
}


@dataclass(frozen=True)
class PredictTask:
    """One thing that `predict` can do.

    Attributes:
        options: those of OPTIONS that it has.
        items: what the command line or stdin gives it to answer.
        ask: answers, lazily, given the model, the items, what was asked for and how texts are read.
        show: an item and its answer for people, labels as wide as the model's widest.
        texts: what the texts of the command line are, if not simply texts.
    """

    options: tuple[str, ...]
    items: Callable[[argparse.Namespace], Iterable[Any]]
    ask: Callable[[Model, Iterable[Any], argparse.Namespace, dict[str, Any]], Iterable[Any]]
    show: Callable[[Any, Any, int], str]
    texts: str | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare OPTIONS: those of several tasks by themselves, the others in a group a task."""
    for name, task in TASKS.items():
        own = parser.add_argument_group(name, task.texts)
        for option in task.options:
            tasks = [each for each in TASKS.values() if option in each.options]
            if tasks[0] is task:
                (own if len(tasks) == 1 else parser).add_argument(f"--{option.replace('_', '-')}", **OPTIONS[option])


def chosen(arguments: argparse.Namespace, model: Model) -> PredictTask:
    """The task asked for, else the one that the options mean, else the file's own.

    Raises:
        InputError: an option that the task does not have.
    """
    name = arguments.task
    if name is None:
        implied = [
            task
            for option, task in (("labels", "zero-shot-classification"), ("query", "reranking"))
            if getattr(arguments, option) is not None
        ]
        name = implied[0] if implied else model.task.kind
    name = ALIASES.get(name, name)
    if name not in TASKS and name not in model.methods:
        raise InputError(f"{model.path} is a {name} model: use encode, or --task feature-extraction")
    task = TASKS.get(name, PLAIN)
    for option in OPTIONS:
        if option not in task.options and getattr(arguments, option) not in (None, False):
            raise InputError(f"--{option.replace('_', '-')} is no option of {name}")
    return task


# What a task does that has no entry in TASKS.


def _texts(arguments: argparse.Namespace) -> Iterable[Any]:
    return lines(arguments)


def _predict(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    return model.iter_predict(items, **read)


def _show_json(text: str, answer: Any, width: int) -> str:
    return f"{console.json_of(answer)}  {console.dim(console.one_line(text))}"


# Text classification.


def _texts_or_pairs(arguments: argparse.Namespace) -> Iterable[Any]:
    return pairs(lines(arguments)) if arguments.pair else lines(arguments)


def _classify(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    from minibert.tasks.text_classification import BEST

    model.need("text-classification")
    top_k = {None: BEST, "all": None}.get(arguments.top_k, arguments.top_k)
    return model.iter_predict(items, top_k=top_k, function_to_apply=arguments.function, **read)


def _show_labels(text: Any, answer: Any, width: int) -> str:
    text = console.one_line(text if isinstance(text, str) else " | ".join(text))
    if isinstance(answer, dict):
        return f"{_scored(answer['label'], answer['score'], width)}  {text}"
    return "\n".join([console.bold(text), *(f"  {_scored(each['label'], each['score'], width)}" for each in answer)])


# Token classification.


def _entities(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    model.need("token-classification")
    ignored = ["O"] if arguments.ignore_labels is None else listed(arguments.ignore_labels)
    aggregation = arguments.aggregation or "none"
    return model.iter_predict(
        items, aggregation_strategy=aggregation, ignore_labels=ignored, stride=arguments.stride, **read
    )


def _show_entities(text: str, answer: Any, width: int) -> str:
    shown = [console.bold(console.one_line(text))]
    for each in answer:
        where = console.dim(f"{each['start']}-{each['end']}")
        label = each.get("entity_group", each.get("entity"))
        shown.append(
            f"  {_scored(label, each['score'], width)}  {console.one_line(text[each['start'] : each['end']])} {where}"
        )
    return "\n".join(shown)


# Question answering.


def _questions(arguments: argparse.Namespace) -> Iterable[Any]:
    given = lines(arguments)
    question, context = arguments.question, arguments.context
    if question is not None and context is not None:
        if arguments.text:
            raise InputError("--question and --context say all that is asked: give no texts beside them")
        return [(question, context)]
    if question is not None:
        return ((question, line) for line in given)
    if context is not None:
        return ((line, context) for line in given)
    return pairs(given)


def _answers(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    model.need("question-answering")
    return model.iter_predict(
        items,
        top_k=_number(arguments.top_k, 1),
        doc_stride=arguments.doc_stride,
        max_answer_len=arguments.max_answer_len or 15,
        handle_impossible_answer=arguments.impossible,
        **read,
    )


def _show_answers(item: Any, answer: Any, width: int) -> str:
    shown = [console.bold(console.one_line(item[0]))]
    for each in answer if isinstance(answer, list) else [answer]:
        where = console.dim(f"{each['start']}-{each['end']}")
        shown.append(f"  {each['score']:8.4f}  {console.green(console.one_line(each['answer']) or '(none)')} {where}")
    return "\n".join(shown)


# Fill-mask.


def _fill(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    model.need("fill-mask")
    targets = None if arguments.targets is None else listed(arguments.targets)
    return model.iter_predict(items, top_k=_number(arguments.top_k, 5), targets=targets, **read)


def _show_fillings(text: str, answer: Any, width: int) -> str:
    shown = [console.bold(console.one_line(text))]
    for number, fillings in enumerate(answer if isinstance(answer[0], list) else [answer]):
        shown += [console.dim(f"  mask {number + 1}")] if isinstance(answer[0], list) else []
        shown += [f"  {_scored(each['token_str'], each['score'], width)}" for each in fillings]
    return "\n".join(shown)


# Zero-shot classification.


def _zero_shot(
    model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]
) -> Iterator[Any]:
    if arguments.labels is None:
        raise InputError("zero-shot classification needs --labels A,B,...")
    template = {} if arguments.template is None else {"hypothesis_template": arguments.template}
    return model.iter_predict(
        items, candidate_labels=listed(arguments.labels), multi_label=arguments.multi_label, **template, **read
    )


def _show_zero_shot(text: str, answer: Any, width: int) -> str:
    rows = zip(answer["labels"], answer["scores"], strict=True)
    return "\n".join(
        [console.bold(console.one_line(text)), *(f"  {_scored(label, score, width)}" for label, score in rows)]
    )


# Reranking: all documents are read, then told best first.


def _query(arguments: argparse.Namespace) -> Iterable[Any]:
    return [list(lines(arguments, lazily=False))]


def _rank(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    if arguments.query is None:
        raise InputError("reranking needs --query TEXT; the texts are the documents")
    top_k = None if arguments.top_k in (None, "all") else arguments.top_k
    read.pop("read_ahead")
    function = arguments.function
    for documents in items:
        yield model.rank(arguments.query, documents, top_k, True, function_to_apply=function, **read)


def _show_ranking(documents: Any, answer: Any, width: int) -> str:
    rows = (
        f"{each['score']:9.4f}  {console.dim(str(each['corpus_id']))}  {console.one_line(each['text'])}"
        for each in answer
    )
    return "\n".join(rows)


# Features.


def _features(model: Model, items: Iterable[Any], arguments: argparse.Namespace, read: dict[str, Any]) -> Iterator[Any]:
    read.pop("read_ahead")
    return (model.features(item, **read).tolist() for item in items)


def _show_features(item: Any, answer: Any, width: int) -> str:
    return "\n".join(f"[{', '.join(f'{number:.6g}' for number in row)}]" for row in answer) + "\n"


def _number(top_k: int | str | None, default: int) -> int:
    return sys.maxsize if top_k == "all" else default if top_k is None else int(top_k)


def _scored(name: str, score: float, width: int = 0) -> str:
    return f"{console.green(console.one_line(name, 40).ljust(width))} {score:8.4f}"


#: For a kind of model without options of its own, whose answers look as they are.
PLAIN = PredictTask((), _texts, _predict, _show_json)
TASKS = {
    "text-classification": PredictTask(("pair", "top_k", "function"), _texts_or_pairs, _classify, _show_labels),
    "token-classification": PredictTask(("aggregation", "ignore_labels", "stride"), _texts, _entities, _show_entities),
    "question-answering": PredictTask(
        ("top_k", "question", "context", "doc_stride", "max_answer_len", "impossible"),
        _questions,
        _answers,
        _show_answers,
        "texts are question, tab, context; or:",
    ),
    "fill-mask": PredictTask(("top_k", "targets"), _texts, _fill, _show_fillings),
    "zero-shot-classification": PredictTask(("labels", "template", "multi_label"), _texts, _zero_shot, _show_zero_shot),
    "reranking": PredictTask(("top_k", "function", "query"), _query, _rank, _show_ranking),
    "feature-extraction": PredictTask(("pair",), _texts_or_pairs, _features, _show_features),
}
