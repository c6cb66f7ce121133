"""A classifier of one's own on the vectors of a model that stays as it is, out of a few examples: `Model.fit`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from minibert import options
from minibert.errors import InputError, UnsupportedError
from minibert.format import HeadLayer, Linear, model_bytes, pack_float32, pack_int8, padded
from minibert.format.constants import MAX_LABELS
from minibert.format.schema import Config, Task
from minibert.regression import Regression, fit, folds_of
from minibert.tasks.scores import softmax
from minibert.tasks.sentence_embedding import SentenceEmbedding
from minibert.text.inputs import many
from minibert.text.packing import BATCH_SIZE

#: How much examples count against the penalty, if the caller does not say: vectors of length 1 need large weights.
DEFAULT_C = 10.0
#: Parts of the examples of which each is answered by what the others taught.
DEFAULT_FOLDS = 5
#: Numbers that are asked for lie between these: float32 has none that are much smaller or larger.
_LEAST, _MOST = 1e-30, 1e30
#: What a text is called that no label fits.
OTHER = "other"

ClassWeight = Mapping[str, float] | Literal["balanced"] | None


class Fitting(SentenceEmbedding):
    """What a sentence-embedding model does that learns labels."""

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        *,
        C: float = DEFAULT_C,
        class_weight: ClassWeight = None,
        other_below: float | None = None,
        other: str = OTHER,
        folds: int = DEFAULT_FOLDS,
        batch_size: int = BATCH_SIZE,
    ) -> Any:
        """A text-classification model: this one, which stays as it is, and a linear classifier of its vectors.

        The classifier is scikit-learn's LogisticRegression, found by NumPy alone: in seconds for thousands of examples.
        No prompt is put before texts, and all numbers of their vectors are read.

        Args:
            texts: the examples.
            labels: a text, which must not be empty, or a whole number for each; two different ones at least.
            C: how much the examples count against the penalty on large weights, as in scikit-learn.
            class_weight: what the examples of each label count: "balanced" for as much together as those of any other,
                or numbers by label, 1 where there is none; None for 1 each.
            other_below: a text whose best label is less probable than this is called `other` by `predict`, unless
                `top_k` asks for labels; None for no such thing.
            other: what it is called.
            folds: parts for the cross-validated score; fewer where a label has fewer examples, and 0 for no score.
            batch_size: texts in one pass through the engine, at most.

        Returns:
            A `Model` in memory, to ask and to `save`. `config.report["fit"]` says how good it is: "accuracy" of
            examples that each were answered by what the other parts taught, None where there is no score; with
            `other_below` "kept", the share of them that got a label, and "accuracy_of_kept".

        Raises:
            InputError: texts and labels are not as many, are no texts, or an option makes no sense.
            UnsupportedError: the model makes no vectors of sentences.
        """
        self.need("sentence-embedding")
        if self.config.architecture.pooling == "none":
            raise UnsupportedError(f"{self.path.name} has no pooling, so a text has no one vector")
        C = options.number("C", C, _LEAST, _MOST)
        folds = options.integer("folds", folds, 0)
        below = 0.0 if other_below is None else options.number("other_below", other_below, 0, 1)
        if not isinstance(other, str) or not _is_name(other):
            raise InputError(f"other must be a name, got {other!r}")
        items = list(many(texts, pair=False))
        names, classes = _classes(labels, len(items))
        weights = _weights(class_weight, names, classes)
        vectors = cast(
            np.ndarray, self.encode(items, prompt="", batch_size=batch_size, truncate_dim=self.engine.out_features)
        )
        found = fit(vectors, classes, len(names), C=C, weights=weights)
        report: dict[str, Any] = {"examples": len(items), "labels": len(names), "C": C, "converged": found.converged}
        report |= _cross_validated(vectors, classes, weights, len(names), C, folds, below)
        config, tensors = with_classifier(self.config, self._file.tensors, found, names, below, other)
        config = replace(config, report={**config.report, "fit": report})
        return self._opened(model_bytes(config, tensors))


def _classes(labels: Any, count: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the labels, sorted, and the number of each example's: intp [count]."""
    if (
        isinstance(labels, (str, bytes, Mapping, Set))  # a set has no order
        or not isinstance(labels, Iterable)
        or hasattr(type(labels), "columns")
    ):
        raise InputError(f"labels must be a list of them, got {type(labels).__name__}")
    given = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if len(given) != count:
        raise InputError(f"{count} texts need as many labels, got {len(given)}")
    for place, each in enumerate(given):
        if isinstance(each, (bool, np.bool_)) or not isinstance(each, (str, int, np.integer)):
            raise InputError(f"a label must be a text or a whole number, got {type(each).__name__} at index {place}")
        if not _is_name(_name(each)):
            raise InputError(f"a label must be a name, got {each!r} at index {place}")
    found, classes = np.unique(np.array([_name(each) for each in given], object), return_inverse=True)
    names = tuple(found.tolist())
    if len(names) < len(set(given)):
        raise InputError("labels must be all texts or all numbers: one of them is both, and would be one label")
    if not 2 <= len(names) <= MAX_LABELS:
        raise InputError(f"examples must have from 2 to {MAX_LABELS} different labels, got {len(names)}")
    return names, classes.reshape(-1)


def _name(label: Any) -> str:
    """A label as a file has it; of a member of an enumeration its value."""
    return str.__str__(label) if isinstance(label, str) else str(int(label))


def _is_name(text: str) -> bool:
    """Whether a file can hold this as the name of something: not empty, nor half a surrogate pair."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _weights(class_weight: ClassWeight, names: tuple[str, ...], classes: np.ndarray) -> np.ndarray | None:
    """What each example counts: float64 [examples]; None for 1."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        return (len(classes) / (len(names) * np.bincount(classes)))[classes]
    if not isinstance(class_weight, Mapping):
        raise InputError(f'class_weight must be "balanced", None, or numbers by label, got {class_weight!r}')
    given = {_name(name) if isinstance(name, (str, int)) else str(name): value for name, value in class_weight.items()}
    options.refuse_unknown(given, names)
    counts = [options.number(f"class_weight of {name!r}", given.get(name, 1.0), _LEAST, _MOST) for name in names]
    return np.array(counts)[classes]


def _cross_validated(
    vectors: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray | None,
    count: int,
    C: float,
    folds: int,
    below: float,
) -> dict[str, Any]:
    """What is right of the examples when each is answered by a classifier that did not see it."""
    folds = min(folds, int(np.bincount(classes).min()))
    if folds < 2:
        return {"folds": 0, "accuracy": None}
    fold = folds_of(classes, folds)
    logits = np.empty((len(classes), count), np.float32)
    for number in range(folds):
        learnt, asked = fold != number, fold == number
        part = None if weights is None else weights[learnt]
        found = fit(vectors[learnt], classes[learnt], count, C=C, weights=part)
        logits[asked] = found.logits(vectors[asked])
    right = logits.argmax(axis=1) == classes
    score: dict[str, Any] = {"folds": folds, "accuracy": float(right.mean())}
    if below:
        kept = softmax(logits).max(axis=1) >= below
        score |= {"kept": float(kept.mean()), "accuracy_of_kept": float(right[kept].mean()) if kept.any() else None}
    return score


def with_classifier(
    config: Config,
    tensors: Mapping[str, np.ndarray],
    found: Regression,
    names: tuple[str, ...],
    below: float,
    other: str,
) -> tuple[Config, dict[str, np.ndarray]]:
    """A model's config and tensors with a classifier behind its vectors.

    Its matrix is int8 where the model has integers, whose answers have the same bits everywhere; otherwise float32.
    """
    architecture = config.architecture
    taken = {layer.name for layer in architecture.head}
    name = next(each for each in ("head.output", *(f"head.output.{n}" for n in range(99))) if each not in taken)
    head = architecture.head
    if architecture.normalize:  # which comes after the head, and now has to come before its last layer
        head = (*head, HeadLayer(f"{name.replace('output', 'normalize')}", kind="normalize"))
    architecture = replace(architecture, head=(*head, HeadLayer(name)), normalize=False, token_heads=())
    exact = all(part.kind.startswith("float32") for part in (*config.linears.values(), *config.tables.values()))
    inputs, outputs = found.weight.shape[1], len(names)
    weight = np.pad(found.weight, ((0, 0), (0, padded(inputs) - inputs)))
    tensors = {each: value for each, value in tensors.items() if not each.startswith("tokens.")}
    tensors[f"{name}.bias"] = np.pad(found.bias, (0, padded(outputs) - outputs))
    if exact:
        tensors[f"{name}.weight"] = pack_float32(weight)
    else:
        scale = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(127)
        codes = np.rint(weight / scale[:, None]).astype(np.int8)
        more = (0, padded(outputs) - outputs)
        tensors[f"{name}.weight"] = pack_int8(codes)
        tensors[f"{name}.weight_sum"] = np.pad(codes.sum(axis=1, dtype=np.int32), more)
        tensors[f"{name}.scale"] = np.pad(scale, more)
    linears = {each: value for each, value in config.linears.items() if not each.startswith("tokens.")}
    linears[name] = Linear("float32" if exact else "int8", padded(inputs), outputs)
    task = Task("text-classification", names, "single_label")
    if below:
        task = replace(task, other=other, other_below=below)
    return replace(config, architecture=architecture, task=task, linears=linears), tensors
