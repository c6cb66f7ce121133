"""How far a figure depends on which examples there are: the same figure without each of some groups of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from minibert.errors import InputError
from minibert.evaluate.examples import Options, primary, read_examples
from minibert.model import Model
from minibert.progress import Progress

#: Groups that are left out, one after another: the error of an estimated spread is then about a tenth of it.
GROUPS = 50


class Spread(NamedTuple):
    """A figure, and how it spreads.

    Attributes:
        name: of the figure by which the model is judged, such as "accuracy".
        whole: on all examples.
        without: on all but one group of them, for each group; the same groups for every model. None can be left out
            of a single example.
        examples: how many there are; for rankings queries.
    """

    name: str
    whole: float
    without: tuple[float, ...]
    examples: int


def evaluate_spread(
    model: Model, data: str | Path, options: Options, *, task: str | None = None, progress: Progress | None = None
) -> Spread:
    """Answer the examples of a file once, and judge the answers with and without each group of examples.

    Takes and raises what `evaluate_file` does; documents of one query stay together.
    """
    measured, rows, options = read_examples(data, options, model.task.kind, task)
    model.need(*measured.kinds)
    progress = Progress(None) if progress is None else progress
    progress.total = len(rows)
    answered = cast(Model, _Answered(model))
    figures = measured.measure(answered, rows, options, progress.update)
    name = primary(figures)
    units = [row[1] if options.query is not None else number for number, row in enumerate(rows)]
    without = []
    for left in _without_each(units):
        try:
            without.append(measured.measure(answered, [rows[place] for place in left], options, _quiet)[name])
        except InputError:  # nothing to judge by is left, such as one query of all
            return Spread(name, figures[name], (), len(set(units)))
    return Spread(name, figures[name], tuple(without), len(set(units)))


def _quiet(_: int) -> None:
    """Nobody is told: no text is answered again."""


def _without_each(units: Sequence[Hashable]) -> Iterator[list[int]]:
    """Places of all examples but those of a group of units, for each group; what belongs together has one unit."""
    names = list(dict.fromkeys(units))
    groups = min(GROUPS, len(names))
    if groups < 2:
        return
    order = np.random.default_rng(0).permutation(len(names))
    group_of = {names[place]: number % groups for number, place in enumerate(order)}
    for group in range(groups):
        yield [place for place, unit in enumerate(units) if group_of[unit] != group]


class _Answered:
    """A model that answers each question once, and says the same when it is asked again."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[Hashable, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def iter_predict(self, inputs: Iterable[Any], **asked: Any) -> Iterator[Any]:
        return self._answers(lambda new: self._model.iter_predict(new, **asked), inputs, ("predict", repr(asked)))

    def iter_encode(self, inputs: Iterable[Any], **asked: Any) -> Iterator[Any]:
        return self._answers(lambda new: self._model.iter_encode(new, **asked), inputs, ("encode", repr(asked)))

    def similarity_pairwise(self, first: np.ndarray, second: np.ndarray) -> Any:
        key = ("similarity", first.tobytes(), second.tobytes())
        if key not in self._known:
            self._known[key] = self._model.similarity_pairwise(first, second)
        return self._known[key]

    def rank(self, query: str, documents: Sequence[str]) -> Any:
        key = ("rank", query, tuple(documents))
        if key not in self._known:
            self._known[key] = self._model.rank(query, documents)
        return self._known[key]

    def _answers(
        self, ask: Callable[[list[Any]], Iterable[Any]], inputs: Iterable[Any], kind: tuple[str, str]
    ) -> Iterator[Any]:
        """Answers in order; where one is not known all are asked for, in one stream."""
        wanted = list(inputs)
        if all((kind, each) in self._known for each in wanted):
            yield from (self._known[kind, each] for each in wanted)
            return
        for each, answer in zip(wanted, ask(wanted), strict=True):
            self._known[kind, each] = answer
            yield answer
