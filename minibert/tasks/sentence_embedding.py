"""Sentence embeddings of a model: encode and its variants, similarity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from minibert.errors import UnsupportedError
from minibert.pipeline import CutOptions, ReadOptions
from minibert.tasks import vectors
from minibert.tasks.base import BaseModel
from minibert.text.inputs import is_one, many, split
from minibert.text.packing import BATCH_SIZE, READ_AHEAD

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EncodeOptions(ReadOptions, total=False):
    """Options of `encode` that its variants pass on."""

    prompt_name: str | None
    prompt: str | None
    show_progress_bar: bool | None
    precision: Literal["float32", "binary", "ubinary"]
    normalize_embeddings: bool
    truncate_dim: int | None


class SentenceEmbedding(BaseModel):
    """What a sentence-embedding model does."""

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
        **cut: Unpack[CutOptions],
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
            cut: `truncation`, `max_length` and `max_tokens`, see `minibert.pipeline.Limits`.

        Returns:
            float32 [dim] for one string, float32 [sentences, dim] for many; bytes [.., dim / 8] for the binary kinds.

        Raises:
            InputError: inputs are no text, an unknown prompt, or with `truncation=False` a sentence is too long.
            UnsupportedError: the model makes no embeddings.
        """
        finish, prefix = self._embedding(prompt_name, prompt, truncate_dim, normalize_embeddings, precision)
        limits = self.pipeline.limits(batch_size=batch_size, **cut)
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
        read_ahead: int = READ_AHEAD,
        precision: Literal["float32", "binary", "ubinary"] = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **cut: Unpack[CutOptions],
    ) -> Iterator[np.ndarray]:
        """`encode` for inputs without end: reads `read_ahead` sentences, yields their vectors in order, reads on.

        Memory stays that of what is read ahead. A TruncationWarning comes once, with the first of these in which a
        sentence was cut.
        """
        finish, prefix = self._embedding(prompt_name, prompt, truncate_dim, normalize_embeddings, precision)
        limits = self.pipeline.limits(batch_size=batch_size, **cut)
        rows = self.pipeline.stream(many(sentences), limits, prefix=prefix, read_ahead=read_ahead)
        return (finish(row[None])[0] for row in rows)

    def encode_query(self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]) -> Any:
        """`encode` with the prompt that the model has for queries, unless the options name another."""
        return self.encode(sentences, **self._with_prompt(options, vectors.QUERY_PROMPTS))

    def encode_document(self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]) -> Any:
        """`encode` with the prompt that the model has for documents, passages or a corpus, unless the options do."""
        return self.encode(sentences, **self._with_prompt(options, vectors.DOCUMENT_PROMPTS))

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity, by the model's own function, of each vector of `a` to each of `b`: [n, dim], [m, dim] to [n, m].

        One vector [dim] counts as one row.
        """
        return vectors.similarity(a, b, self.task.similarity)

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity of each vector of `a` to the one of `b` in the same place: two [n, dim] to [n]."""
        return vectors.similarity_pairwise(a, b, self.task.similarity)

    def _embedding(
        self,
        prompt_name: str | None,
        prompt: str | None,
        truncate_dim: int | None,
        normalize: bool,
        precision: Literal["float32", "binary", "ubinary"],
    ) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
        """What makes vectors of rows, and the prompt, from checked options."""
        self.need("sentence-embedding")
        if self.config.architecture.pooling == "none":
            raise UnsupportedError(f"{self.path.name} has no pooling, so a text has no one vector: use features")
        vectors.check_options(truncate_dim, precision)
        prefix = vectors.resolve_prompt(self.task, prompt_name, prompt)
        return partial(vectors.finish, truncate_dim=truncate_dim, normalize=normalize, precision=precision), prefix

    def _with_prompt(self, options: EncodeOptions, names: Sequence[str]) -> EncodeOptions:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            name = vectors.first_prompt(self.task, names)
            if name is not None:
                return {**options, "prompt_name": name}
        return options
