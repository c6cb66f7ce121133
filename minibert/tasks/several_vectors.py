"""A text's vector, the weights of its words and the vectors of its tokens, in one pass (BGE-M3, arXiv 2402.03216)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.engine import Engine
from minibert.errors import UnsupportedError
from minibert.forking import Lazy
from minibert.format.schema import Config
from minibert.options import integer
from minibert.pipeline import Pipeline
from minibert.reading import ReadOptions
from minibert.tasks import fill_mask
from minibert.tasks.base import BaseModel
from minibert.tasks.features import FeatureReader, SparseReader, SparseVector
from minibert.tasks.token_vectors import maxsim
from minibert.text.inputs import is_one, many
from minibert.text.packing import READ_AHEAD
from minibert.text.sliding import Window
from minibert.tuples import NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Vectors(NamedTuple):
    """All that such a model makes of a text.

    Attributes:
        dense: float32 [dim], as `encode` gives it.
        sparse: weights of the text's words.
        tokens: float32 [tokens, dim], of all tokens but the first, each of length 1.
    """

    dense: np.ndarray
    sparse: SparseVector
    tokens: np.ndarray


class AllRows:
    """An engine whose rows of tokens have everything side by side: token heads, then the text's own row.

    The latter stands at the text's first token.
    """

    #: Each token has a row.
    pooled = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.threads = engine.threads
        self.widths = [columns for _, columns in engine.plan.token_outputs]
        self.out_features = sum(self.widths) + engine.out_features

    def forward(
        self,
        ids: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None = None,
        wanted: Sequence[Sequence[int]] | None = None,
        attended: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Rows of all tokens: float32 [tokens, out_features]."""
        assert wanted is None
        assert attended is None
        dense, *of_tokens = self._engine.forward_all(ids, token_types)
        rows = np.zeros((len(of_tokens[0]), self.out_features), np.float32)
        rows[:, : sum(self.widths)] = np.concatenate(of_tokens, axis=1)
        rows[np.cumsum([0, *map(len, ids[:-1])]), sum(self.widths) :] = dense
        return rows


class VectorsReader(FeatureReader):
    """Texts to `Vectors`.

    Args:
        config: says which token heads there are, and which tokens weigh nothing.
        widths: columns of each head.
    """

    def __init__(self, config: Config, widths: Sequence[int]) -> None:
        super().__init__()
        ends = np.cumsum([0, *widths]).tolist()
        heads = config.architecture.token_heads
        self._places = {head.name: slice(*ends[place : place + 2]) for place, head in enumerate(heads)}
        self._dense = ends[-1]
        self._weightless = np.array(config.task.weightless, np.int32)

    def find(self, window: Window, rows: np.ndarray) -> Vectors:
        """Everything that is made of one text."""
        ids = np.array(window.ids, np.int32)
        weights = rows[:, self._places["tokens.weights"]][:, 0]
        counts = (weights > 0) & ~np.isin(ids, self._weightless)
        indices, place = np.unique(ids[counts], return_inverse=True)
        values = np.zeros(len(indices), np.float32)
        np.maximum.at(values, place, weights[counts])
        vectors = rows[1:, self._places["tokens.vectors"]].copy()
        return Vectors(rows[0, self._dense :].copy(), SparseVector(indices, values), vectors)


class SeveralVectors(BaseModel):
    """What a sentence-embedding model does besides that has token heads; and sparse vectors of a fill-mask model."""

    def encode_all(self, inputs: str | Iterable[str], **read: Unpack[ReadOptions]) -> Any:
        """Dense, sparse and token vectors of one text or many, in one pass: what FlagEmbedding gives for BGE-M3.

        Args:
            inputs: one text gives one answer, many (also a tuple, as in `encode`) give a list.
            read: how texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            `Vectors(dense, sparse, tokens)`.

        Raises:
            InputError: inputs are no texts, or with `truncation=False` one is too long.
            UnsupportedError: the model has no token heads.
        """
        one = is_one(inputs, pair=False)
        found = list(self.iter_encode_all([inputs] if one else inputs, **read))  # pyright: ignore[reportArgumentType]
        return found[0] if one else found

    def iter_encode_all(
        self, inputs: Iterable[str], *, read_ahead: int = READ_AHEAD, **read: Unpack[ReadOptions]
    ) -> Iterator[Vectors]:
        """`encode_all` for inputs without end: reads `read_ahead` of them, yields their vectors, reads on."""
        if {head.name for head in self.config.architecture.token_heads} != {"tokens.vectors", "tokens.weights"}:
            raise UnsupportedError(f"{self.path.name} makes no vectors of several kinds: use encode")
        read_ahead = integer("read_ahead", read_ahead)
        pipeline, reader = self._with_token_heads
        return pipeline.answers(many(inputs, pair=False), reader, pipeline.limits(**read), read_ahead=read_ahead)

    def encode_sparse(self, inputs: str | Iterable[str], **read: Unpack[ReadOptions]) -> Any:
        """Sparse vectors of one text or many, as SPLADE models and BGE-M3 make them: a weight for each word.

        Args:
            inputs: one text gives one vector, many (also a tuple, as in `encode`) give a list.
            read: how texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            `SparseVector(indices, values)`: token ids and their weights.

        Raises:
            InputError: inputs are no texts, or with `truncation=False` one is too long.
            UnsupportedError: the model is none for fill-mask, and has no token heads.
        """
        one = is_one(inputs, pair=False)
        found = list(self.iter_encode_sparse([inputs] if one else inputs, **read))  # pyright: ignore[reportArgumentType]
        return found[0] if one else found

    def iter_encode_sparse(
        self, inputs: Iterable[str], *, read_ahead: int = READ_AHEAD, **read: Unpack[ReadOptions]
    ) -> Iterator[SparseVector]:
        """`encode_sparse` for inputs without end: reads `read_ahead` of them, yields their vectors, reads on."""
        if self.config.architecture.token_heads:
            return (found.sparse for found in self.iter_encode_all(inputs, read_ahead=read_ahead, **read))
        self.need(fill_mask.KIND)
        read_ahead = integer("read_ahead", read_ahead)
        limits = self.pipeline.limits(**read)
        return self.pipeline.answers(many(inputs, pair=False), SparseReader(self.task), limits, read_ahead=read_ahead)

    @Lazy
    def all_rows(self) -> AllRows:
        """An engine whose plan goes on to the token heads."""
        return AllRows(Engine(self._file, **self._options, token_heads=True))

    @Lazy
    def _with_token_heads(self) -> tuple[Pipeline, VectorsReader]:
        """A pipeline of that engine, and what reads its rows."""
        rows = self.all_rows
        return Pipeline(rows, self._get_tokenizer, self.config), VectorsReader(self.config, rows.widths)


def mixed_scores(query: Vectors, documents: Sequence[Vectors], weights: Sequence[float]) -> np.ndarray:
    """How well documents answer a query: the weighted mean of three similarities, as FlagEmbedding has it.

    Args:
        query: of one text.
        documents: of many.
        weights: of the dense vectors' dot product, of the sparse ones', and of MeanMaxSim.

    Returns:
        float32 [documents].
    """
    dense = np.array([document.dense @ query.dense for document in documents])
    sparse = np.array([_dot(query.sparse, document.sparse) for document in documents])
    tokens = maxsim(query.tokens, [document.tokens for document in documents], mean=True)[0]
    return np.average([dense, sparse, tokens], axis=0, weights=weights).astype(np.float32)


def _dot(a: SparseVector, b: SparseVector) -> np.float32:
    _, mine, theirs = np.intersect1d(a.indices, b.indices, assume_unique=True, return_indices=True)
    return (a.values[mine] * b.values[theirs]).sum(dtype=np.float32)
