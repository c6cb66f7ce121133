"""`pipeline`, as transformers has it: the options of a task set once, and answers in its exact shapes.

    from minibert.compat.transformers import pipeline

    classify = pipeline("text-classification", "model.safetensors", top_k=2)

`Model.predict` gives one answer for one input; a pipeline wraps some of them into lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minibert import options
from minibert.errors import InputError
from minibert.model import LOAD_OPTIONS, Model
from minibert.tasks import ALIASES
from minibert.tasks.base import Source
from minibert.tasks.tensors import as_tensor

#: Arguments of transformers' `pipeline` that change nothing here.
_HARMLESS = {
    "framework": ("pt", None),
    "tokenizer": (None,),
    "config": (None,),
    "revision": (None,),
    "use_fast": (True, None),
    "token": (None,),
    "device_map": (None,),
    "dtype": (None, "auto"),
    "torch_dtype": (None, "auto"),
    "trust_remote_code": (None, False),
    "model_kwargs": (None, {}),
}


def pipeline(task: str | None = None, model: Source | Model | None = None, **given: Any) -> Pipeline:
    """A model that is called as a pipeline of transformers.

    Args:
        task: "text-classification" ("sentiment-analysis"), "token-classification" ("ner"), "question-answering",
            "fill-mask", "zero-shot-classification" or "feature-extraction"; None for the file's own.
        model: a model, or what `minibert.load` opens.
        given: options of the task, for all calls; of `minibert.load`; and arguments of transformers that change
            nothing here.

    Raises:
        InputError: no model, a task that the file is not for, or an argument that asks for something else.
    """
    if model is None:
        raise InputError("pipeline needs a model: the file that `minibert convert` wrote")
    loaded = {name: given.pop(name) for name in LOAD_OPTIONS if name in given}
    for name, values in _HARMLESS.items():
        if name in given and (value := given.pop(name)) not in values:
            raise InputError(f"pipeline takes no {name} but {values[0]!r}, got {value!r}: a file has everything")
    if isinstance(model, Model):
        if loaded:
            raise InputError(f"{', '.join(loaded)} are for a model that is to be opened")
        return Pipeline(task, model, given)
    return Pipeline(task, Model(model, **loaded), given)


class Pipeline:
    """What `pipeline` gives.

    Args:
        task: which one; None for the model's own.
        model: what answers.
        given: options for all calls.

    Attributes:
        task: which one.
        model: what answers.
    """

    def __init__(self, task: str | None, model: Model, given: Mapping[str, Any]) -> None:
        own = {"sentence-embedding": "feature-extraction"}.get(model.task.kind, model.task.kind)
        task = own if task is None else ALIASES.get(task, task)
        if task not in _TASKS:
            raise InputError(f"there is no task {task!r}: there are {', '.join(sorted((*_TASKS, *ALIASES)))}")
        needed = {"zero-shot-classification": "text-classification"}.get(task, task)
        if task != "feature-extraction" and needed != model.task.kind:
            model.need(needed)  # pyright: ignore[reportArgumentType]
        self.task = task
        self.model = model
        self._given = {name: value for name, value in given.items() if name != "device"}
        options.own({"device": given.get("device")}, ())

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.model.tokenizer

    def __call__(self, *inputs: Any, **given: Any) -> Any:
        """Answers, in the shapes of transformers.

        Args:
            inputs: what the task reads; a generator gives a generator.
            given: options of the task, beside and before those of the pipeline.

        Raises:
            InputError: inputs or options that the task does not take.
        """
        options = {**self._given, **given}
        if len(inputs) == 1 and isinstance(inputs[0], Iterator):
            return self._lazily(inputs[0], options)
        found = _TASKS[self.task](self.model, inputs, options)
        # One text gives a list with its label, or with its labels; unless the call says how many: as transformers.
        listed = self.task == "text-classification" and bool(inputs) and isinstance(inputs[0], str)
        return [found] if listed and "top_k" not in given else found

    def predict(self, *inputs: Any, **given: Any) -> Any:
        """The same as a call."""
        return self(*inputs, **given)

    def _lazily(self, inputs: Iterator[Any], given: dict[str, Any]) -> Iterator[Any]:
        if self.task == "feature-extraction":
            return (_extract(self.model, (each,), dict(given)) for each in inputs)
        if self.task == "text-classification":
            _all_scores(given)
        return self.model.iter_predict(inputs, **given)


def _the_one(inputs: tuple[Any, ...], given: dict[str, Any], *names: str) -> Any:
    """The one input, by its place or one of its names."""
    found = [*inputs, *(given.pop(name) for name in names if name in given)]
    if len(found) != 1:
        raise InputError(f"this reads one input, a text or a list of them, got {len(found)}")
    return found[0]


def _some(texts: Any) -> Any:
    """Texts that are there: transformers refuses none at all."""
    if texts is None or (isinstance(texts, (list, tuple)) and not texts):
        raise InputError("At least one input is required.")
    return list(texts) if isinstance(texts, tuple) else texts


def _all_scores(given: dict[str, Any]) -> None:
    """Turns `return_all_scores` into `top_k`."""
    everything = given.pop("return_all_scores", None)
    if everything is not None and options.flag("return_all_scores", everything):
        given["top_k"] = None


def _classify(model: Model, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    texts = _the_one(inputs, given, "inputs")
    _all_scores(given)
    if isinstance(texts, (list, tuple)):
        texts = [_pair(each) if isinstance(each, (list, tuple)) else each for each in texts]
    return model.classify(texts, **given)


def _pair(item: Any) -> tuple[str, str]:
    """The old way to say a pair, a list of one list of two; a plain list of two is refused, as by transformers."""
    if len(item) == 1 and isinstance(item[0], (list, tuple)) and len(item[0]) == 2:
        return item[0][0], item[0][1]
    raise InputError('a pair is {"text": ..., "text_pair": ...}')


def _tag(model: Model, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    texts = _some(_the_one(inputs, given, "inputs"))
    strategy = given.get("aggregation_strategy")
    if strategy is not None and not isinstance(strategy, str):
        given["aggregation_strategy"] = getattr(strategy, "value", strategy)  # an enumeration there
    if given.get("ignore_labels", ()) is None:
        del given["ignore_labels"]
    if given.get("is_split_into_words") and all(isinstance(each, str) for each in texts):
        return [model.classify_tokens(texts, **given)]
    return model.classify_tokens(texts, **given)


def _answer(model: Model, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    question, context = given.pop("question", None), given.pop("context", None)
    if "max_seq_len" in given:
        given["max_length"] = given.pop("max_seq_len")
    if "topk" in given:
        given["top_k"] = given.pop("topk")
    if len(inputs) == 2 and question is None and context is None:
        question, context = inputs
    elif len(inputs) == 1:
        asked = _some(inputs[0])
        if isinstance(asked, str):
            question = asked
        else:
            many = [asked] if isinstance(asked, Mapping) else list(asked)
            for each in many:
                if isinstance(each, Mapping):
                    _filled(each.get("question"), each.get("context"))
            found = model.answer(many, **given)
            return found[0] if len(found) == 1 else found
    for each in zip(_as_list(question), _as_list(context), strict=False):
        _filled(*each)
    return model.answer(question=question, context=context, **given)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _filled(question: Any, context: Any) -> None:
    for name, value in (("question", question), ("context", context)):
        if not value:
            raise InputError(f"`{name}` cannot be None or empty")


def _fill(model: Model, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    texts = _the_one(inputs, given, "inputs")
    if given.get("top_k", 1) is None:
        del given["top_k"]
    if given.get("targets", 1) is None:
        del given["targets"]
    found = model.fill_mask(texts, **given)
    return found[0] if isinstance(texts, list) and len(texts) == 1 else found


def _zero_shot(model: Model, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    if len(inputs) == 2:
        inputs, given["candidate_labels"] = inputs[:1], inputs[1]
    texts = _some(_the_one(inputs, given, "sequences"))
    if not all(texts if isinstance(texts, list) else [texts]):
        raise InputError("You must include at least one label and at least one sequence.")
    if given.get("candidate_labels") is None:
        raise InputError("candidate_labels must be one label at least")
    return model.zero_shot(texts, **given)


def _extract(model: Model, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
    texts = _the_one(inputs, given, "inputs")
    tensors = options.flag("return_tensors", given.pop("return_tensors", None) or False)
    read = dict(given.pop("tokenize_kwargs", None) or {})
    if twice := read.keys() & given.keys():
        raise InputError(f"{', '.join(sorted(twice))} given twice, once in tokenize_kwargs")
    found = model.features(texts, **read, **given)
    return _nested(found, tensors) if isinstance(found, np.ndarray) else [_nested(each, tensors) for each in found]


def _nested(rows: np.ndarray, tensors: bool) -> Any:
    """Vectors of a text's tokens as a batch of one: a tensor [1, tokens, hidden size], or lists."""
    return as_tensor(rows[None]) if tensors else rows[None].tolist()


_TASKS = {
    "text-classification": _classify,
    "token-classification": _tag,
    "question-answering": _answer,
    "fill-mask": _fill,
    "zero-shot-classification": _zero_shot,
    "feature-extraction": _extract,
}
