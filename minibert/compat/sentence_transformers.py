"""SentenceTransformer and CrossEncoder, as sentence-transformers has them: for programs that change little.

    from minibert.compat.sentence_transformers import CrossEncoder, SentenceTransformer

They differ from `Model` by what can be set once for all calls, by tensors where PyTorch is there and arrays are not
asked for, and by what `CrossEncoder.predict` means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np

from minibert import options
from minibert.compat.layer import CONSTRUCTOR, Layer, load_options
from minibert.errors import InputError, warn
from minibert.format.constants import SIMILARITIES
from minibert.format.schema import Config
from minibert.tasks.base import Source
from minibert.tasks.habits import Tokens
from minibert.tasks.tensors import as_tensor, has_torch
from minibert.tasks.vectors import Precision
from minibert.text.inputs import flat_pair, is_one


class SentenceTransformer(Layer):
    """A model for sentence embeddings, with what can be set for all calls of `encode`.

    Args:
        model_name_or_path: as of `minibert.load`, as are `threads`, `backend` and the like among `given`.
        prompts: instead of the file's prompts.
        default_prompt_name: instead of the file's.
        similarity_fn_name: instead of the file's: "cosine", "dot", "euclidean" or "manhattan".
        truncate_dim: how many numbers of each vector to keep.
        given: options of `minibert.load`, and arguments of sentence-transformers that change nothing.

    Raises:
        InputError: an argument that asks for something else than what happens, and what `minibert.load` raises.
    """

    def __init__(
        self,
        model_name_or_path: Source,
        *,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: Any = None,
        truncate_dim: int | None = None,
        **given: Any,
    ) -> None:
        known = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", *CONSTRUCTOR)
        super().__init__(model_name_or_path, **load_options(given, known))
        self.truncate_dim: int | None = None if truncate_dim is None else options.integer("truncate_dim", truncate_dim)
        self._max_seq_length: int | None = None
        if prompts is not None:
            self.prompts = prompts
        if default_prompt_name is not None:
            self.default_prompt_name = default_prompt_name
        if similarity_fn_name is not None:
            self.similarity_fn_name = similarity_fn_name

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = super().__reduce__()[:2]
        return make, arguments, {"config": self.config, "max": self._max_seq_length, "dim": self.truncate_dim}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.config = state["config"]
        self._max_seq_length, self.truncate_dim = state["max"], state["dim"]

    def _set_task(self, **changed: Any) -> None:
        self.config = replace(self.config, task=replace(self.task, **changed))

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts that may be put before each sentence, by name."""
        return self.task.prompts

    @prompts.setter
    def prompts(self, value: Mapping[str, str]) -> None:
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
            raise InputError("prompts must map names to texts")
        default = self.task.default_prompt
        self._set_task(prompts=dict(value), default_prompt=default if default in value else None)

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt that is put before each sentence unless another is named."""
        return self.task.default_prompt

    @default_prompt_name.setter
    def default_prompt_name(self, value: str | None) -> None:
        if value is not None and value not in self.prompts:
            raise InputError(f"Default prompt name {value!r} not found among the prompts {list(self.prompts)}")
        self._set_task(default_prompt=value)

    @property
    def similarity_fn_name(self) -> str:
        """What `similarity` computes."""
        return self.task.similarity

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        name = getattr(value, "value", value)  # an enumeration in sentence-transformers
        self._set_task(similarity=options.choice("similarity_fn_name", name, SIMILARITIES))

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text that are read."""
        return self.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        if value is not None:
            value = cast(int, self.pipeline.limits(max_length=value).max_length)
        self._max_seq_length = value
        self.config = _cut(self.config, self._file.config.text.max_length if value is None else value)

    def get_sentence_embedding_dimension(self) -> int:
        """Numbers in a vector of `encode`."""
        return self.dim if self.truncate_dim is None else min(self.dim, self.truncate_dim)

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Within the block `encode` keeps so many numbers of each vector."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    def is_singular_input(self, inputs: Any) -> bool:
        """Whether `encode` takes inputs for one text rather than for many."""
        if isinstance(inputs, np.ndarray):
            return not inputs.ndim or inputs.dtype.kind not in "UO"
        return not isinstance(inputs, (list, tuple))

    def encode(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: Any = None, prompt_name: str | None = None, prompt: str | None = None, *more: Any, **given: Any
    ) -> Any:
        """`Model.encode`, with `truncate_dim` and `max_seq_length` of this model.

        Returns:
            As `Model.encode`; with `convert_to_numpy=False`, and with an `output_value` that is not the sentence's
            vector, tensors of PyTorch where that can be imported, else arrays.
        """
        names = (
            *("batch_size", "show_progress_bar", "output_value", "precision", "convert_to_numpy", "convert_to_tensor"),
            *("device", "normalize_embeddings", "truncate_dim", "pool", "chunk_size"),
        )
        if len(more) > len(names):
            raise InputError(f"encode takes {3 + len(names)} arguments by their place, got {3 + len(more)}")
        given.update(zip(names, more, strict=False))
        if prompt is not None and prompt_name is not None:
            warn("both a prompt and a prompt_name are given: the prompt counts", UserWarning)
            prompt_name = None
        if prompt_name is not None and prompt_name not in self.prompts:
            raise InputError(
                f"Prompt name {prompt_name!r} not found in the configured prompts dictionary with keys "
                f"{list(self.prompts)!r}."
            )
        if (precision := given.get("precision")) is not None and precision not in get_args(Precision):
            raise InputError(f"Precision {precision!r} is not supported, must be one of {get_args(Precision)}")
        of_sentences = given.get("output_value", "sentence_embedding") == "sentence_embedding"
        if given.get("truncate_dim") is None and given.get("output_value") != "token_embeddings":
            given["truncate_dim"] = self.truncate_dim
        if given.get("max_length") is None and self._max_seq_length is not None:
            given["max_length"] = self._max_seq_length
        if not of_sentences:  # tensors or arrays, by what there is
            given = {**given, "convert_to_tensor": has_torch(), "convert_to_numpy": True}
        elif given.get("convert_to_numpy") is False and not given.get("convert_to_tensor"):
            found = super().encode(inputs, prompt_name, prompt, **given)
            return as_tensor(found) if has_torch() else found
        return super().encode(inputs, prompt_name, prompt, **given)

    def encode_query(self, inputs: Any = None, **given: Any) -> Any:
        """`encode` with the prompt that the model has for queries, unless another is given."""
        return self._encode_for("query", ("query",), inputs, given)

    def encode_document(self, inputs: Any = None, **given: Any) -> Any:
        """`encode` with the prompt that the model has for documents, passages or a corpus, unless another is given."""
        return self._encode_for("document", ("document", "passage", "corpus"), inputs, given)

    def _encode_for(self, task: str, names: tuple[str, ...], inputs: Any, given: dict[str, Any]) -> Any:
        if (sentences := given.pop("sentences", None)) is not None:
            if inputs is not None:
                raise InputError("give either inputs or sentences, which are the same")
            inputs = sentences
        prompt, name = given.pop("prompt", None), given.pop("prompt_name", None)
        if self.task.query is not None:  # a vector for each token, which `encode` does not make
            method = super().encode_query if task == "query" else super().encode_document
            return method(inputs, prompt=prompt, prompt_name=name, **given)
        if prompt is None and name is None:
            name = next((each for each in names if each in self.prompts), None)
        return self.encode(inputs=inputs, prompt_name=name, prompt=prompt, task=task, **given)

    def tokenize(self, texts: Any) -> Tokens:
        """`Model.tokenize`, as tensors of PyTorch where that can be imported."""
        found = super().tokenize(texts)
        return as_tensor(found) if has_torch() else found

    preprocess = tokenize

    def similarity(self, a: Any, b: Any) -> Any:
        """`Model.similarity`; of tensors a tensor."""
        return _like(super().similarity(_array(a), _array(b)), a, b)

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        """`Model.similarity_pairwise`; of tensors a tensor."""
        return _like(super().similarity_pairwise(_array(a), _array(b)), a, b)


def _cut(config: Config, max_length: int) -> Config:
    """A config that says how many tokens of a text are read."""
    return replace(config, text=replace(config.text, max_length=max_length))


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _array(value: Any) -> Any:
    if isinstance(value, list):
        return [_array(each) for each in value]
    return value.detach().numpy() if _is_tensor(value) else value


def _like(scores: np.ndarray, *given: Any) -> Any:
    if any(_is_tensor(each) or (isinstance(each, list) and each and _is_tensor(each[0])) for each in given):
        return as_tensor(scores)
    return scores


class CrossEncoder(Layer):
    """A model that scores pairs of texts.

    Args:
        model_name_or_path: as of `minibert.load`, as are `threads`, `backend` and the like among `given`.
        num_labels: how many outputs the model must have; None for any.
        max_length: tokens of a pair that are read; None for the model's own limit.
        activation_fn: what makes scores of logits, see `predict`.
        given: options of `minibert.load`, and arguments of sentence-transformers that change nothing.

    Raises:
        InputError: an argument that asks for something else than what happens, and what `minibert.load` raises.
        UnsupportedError: the model is no classifier of texts.
    """

    def __init__(
        self,
        model_name_or_path: Source,
        num_labels: int | None = None,
        *,
        max_length: int | None = None,
        activation_fn: Any = None,
        **given: Any,
    ) -> None:
        known = ("num_labels", "max_length", "activation_fn", *CONSTRUCTOR)
        super().__init__(model_name_or_path, **load_options(given, known))
        self.need("text-classification")
        if num_labels is not None and num_labels != len(self.labels):
            raise InputError(f"num_labels is {num_labels}, {self.path.name} has {len(self.labels)}")
        self._pair_length = None if max_length is None else self.pipeline.limits(max_length=max_length).max_length
        if self._pair_length is not None:
            self.config = _cut(self.config, self._pair_length)
        self._function = _function(activation_fn)

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = super().__reduce__()[:2]
        return make, arguments, {"config": self.config, "_pair_length": self._pair_length, "_function": self._function}

    @property
    def num_labels(self) -> int:
        """How many outputs the model has."""
        return len(self.labels)

    def is_singular_input(self, inputs: Any) -> bool:
        """Whether `predict` takes inputs for one pair rather than for many."""
        return is_one(flat_pair(inputs))

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Any = None,
        *,
        sentences: Any = None,
        activation_fn: Any = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        show_progress_bar: bool | None = None,
        **read: Any,
    ) -> Any:
        """Scores of one pair of texts or many, as CrossEncoder.predict gives them.

        Args:
            inputs: one pair, also as a list of two texts, gives one score, many give an array.
            sentences: the same as `inputs`, which sentence-transformers called so before.
            activation_fn: PyTorch's Sigmoid, Identity or Softmax, or one of the names "sigmoid", "none", "softmax". By
                default what the model was trained for if it has one output, else none.
            apply_softmax: whether the scores of several outputs add up to 1.
            convert_to_numpy: False gives a list of scores.
            convert_to_tensor: whether scores are a tensor.
            show_progress_bar: changes nothing.
            read: how texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            float32 [pairs], or [pairs, labels]; numbers of a list are tensors where PyTorch can be imported.

        Raises:
            InputError: what are no pairs, another function, or an option that makes no sense.
        """
        if sentences is not None:
            if inputs is not None:
                raise InputError("give either inputs or sentences, which are the same")
            inputs = sentences
        if show_progress_bar is not None:
            options.flag("show_progress_bar", show_progress_bar)
        function = _function(activation_fn) or self._function or (None if self.num_labels == 1 else "none")
        if apply_softmax is not None and options.flag("apply_softmax", apply_softmax) and self.num_labels > 1:
            function = "softmax"
        if read.get("max_length") is None and self._pair_length is not None:
            read["max_length"] = self._pair_length
        scores = np.asarray(self.score(inputs, function_to_apply=function, **read), np.float32)
        if options.flag("convert_to_tensor", convert_to_tensor):
            return as_tensor(scores)
        if options.flag("convert_to_numpy", convert_to_numpy) or not scores.ndim:
            return scores[()]  # a number of NumPy's, where there is one
        return list(as_tensor(scores)) if has_torch() else list(scores)

    def rank(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        *,
        activation_fn: Any = None,
        show_progress_bar: bool | None = None,
        **read: Any,
    ) -> list[Any]:
        """`Model.rank`, for a model of one output."""
        if self.num_labels != 1:
            raise InputError(
                "CrossEncoder.rank() only works for models with num_labels=1. Consider using CrossEncoder.predict() "
                "with input pairs instead."
            )
        if show_progress_bar is not None:
            options.flag("show_progress_bar", show_progress_bar)
        if read.get("max_length") is None and self._pair_length is not None:
            read["max_length"] = self._pair_length
        function = _function(activation_fn) or self._function
        return super().rank(query, documents, top_k, return_documents, function_to_apply=function, **read)


def _function(activation: Any) -> str | None:
    """The name here of what makes scores of logits: of a module of PyTorch, or as it stands in a checkpoint."""
    if activation is None:
        return None
    name = activation if isinstance(activation, str) else type(activation).__name__
    known = {"sigmoid": "sigmoid", "identity": "none", "none": "none", "softmax": "softmax"}
    short = name.rpartition(".")[2].lower()
    if short not in known:
        raise InputError(f"activation_fn must be Sigmoid, Identity or Softmax, got {name}")
    return known[short]
