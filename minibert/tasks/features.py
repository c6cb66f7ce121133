"""Rows of tokens: vectors of any encoder's tokens, and sparse vectors out of a fill-mask head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from minibert.engine import Engine
from minibert.forking import Lazy
from minibert.format.schema import Task
from minibert.pipeline import Pipeline
from minibert.reading import Reader, ReadOptions
from minibert.tasks.base import BaseModel
from minibert.text.inputs import Text, is_one, many, split
from minibert.text.sliding import Window
from minibert.text.tokenizer import Tokenizer
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SparseVector(NamedTuple):
    """A vector as long as the vocabulary of which only the entries that are not zero are kept.

    Attributes:
        indices: int32 [entries], token ids, rising.
        values: float32 [entries], their weights, above 0.
    """

    indices: np.ndarray
    values: np.ndarray


class TokenOutputs(TypedDict, total=False):
    """All that a model makes of a text on its way to a vector, by the names of sentence-transformers.

    Attributes:
        input_ids: int64 [tokens].
        attention_mask: int64 [tokens], ones: nothing is padded.
        token_type_ids: int64 [tokens].
        token_embeddings: float32 [tokens, hidden size].
        sentence_embedding: float32 [dim].
        prompt_length: how many of the tokens are those of a prompt.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    token_type_ids: np.ndarray
    token_embeddings: np.ndarray
    sentence_embedding: np.ndarray
    prompt_length: int


class FeatureReader(Reader[tuple[str, "str | None"], Any]):
    """Texts or pairs to the rows of all their tokens, special tokens included.

    Args:
        prompt: what is put before each text.
    """

    def __init__(self, prompt: str = "") -> None:
        self._prompt = prompt

    def check(self, item: Any, index: int) -> tuple[str, str | None]:
        """One text or pair, with its prompt."""
        text, pair = split(item, index)
        return self._prompt + text, pair

    def windows(self, tokenizer: Tokenizer, item: tuple[str, str | None], max_length: int) -> tuple[list[Window], bool]:
        """All that the model reads at once."""
        encoded = tokenizer.encode(*item, max_length)
        return [Window(encoded.ids, encoded.type_ids, 0, [], [], [])], encoded.truncated

    def find(self, window: Window, rows: np.ndarray) -> Any:
        """The rows themselves, float32 [tokens, outputs]."""
        return rows.copy()

    def answer(self, item: tuple[str, str | None], found: list[tuple[Window, Any]]) -> Any:
        """What was found in the one window."""
        return found[0][1]


class OutputReader(FeatureReader):
    """Texts or pairs to `TokenOutputs`, without the sentence's own."""

    def answer(self, item: tuple[str, str | None], found: list[tuple[Window, Any]]) -> TokenOutputs:
        """Those of the one window."""
        window, rows = found[0]
        ids = np.array(window.ids, np.int64)
        types = np.zeros_like(ids) if window.type_ids is None else np.array(list(window.type_ids), np.int64)
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": types,
            "token_embeddings": rows,
        }


class SparseReader(FeatureReader):
    """Texts to weights of the vocabulary's words: log(1 + max(logit, 0)), the largest or the sum over the tokens.

    Args:
        task: says which, and how often the logarithm is taken.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def find(self, window: Window, rows: np.ndarray) -> SparseVector:
        """Weights above 0."""
        largest = rows.max(axis=0)
        indices = np.flatnonzero(largest > 0)
        if self._task.sparse_pooling == "max":  # the same after the logarithm, of one row instead of many
            return SparseVector(indices.astype(np.int32), self._weights(largest[indices]))
        values = self._weights(np.maximum(rows[:, indices], 0)).sum(axis=0)
        return SparseVector(indices.astype(np.int32), values)

    def _weights(self, logits: np.ndarray) -> np.ndarray:
        for _ in range(self._task.sparse_logs):
            logits = np.log1p(logits)
        return logits


class Features(BaseModel):
    """What every model does, whatever it was made for."""

    def features(self, inputs: Text | Iterable[Text], **read: Unpack[ReadOptions]) -> Any:
        """Vectors of the tokens of one text or many, from the last layer, before pooling and head.

        Args:
            inputs: one text or pair gives one matrix, many give a list.
            read: how texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            float32 [tokens, hidden_size], special tokens included; `model.tokenizer.encode(text).ids` says which.

        Raises:
            InputError: inputs are no texts, or with `truncation=False` one is too long.
        """
        limits = self.pipeline.limits(**read)
        one = is_one(inputs)
        items = [inputs] if one else many(inputs)
        found = list(self._encoder.answers(items, FeatureReader(), limits))
        return found[0] if one else found

    @Lazy
    def _encoder(self) -> Pipeline:
        """A pipeline that ends before pooling: the same tensors under a shorter plan."""
        config = self.config
        encoder = replace(
            config,
            architecture=replace(config.architecture, pooling="none", head=(), normalize=False, token_heads=()),
            task=Task("sentence-embedding"),
            linears={
                name: linear for name, linear in config.linears.items() if not name.startswith(("head.", "tokens."))
            },
        )
        options = {**self._options, "early_exit": False, "token_pruning": False}
        engine = Engine(replace(self._file, config=encoder), **options)
        return Pipeline(engine, self._get_tokenizer, encoder)
