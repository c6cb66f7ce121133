"""The model that a user holds: text in, answers out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

import numpy as np

from minibert.engine import Engine
from minibert.errors import UnsupportedError
from minibert.format import read_model
from minibert.format.schema import Config, Task
from minibert.pipeline import Pipeline
from minibert.tasks import embed
from minibert.tasks.classify import BEST, Classifier, Label, TopK
from minibert.text.inputs import Text, is_one, many, split
from minibert.text.packing import BATCH_SIZE, MAX_TOKENS, WINDOW
from minibert.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ReadOptions(TypedDict, total=False):
    """How texts are cut and batched: options that `predict` and `encode` share."""

    truncation: bool
    max_length: int | None
    batch_size: int
    max_tokens: int


class PredictOptions(ReadOptions, total=False):
    """Options of `predict` beside `top_k`."""

    function_to_apply: str | None


class EncodeOptions(ReadOptions, total=False):
    """Options of `encode` that its variants pass on."""

    prompt_name: str | None
    prompt: str | None
    show_progress_bar: bool | None
    precision: Literal["float32", "binary", "ubinary"]
    normalize_embeddings: bool
    truncate_dim: int | None


def load(path: str | os.PathLike[str], threads: int | None = None, backend: str | None = None) -> Model:
    """Open a model file.

    The file is mapped, not read, so loading takes milliseconds whatever its size; the tokenizer is built when the
    first text comes.

    Args:
        path: a file that `minibert convert` wrote.
        threads: worker threads; by default as many as this process has cores.
        backend: "jit" or "numpy"; by default the fastest that runs here.

    Raises:
        FormatError: there is no such file, or it is broken or no minibert file; the message says where.
        BackendError: the backend asked for cannot run on this machine.
        InputError: an unknown backend, or fewer threads than one.
    """
    return Model(path, threads=threads, backend=backend)


class Model:
    """A converted model. Make one with `minibert.load`.

    An answer never depends on what else is in the batch, on the order, or on the number of threads: the same text
    gives the same bits. Safe to use from many threads at once; survives `pickle` by opening its file again.

    Attributes:
        path: the file.
        config: everything the file says about the model.
        engine: runs token ids.
        pipeline: brings texts to the engine.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None, backend: str | None = None) -> None:
        self.path = Path(path)
        self._file = read_model(self.path)
        self.config: Config = self._file.config
        self.engine = Engine(self._file, threads=threads, backend=backend)
        self._options = (threads, backend)
        self._lock = Lock()
        self._tokenizer: Tokenizer | None = None
        self.pipeline = Pipeline(
            self.engine,
            self._get_tokenizer,
            max_length=self.config.text.max_length,
            max_positions=self.config.architecture.max_positions,
        )
        self._classifier = Classifier(self.config.task) if self.config.task.kind == "text-classification" else None

    # What the model is.

    @property
    def task(self) -> Task:
        """What the model answers: kind, labels, prompts."""
        return self.config.task

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the order of the logits; empty for an embedding model."""
        return self.config.task.labels

    @property
    def max_length(self) -> int:
        """Tokens of a text that are read by default, special tokens included."""
        return self.config.text.max_length

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer from the file, built on first use."""
        return self._get_tokenizer()

    def _get_tokenizer(self) -> Tokenizer:
        tokenizer = self._tokenizer
        if tokenizer is None:
            with self._lock:
                tokenizer = self._tokenizer
                if tokenizer is None:
                    tokenizer = self._tokenizer = Tokenizer(
                        self._file.tokenizer_json(),
                        max_length=self.max_length,
                        token_types=self.config.architecture.token_types,
                    )
        return tokenizer

    def __repr__(self) -> str:
        a = self.config.architecture
        labels = f", {len(self.labels)} labels" if self.labels else ""
        return (
            f"<minibert.Model {self.path.name}: {self.task.kind}{labels}, {a.model_type} of {len(a.layers)} layers x "
            f"{a.hidden_size}, {self.size / 1e6:.1f} MB, {self.engine.backend}, {self.engine.threads} threads>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return load, (self.path, *self._options)

    # Overloads below overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    # Token ids.

    def forward(self, ids: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """Logits or pooled vectors of texts given as token ids, special tokens included.

        Args:
            ids: one sequence of token ids for each text; lengths may differ, nothing is padded.
            token_types: as `ids`, or None for zeros.

        Returns:
            float32 [len(ids), outputs]: logits of a classifier, vectors of an embedding model.

        Raises:
            InputError: ids out of range, an empty sequence, or more tokens than the model has positions.
        """
        return self.engine.forward(ids, token_types)

    @overload
    def token_count(self, inputs: Text) -> int: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def token_count(self, inputs: Iterable[Text]) -> list[int]: ...
    def token_count(self, inputs: Any) -> int | list[int]:
        """Tokens of each text or pair, special tokens included, before truncation: compare with `max_length`."""
        if is_one(inputs):
            return self.tokenizer.count(*split(inputs))
        return [self.tokenizer.count(*split(item, index)) for index, item in enumerate(many(inputs))]

    def warmup(self) -> None:
        """Pay now for what the first answer would wait for: the kernels and the tokenizer."""
        self.engine.warmup()
        _ = self.tokenizer

    # Classification.

    @overload
    def predict(self, inputs: Text, **options: Unpack[PredictOptions]) -> Label: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def predict(  # pyright: ignore[reportOverlappingOverload]
        self, inputs: Text, *, top_k: int | None, **options: Unpack[PredictOptions]
    ) -> list[Label]: ...
    @overload
    def predict(self, inputs: Iterable[Text], **options: Unpack[PredictOptions]) -> list[Label]: ...
    @overload
    def predict(
        self, inputs: Iterable[Text], *, top_k: int | None, **options: Unpack[PredictOptions]
    ) -> list[list[Label]]: ...
    def predict(
        self,
        inputs: Any,
        *,
        top_k: TopK = BEST,
        function_to_apply: str | None = None,
        truncation: bool = True,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
        max_tokens: int = MAX_TOKENS,
    ) -> Any:
        """Classify one text or many.

        Args:
            inputs: one text gives one result, many give a list. A text is a `str`; a pair is a tuple
                `(text, text_pair)` or a mapping `{"text": ..., "text_pair": ...}`.
            top_k: if given, a result is a list of the `top_k` best labels, best first; None gives all labels.
            function_to_apply: what makes scores of logits: "softmax", "sigmoid" or "none". By default what the
                model was trained for: softmax for one label of many, sigmoid for multi-label, none for regression.
            truncation: whether a text longer than `max_length` is cut, with a TruncationWarning; False refuses it.
            max_length: tokens to read of each text or pair, special tokens included; by default the model's.
            batch_size: texts in one pass through the engine, at most. Changes speed and memory, never a result.
            max_tokens: tokens in one pass, at most.

        Returns:
            `{"label": str, "score": float}`, or with `top_k` a list of these; for many inputs a list of results.

        Raises:
            InputError: inputs are no text, or with `truncation=False` one is too long.
            UnsupportedError: the model is no classifier.
        """
        classifier = self._need_classifier()
        function, top_k = classifier.options(function_to_apply, top_k)
        limits = self.pipeline.limits(truncation, max_length, batch_size, max_tokens)
        if is_one(inputs):
            return classifier.answer(self.pipeline.row(*split(inputs), limits), function, top_k)
        return [classifier.answer(row, function, top_k) for row in self.pipeline.rows(many(inputs), limits)]

    def iter_predict(
        self,
        inputs: Iterable[Text],
        *,
        window: int = WINDOW,
        top_k: TopK = BEST,
        function_to_apply: str | None = None,
        truncation: bool = True,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
        max_tokens: int = MAX_TOKENS,
    ) -> Iterator[Any]:
        """`predict` for inputs without end: reads `window` texts, yields their results in order, reads on.

        Memory stays that of one window. `window=1` answers each text before it asks for the next. A
        TruncationWarning comes once, with the first window in which a text was cut.
        """
        classifier = self._need_classifier()
        function, top_k = classifier.options(function_to_apply, top_k)
        limits = self.pipeline.limits(truncation, max_length, batch_size, max_tokens)
        rows = self.pipeline.stream(many(inputs), limits, window=window)
        return (classifier.answer(row, function, top_k) for row in rows)

    # Embeddings.

    def encode(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        show_progress_bar: bool | None = None,
        *,
        precision: Literal["float32", "binary", "ubinary"] = "float32",
        convert_to_numpy: bool = True,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: bool = True,
        max_length: int | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Any:
        """Vectors of one sentence or many, with the options of sentence-transformers.

        Args:
            sentences: one string gives one vector, many give a matrix.
            prompt_name: which of the model's prompts to put before each sentence.
            prompt: a text to put before each sentence; wins over `prompt_name`.
            batch_size: sentences in one pass through the engine, at most. Changes speed and memory, never a result.
            show_progress_bar: whether to count on stderr, if that is a terminal.
            precision: "float32", or one bit a number: "binary" (int8) or "ubinary" (uint8), see
                `minibert.quantize_embeddings`.
            convert_to_numpy: False gives a list of vectors instead of a matrix.
            normalize_embeddings: scale vectors to length 1 (after `truncate_dim`).
            truncate_dim: keep only the first numbers of each vector, for Matryoshka models.
            truncation: whether a sentence longer than `max_length` is cut, with a TruncationWarning; False refuses it.
            max_length: tokens to read of each sentence, special tokens included; by default the model's.
            max_tokens: tokens in one pass, at most.

        Returns:
            float32 [dim] for one string, float32 [sentences, dim] for many; bytes [.., dim / 8] for the binary kinds.

        Raises:
            InputError: inputs are no text, an unknown prompt, or with `truncation=False` a sentence is too long.
            UnsupportedError: the model makes no embeddings.
        """
        finish, prefix = self._embedding(prompt_name, prompt, truncate_dim, normalize_embeddings, precision)
        limits = self.pipeline.limits(truncation, max_length, batch_size, max_tokens)
        if is_one(sentences):
            text, pair = split(sentences)
            return finish(self.pipeline.row(prefix + text, pair, limits)[None])[0]
        progress = "encode" if show_progress_bar else None
        rows = finish(self.pipeline.rows(many(sentences), limits, prefix=prefix, progress=progress))
        return rows if convert_to_numpy else list(rows)

    def iter_encode(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        *,
        window: int = WINDOW,
        precision: Literal["float32", "binary", "ubinary"] = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: bool = True,
        max_length: int | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Iterator[np.ndarray]:
        """`encode` for inputs without end: reads `window` sentences, yields their vectors in order, reads on.

        Memory stays that of one window. A TruncationWarning comes once, with the first window in which a sentence was
        cut.
        """
        finish, prefix = self._embedding(prompt_name, prompt, truncate_dim, normalize_embeddings, precision)
        limits = self.pipeline.limits(truncation, max_length, batch_size, max_tokens)
        rows = self.pipeline.stream(many(sentences), limits, prefix=prefix, window=window)
        return (finish(row[None])[0] for row in rows)

    def encode_query(self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]) -> Any:
        """`encode` with the prompt that the model has for queries, unless the options name another."""
        return self.encode(sentences, **self._with_prompt(options, embed.QUERY_PROMPTS))

    def encode_document(self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]) -> Any:
        """`encode` with the prompt that the model has for documents, passages or a corpus, unless the options do."""
        return self.encode(sentences, **self._with_prompt(options, embed.DOCUMENT_PROMPTS))

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity, by the model's own function, of each vector of `a` to each of `b`: [n, dim], [m, dim] to [n, m].

        One vector [dim] counts as one row.
        """
        return embed.similarity(a, b, self.task.similarity)

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity of each vector of `a` to the one of `b` in the same place: two [n, dim] to [n]."""
        return embed.similarity_pairwise(a, b, self.task.similarity)

    # Helpers.

    def _need_classifier(self) -> Classifier:
        if self._classifier is None:
            raise UnsupportedError(f"{self.path.name} is a {self.task.kind} model, which has no labels: use encode")
        return self._classifier

    def _embedding(
        self,
        prompt_name: str | None,
        prompt: str | None,
        truncate_dim: int | None,
        normalize: bool,
        precision: Literal["float32", "binary", "ubinary"],
    ) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
        """What makes vectors of rows, and the prompt, from checked options."""
        if self.task.kind != "sentence-embedding":
            raise UnsupportedError(
                f"{self.path.name} is a {self.task.kind} model: use predict, or convert the checkpoint with "
                "--task sentence-embedding"
            )
        embed.check_options(truncate_dim, precision)
        prefix = embed.resolve_prompt(self.task, prompt_name, prompt)
        return partial(embed.finish, truncate_dim=truncate_dim, normalize=normalize, precision=precision), prefix

    def _with_prompt(self, options: EncodeOptions, names: Sequence[str]) -> EncodeOptions:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            name = embed.first_prompt(self.task, names)
            if name is not None:
                return {**options, "prompt_name": name}
        return options
