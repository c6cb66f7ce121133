"""A linear classifier of scikit-learn, read from its pickle without running it: what SetFit stores beside an encoder.

The pickle, be it pickle's own or joblib's, which puts the elements of arrays between its operations, is read by the
machine of `pickled`: names stay names, objects are records of their attributes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.values import shown
from minibert_converter.checkpoints.pickled import OPERATIONS, Machine, Name
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.network import Float32Array

MAX_BYTES = 64 << 20
CLASSIFIERS = ("LogisticRegression", "LogisticRegressionCV")
#: Kinds of elements that are understood: numbers and text.
_KINDS = "fiubU"


@dataclass(frozen=True)
class LinearClassifier:
    """Classes and their linear scores, of which the softmax are the probabilities.

    Attributes:
        classes: what the classifier was trained on.
        weight: float32 [classes, features].
        bias: float32 [classes].
    """

    classes: list[Any]
    weight: Float32Array
    bias: Float32Array


def read_linear_classifier(path: Path) -> LinearClassifier:
    """Reads a logistic regression.

    Raises:
        CheckpointError: the file is no pickle, or its arrays do not go together.
        UnsupportedError: it holds another kind of estimator.
    """
    with refusing(path):
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_BYTES} bytes, the limit")
        try:
            made = _Estimators().run(io.BytesIO(path.read_bytes()))
        except UnpicklingError as error:
            raise UnsupportedError(f"{path}: not a classifier that can be read without running it: {error}") from error
        kind = made.name if isinstance(made, _Object) else type(made).__name__
        if not isinstance(made, _Object) or made.name.name not in CLASSIFIERS:
            called = f"{kind.module}.{kind.name}" if isinstance(kind, Name) else kind
            raise UnsupportedError(
                f"{path}: holds {shown(called)}; supported are {', '.join(CLASSIFIERS)} of scikit-learn"
            )
        return _classifier(path, made.attributes)


def _classifier(path: Path, attributes: Mapping[str, Any]) -> LinearClassifier:
    arrays = [attributes.get(name) for name in ("classes_", "coef_", "intercept_")]
    if not all(isinstance(array, _Array) for array in arrays):
        raise CheckpointError(f"{path}: has no arrays classes_, coef_ and intercept_; the classifier was never trained")
    classes, weight, bias = (array.values for array in arrays if isinstance(array, _Array))
    weight, bias = np.asarray(weight, np.float64), np.asarray(bias, np.float64)
    rows = 1 if len(classes) == 2 else len(classes)
    most = np.finfo(np.float32).max
    fits = (np.abs(weight) < most).all() and (np.abs(bias) < most).all()  # which nothing is that is not finite
    if weight.ndim != 2 or len(weight) != rows or bias.shape != (rows,) or not fits:
        raise CheckpointError(f"{path}: coef_ {weight.shape} and intercept_ {bias.shape} of {len(classes)} classes")
    one_vs_rest = attributes.get("multi_class") == "ovr" or attributes.get("solver") == "liblinear"
    if one_vs_rest and len(classes) > 2:
        raise UnsupportedError(
            f"{path}: a classifier of one class against the rest; only multinomial ones are supported"
        )
    if len(classes) == 2:  # the sigmoid of z is the softmax of -z/2 and z/2
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearClassifier(list(classes), weight.astype(np.float32), bias.astype(np.float32))


@dataclass(slots=True)
class _Type:
    """A NumPy type."""

    code: str
    order: str = "<"


@dataclass(slots=True)
class _Array:
    """An array, once it is whole."""

    values: Any = None


@dataclass(slots=True)
class _Object:
    """An object of any class: its name, and its attributes."""

    name: Name
    attributes: dict[str, Any] = field(default_factory=dict)


class _Estimators(Machine):
    """A machine that knows arrays besides, and takes every other call for an object without contents."""

    operations: Mapping[str, Callable[[Any, Any], None]] | None = {
        **{name: operation for name, operation in OPERATIONS.items() if name != "BINPERSID"},
        **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), Machine.push),
        "NEWOBJ": lambda machine, _: machine.make(machine.stack.pop()),
    }

    def look_up(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("it names something by what is no text")
        self.push(Name(module, name))

    def make(self, _arguments: Any) -> None:
        name = self.stack.pop()
        self.push(_Object(name if isinstance(name, Name) else Name("", "")))

    def reduce(self, arguments: Any) -> None:
        name = self.stack.pop()
        match name, arguments:
            case Name(name="_reconstruct"), _:
                self.push(_Array())
            case Name(module="numpy", name="dtype"), (str(code), *_):
                self.push(_Type(code))
            case Name(), tuple():
                self.push(_Object(name))
            case _:
                raise UnpicklingError("it calls something that has no name")

    def add_to_list(self, values: Any) -> None:
        if not isinstance(self.stack[-1], list):
            raise UnpicklingError("it adds to something that is no list")
        self.stack[-1].extend(values if isinstance(values, list) else [values])

    def set_items(self, items: list[Any]) -> None:
        self.check_items(items)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) in (str, int):  # nothing else is ever hashed
                self.stack[-1][key] = value

    def build(self, state: Any) -> None:
        match self.stack[-1], state:
            case _Type() as kind, (_, str(order), *_):
                kind.order = order
            case _Array() as array, (_, tuple(shape), _Type() as kind, fortran, data):
                array.values = _elements(kind, shape, bool(fortran), data)
            case _Object(name=Name(name="NumpyArrayWrapper")), dict():
                self.stack[-1] = self._behind(state)
            case _Object() as made, dict():
                made.attributes.update((key, value) for key, value in state.items() if isinstance(key, str))
            case _Object(), _:
                pass
            case _:
                raise UnpicklingError("it sets attributes of something that has none")

    def _behind(self, wrapper: dict[str, Any]) -> _Array:
        """The array whose elements lie in the file behind joblib's description of it."""
        kind, shape = wrapper.get("dtype"), wrapper.get("shape")
        if not isinstance(kind, _Type) or not isinstance(shape, tuple) or self.file is None:
            raise UnpicklingError("an array's record is malformed")
        if kind.code.startswith("O"):
            inner = _Estimators().run(self.file)
            return inner if isinstance(inner, _Array) else _Array()
        if wrapper.get("numpy_array_alignment_bytes"):
            self.file.read(self.file.read(1)[0])
        data = self.file.read(_count(shape) * np.dtype(_code(kind)).itemsize)
        return _Array(_elements(kind, shape, wrapper.get("order") == "F", data))


def _code(kind: _Type) -> str:
    if kind.code[:1] not in _KINDS or not kind.code[1:].isdigit():
        raise UnpicklingError(f"an array of elements {shown(kind.code)}")
    return ("" if kind.order == "|" else kind.order) + kind.code


def _count(shape: tuple[Any, ...]) -> int:
    if len(shape) > 2 or any(type(size) is not int or not 0 <= size <= MAX_BYTES for size in shape):
        raise UnpicklingError(f"an array of sizes {shape!r:.80}")
    return math.prod(shape)


def _elements(kind: _Type, shape: tuple[Any, ...], fortran: bool, data: Any) -> Any:
    """The elements of an array; of one of objects those that are text or numbers."""
    count = _count(shape)
    if isinstance(data, list):
        if len(data) != count or len(shape) != 1:
            raise UnpicklingError("an array's elements are not as many as its sizes say")
        return [value if isinstance(value, (str, int, float)) else "" for value in data]
    if not isinstance(data, bytes) or len(data) != count * np.dtype(_code(kind)).itemsize:
        raise UnpicklingError("an array's elements are not as many as its sizes say")
    return np.frombuffer(data, _code(kind)).reshape(shape, order="F" if fortran else "C")
