"""Files of examples with known answers, and what each task is measured on: `evaluate_file`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minibert.datasets import (
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    guessed_column,
    listed,
    read_columns,
    read_conll,
    read_header,
    read_questions,
)
from minibert.errors import InputError, UnsupportedError
from minibert.evaluate.labels import evaluate, evaluate_zero_shot
from minibert.evaluate.ranking import evaluate_ranking
from minibert.evaluate.tokens import evaluate_answers, evaluate_entities, evaluate_masks
from minibert.model import Model
from minibert.progress import Progress
from minibert.tasks import ALIASES
from minibert.tasks.zero_shot import TEMPLATE

#: The figure by which a model is judged: the first of these that its task has.
PRIMARY = ("accuracy", "entity_f1", "f1", "micro_f1", "ndcg_at_10", "spearman")

#: Names that columns usually have, by option.
USUAL = {"text": TEXT_COLUMNS, "label": LABEL_COLUMNS, "query": ("query", "question")}

#: Told of examples answered since the last call.
Told = Callable[[int], None]


class Options(NamedTuple):
    """Where the examples stand in a file, and what is asked about them; None for what is not said.

    Attributes:
        text: the column of texts, or of documents, in a table.
        text_pair: that of second texts, for pairs.
        label: that of labels, scores, masked words, or grades of documents.
        query: that of queries, for reranking.
        labels: what to choose from in zero-shot classification, as `listed` reads it; by default all of the table.
        template: a sentence with {} for the label, in zero-shot classification.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    query: str | None = None
    labels: str | None = None
    template: str | None = None


class Measured(NamedTuple):
    """One thing that can be measured.

    Attributes:
        kinds: of models that can do it.
        needed: columns of the table that there must be, named or guessed.
        allowed: others that may be.
        read: the examples of a file.
        measure: figures, given the model, the examples, the options and who is told of progress.
    """

    kinds: tuple[Any, ...]
    needed: tuple[str, ...]
    allowed: tuple[str, ...]
    read: Callable[[str | Path, Options], list[Any]]
    measure: Callable[[Model, list[Any], Options, Told], dict[str, Any]]


def evaluate_file(
    model: Model,
    data: str | Path,
    options: Options,
    *,
    task: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Answer the examples of a file and compare.

    Args:
        model: any model of the task's kinds.
        data: .tsv (header line, no quoting), .csv or .jsonl; CoNLL for token classification; SQuAD's JSON or .jsonl for
            question answering; also .gz.
        options: where the examples stand in the file.
        task: a key of TASKS or ALIASES; by default the one that the options mean, else the model's own.
        progress: what counts the examples.

    Returns:
        What the function of that task returns, such as `evaluate`: plain JSON values.

    Raises:
        InputError: an option that the task does not have, or a file that doesn't fit.
        UnsupportedError: the model is none for the task.
        OSError: the file cannot be read.
    """
    measured, rows, options = read_examples(data, options, model.task.kind, task)
    model.need(*measured.kinds)
    progress = Progress(None) if progress is None else progress
    progress.total = len(rows)
    return measured.measure(model, rows, options, progress.update)


def read_examples(
    data: str | Path, options: Options, kind: str, task: str | None = None
) -> tuple[Measured, list[Any], Options]:
    """What is measured, the examples of a file, and the options `completed`; raises what `evaluate_file` does of these.

    Args:
        data: as of `evaluate_file`.
        options: where the examples stand in the file.
        kind: the model's own task.
        task: as of `evaluate_file`.
    """
    if task is None:
        implied = {"reranking": options.query, "zero-shot-classification": options.labels}
        task = next((name for name, option in implied.items() if option is not None), kind)
        task = "reranking" if task == "multi-vector" else task  # all that is measured of it
    task = ALIASES.get(task, task)
    measured = TASKS.get(task)
    if measured is None:
        raise UnsupportedError(f"there is no measure of {task}; {', '.join(TASKS)} have one")
    for name, value in options._asdict().items():
        if value is not None and name not in measured.needed + measured.allowed:
            raise InputError(f"--{name.replace('_', '-')} is no option of {task}")
    options = completed(data, options, measured.needed, measured.allowed)
    return measured, measured.read(data, options), options


def completed(data: str | Path, options: Options, needed: Sequence[str], allowed: Sequence[str]) -> Options:
    """Options with the columns that are needed: those that are not named are guessed by their usual names.

    A second text is guessed beside a first one that is: sentence2 beside sentence1, text_pair beside text.

    Raises:
        InputError: the table has no such column; names those that it has.
    """
    missing = [name for name in needed if getattr(options, name) is None]
    if not missing:
        return options
    header = read_header(data)
    found = {name: guessed_column(data, name, USUAL[name], header) for name in missing}
    second = {"sentence1": "sentence2", "text": "text_pair"}.get(found.get("text", ""))
    if "text_pair" in allowed and options.text_pair is None and second in header:
        found["text_pair"] = second
    return options._replace(**found)


def primary(figures: dict[str, Any]) -> str:
    """The name of the figure by which a model is judged.

    Raises:
        InputError: there is none.
    """
    name = next((name for name in PRIMARY if name in figures), None)
    if name is None:
        raise InputError(f"the examples give none of the figures {', '.join(PRIMARY)}")
    return name


def _table(data: str | Path, options: Options) -> list[Any]:
    """Label and text of each row, and what comes before or after the text."""
    columns = (options.label, options.query, options.text, options.text_pair)
    return read_columns(data, [column for column in columns if column is not None])


def _labels(model: Model, rows: Sequence[Any], options: Options, progress: Told) -> dict[str, Any]:
    texts = [row[1:] if options.text_pair else row[1] for row in rows]
    return evaluate(model, texts, [row[0] for row in rows], progress)


def _entities(model: Model, rows: Sequence[Any], _: Options, progress: Told) -> dict[str, Any]:
    return evaluate_entities(model, [words for words, _ in rows], [tags for _, tags in rows], progress)


def _answers(model: Model, rows: Sequence[Any], _: Options, progress: Told) -> dict[str, Any]:
    questions = [(question, context) for question, context, _ in rows]
    return evaluate_answers(model, questions, [right for _, _, right in rows], progress)


def _masks(model: Model, rows: Sequence[Any], _: Options, progress: Told) -> dict[str, Any]:
    return evaluate_masks(model, [text for _, text in rows], [word for word, _ in rows], progress)


def _zero_shot(model: Model, rows: Sequence[Any], options: Options, progress: Told) -> dict[str, Any]:
    texts, truth = [text for _, text in rows], [label for label, _ in rows]
    candidates = None if options.labels is None else listed(options.labels)
    return evaluate_zero_shot(model, texts, truth, candidates, options.template or TEMPLATE, progress)


def _ranking(model: Model, rows: Sequence[Any], _: Options, progress: Told) -> dict[str, Any]:
    grades, queries, documents = zip(*rows, strict=True)
    return evaluate_ranking(model, queries, documents, grades, progress)


_COLUMNS = ("text", "label")
#: Kinds of models that rank.
RANKERS = ("text-classification", "sentence-embedding", "multi-vector")
TASKS = {
    "text-classification": Measured(("text-classification",), _COLUMNS, ("text_pair",), _table, _labels),
    "sentence-embedding": Measured(("sentence-embedding",), _COLUMNS, ("text_pair",), _table, _labels),
    "token-classification": Measured(("token-classification",), (), (), lambda data, _: read_conll(data), _entities),
    "question-answering": Measured(("question-answering",), (), (), lambda data, _: read_questions(data), _answers),
    "fill-mask": Measured(("fill-mask",), _COLUMNS, (), _table, _masks),
    "zero-shot-classification": Measured(
        ("text-classification",), _COLUMNS, ("labels", "template"), _table, _zero_shot
    ),
    "reranking": Measured(RANKERS, ("query", *_COLUMNS), (), _table, _ranking),
}
