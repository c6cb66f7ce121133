"""MinibertEncoder: texts to vectors as a step of a pipeline of scikit-learn, which it does not import by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from minibert import options
from minibert.errors import InputError
from minibert.forking import unforked
from minibert.model import Model
from minibert.tasks.vectors import checked_precision, needs_ranges, no_ranges
from minibert.text.inputs import many

#: What can be set, by name, in the order of the constructor.
PARAMETERS = (
    "model",
    "normalize_embeddings",
    "truncate_dim",
    "prompt_name",
    "prompt",
    "precision",
    "batch_size",
    "threads",
)


class MinibertEncoder:
    """A transformer of scikit-learn: texts to the vectors of a sentence-embedding model, which learns nothing.

    The model is opened when the first text comes, once in each process: copies, clones and pickles hold its path. What
    is set is proven then, as scikit-learn has it.

    Args:
        model: what `minibert.load` opens, or a `Model`.
        normalize_embeddings: as of `Model.encode`, as are all but the last.
        truncate_dim: how many numbers of each vector to keep.
        prompt_name: which of the model's prompts to put before each text.
        prompt: a text to put before each text.
        precision: "float32", "binary" or "ubinary".
        batch_size: texts in one pass through the engine, at most.
        threads: as of `minibert.load`; None for a `Model`, which has its own.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Model,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        precision: str = "float32",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        self.model: Any = model
        self.normalize_embeddings: bool = normalize_embeddings
        self.truncate_dim: int | None = truncate_dim
        self.prompt_name: str | None = prompt_name
        self.prompt: str | None = prompt
        self.precision: str = precision
        self.batch_size: int = batch_size
        self.threads: int | None = threads

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What was set, by name; `deep` changes nothing, as there are no estimators within."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def set_params(self, **given: Any) -> MinibertEncoder:
        """Set some of the parameters.

        Raises:
            InputError: there is none of that name.
        """
        options.refuse_unknown(given, PARAMETERS)
        for name, value in given.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Iterable[str], y: Any = None) -> MinibertEncoder:
        """Nothing is learnt; what was set is proven.

        Raises:
            InputError: a parameter makes no sense.
            UnsupportedError: the model makes no vectors of sentences.
        """
        self.transform([])
        return self

    def transform(self, X: Iterable[str]) -> np.ndarray:
        """Vectors of texts: float32 [texts, dim], or bytes [texts, dim / 8] for the binary kinds.

        Args:
            X: texts: a list, an array, a column.

        Raises:
            InputError: they are no texts, or a parameter makes no sense.
            UnsupportedError: the model makes no vectors of sentences.
        """
        precision = checked_precision(self.precision)
        if needs_ranges(precision):  # what it makes of a text must not depend on the texts beside it
            raise no_ranges(precision)
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:  # a column of a table
            X = X.reshape(-1)
        return self._model().encode(
            many(X, pair=False),
            self.prompt_name,
            self.prompt,
            self.batch_size,
            precision=precision,
            normalize_embeddings=self.normalize_embeddings,
            truncate_dim=self.truncate_dim,
        )

    def fit_transform(self, X: Iterable[str], y: Any = None) -> np.ndarray:
        """`transform`: nothing is learnt."""
        return self.transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns: object [columns]."""
        columns = self.transform([]).shape[1]
        return np.array([f"minibert{number}" for number in range(columns)], object)

    def _model(self) -> Model:
        if isinstance(self.model, Model):
            if self.threads is not None:
                raise InputError("threads are for a model that is to be opened")
            return self.model
        opened = self.__dict__.get("_opened")
        if opened is None or opened[0] is not self.model or opened[1] != self.threads:  # which may be set at any time
            opened = self._opened = (self.model, self.threads, Model(self.model, threads=self.threads))
        return opened[2]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of a step: that it takes texts, and need not be fitted."""
        with unforked():
            from importlib import import_module

            try:
                utils = import_module("sklearn.utils")
            except ImportError as error:
                raise InputError(f"these are tags of scikit-learn, which cannot be imported ({error})") from None
        return utils.Tags(
            estimator_type=None,
            target_tags=utils.TargetTags(required=False),
            transformer_tags=utils.TransformerTags(),
            input_tags=utils.InputTags(two_d_array=False, string=True),
            requires_fit=False,
        )

    def __repr__(self) -> str:
        return f"MinibertEncoder({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"
