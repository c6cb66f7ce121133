"""config.json of a checkpoint, read by a family's table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import MAX_ROTARY_BASE, MAX_VOCAB_SIZE, Activation, Pooling, ProblemType
from minibert_converter.checkpoints.json_file import read_json

PROBLEM_TYPES: dict[str, ProblemType] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}


#: transformers' names of activations -> ours. The three names of the tanh approximation differ only in rounding.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swiglu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


@dataclass(frozen=True)
class Key:
    """A key of config.json.

    Attributes:
        name: the checkpoint's name of it.
        default: what transformers takes when the key is absent; None where there is no sensible one.
        older: what it is called in older checkpoints.
    """

    name: str
    default: Any = None
    older: str | None = None


class ConfigFile:
    """The values of one config.json, with errors that name the file and the key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = read_json(path)

    def value(self, key: Key) -> Any:
        """The value of a key under its name or its older one, or the default."""
        if key.older is not None and key.name not in self.values and key.older in self.values:
            return self.values[key.older]
        return self.values.get(key.name, key.default)

    def text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def size(self, key: Key, least: int = 1, most: int = MAX_VOCAB_SIZE) -> int:
        """A whole number from `least` to `most`."""
        value = self.value(key)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key.name, f"a whole number from {least} to {most}")
        return value

    def layer_norm_eps(self, key: Key) -> float:
        """A small number, not negative."""
        value = self.value(key)
        if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value < 1):
            raise self.wrong(key.name, "a small number that is not negative")
        return float(value)

    def activation(self, key: Key | Activation) -> Activation:
        """An activation, where a family leaves it to config.json.

        Raises:
            UnsupportedError: the kernels do not have it.
        """
        if not isinstance(key, Key):
            return key
        value = self.value(key)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise UnsupportedError(f"{self.path}: {key.name} is {value!r}; supported are {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def pooling(self, key: Key | Pooling) -> Pooling:
        """How a classifier makes one row of a text, where a family leaves it to config.json.

        Raises:
            UnsupportedError: there is no such pooling.
        """
        if not isinstance(key, Key):
            return key
        value = self.value(key)
        if value not in ("cls", "mean"):
            raise UnsupportedError(f"{self.path}: {key.name} is {value!r}; supported are cls, mean")
        return value

    def rotary_base(self, kind: str | None, older: str, default: float) -> float:
        """The base of rotary position embeddings.

        Args:
            kind: the entry of rope_parameters that is for some layers only; None where one is for all.
            older: what the key was called before there were rope_parameters.
            default: where the checkpoint does not say.

        Raises:
            UnsupportedError: positions are scaled as well.
        """
        parameters = self.values.get("rope_parameters") or {}
        if kind is not None and isinstance(parameters, dict):
            parameters = parameters.get(kind) or {}
        if not isinstance(parameters, dict):
            raise self.wrong("rope_parameters", "an object")
        scaled = self.values.get("rope_scaling") or parameters.get("rope_type", "default") != "default"
        if scaled:
            raise UnsupportedError(
                f"{self.path}: rotary positions that are scaled (rope_type, rope_scaling) are not supported"
            )
        value = parameters.get("rope_theta", self.values.get(older)) or default
        if type(value) not in (int, float) or not 1 < value <= MAX_ROTARY_BASE:
            raise self.wrong("rope_parameters" if parameters else older, "a base above 1")
        return float(value)

    def architectures(self) -> list[str]:
        """The classes of transformers that the checkpoint was saved from; may be empty."""
        value = self.values.get("architectures") or []
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.wrong("architectures", "an array of strings")
        return value

    def labels(self, count: int) -> tuple[str, ...]:
        """The names of `count` outputs in order; LABEL_0, LABEL_1, ... where the checkpoint names none.

        Raises:
            CheckpointError: id2label does not name exactly these outputs.
        """
        names = self.values.get("id2label")
        if names is None:
            return tuple(f"LABEL_{index}" for index in range(count))
        if not isinstance(names, dict) or set(map(str, names)) != {str(index) for index in range(count)}:
            raise self.wrong(
                "id2label", f"an object with one name for each of the classifier's {count} outputs, from 0"
            )
        return tuple(str(names[str(index)]) for index in range(count))

    def problem_type(self) -> ProblemType | None:
        """What the outputs of a classifier mean, or None where the checkpoint does not say."""
        value = self.text("problem_type")
        if value is None:
            return None
        if value not in PROBLEM_TYPES:
            raise self.wrong("problem_type", "one of " + ", ".join(PROBLEM_TYPES))
        return PROBLEM_TYPES[value]

    def score_of_one_output(self, function: str | None) -> ProblemType:
        """What a classifier of one output, such as a cross-encoder, means where problem_type does not say.

        Both transformers and sentence-transformers take the sigmoid; the latter unless it noted that there is to be
        no function: in `function`, or in older folders here.
        """
        own = self.values.get("sentence_transformers")
        function = function or (own.get("activation_fn") if isinstance(own, dict) else None)
        function = function or self.values.get("sbert_ce_default_activation_function")
        return "regression" if isinstance(function, str) and function.endswith(".Identity") else "multi_label"

    def refuse_other_networks(self, must_be: Mapping[str, Any]) -> None:
        """Checks the keys that would change what the network computes: each must have its one value, or not be there.

        Raises:
            UnsupportedError: one of them has a value that is not understood.
        """
        for name, value in must_be.items():
            if self.values.get(name, value) != value:
                raise UnsupportedError(f"{self.path}: {name} is {self.values[name]!r}; only {value!r} is supported")
        if self.values.get("quantization_config"):
            raise UnsupportedError(
                f"{self.path}: the checkpoint is already quantized; convert the one it was made from"
            )

    def wrong(self, name: str, expected: str) -> CheckpointError:
        """An error that says what `name` should have been."""
        value = repr(self.values.get(name))
        return CheckpointError(f"{self.path}: {name} is {value[:80]}, but must be {expected}")
