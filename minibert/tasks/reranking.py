"""Reranking: how well documents answer a query, each pair read as one (cross-encoders) or by their vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert import options
from minibert.errors import InputError, UnsupportedError
from minibert.reading import ReadOptions
from minibert.tasks.scores import sigmoid, softmax
from minibert.tasks.sentence_embedding import SentenceEmbedding
from minibert.tasks.several_vectors import SeveralVectors, mixed_scores
from minibert.tasks.text_classification import BEST, Classifier, ScoreOptions
from minibert.text.inputs import Text, flat_pair, is_one, many, single, split

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RankOptions(ScoreOptions, total=False):
    """Options of `rank`."""

    top_k: int | None
    return_documents: bool
    weights: Sequence[float] | None


class Reranking(SentenceEmbedding, SeveralVectors):
    """What a text-classification model does that was trained on pairs: CrossEncoder of sentence-transformers.

    Models of vectors rank as well, by the similarity of query and documents.
    """

    def score(
        self, pairs: Text | Iterable[Text], *, function_to_apply: str | None = None, **read: Unpack[ReadOptions]
    ) -> Any:
        """Plain scores of one pair or many, without labels.

        Args:
            pairs: one pair (or text) gives one score, many give an array. A list of two texts is one pair, as
                CrossEncoder.predict has it.
            function_to_apply: "softmax", "sigmoid" or "none"; by default what the model was trained for.
            read: how texts are cut and batched, see `minibert.reading.Limits`.

        Returns:
            For a model of one output a float, or float32 [pairs]; otherwise float32 [labels], or [pairs, labels].

        Raises:
            InputError: `pairs` are no pairs, or with `truncation=False` one is too long.
            UnsupportedError: the model is no classifier of texts.
        """
        self.need("text-classification")
        function, _ = Classifier(self.task).options(function_to_apply, BEST)
        limits = self.pipeline.limits(ScoreOptions, **read)
        pairs = flat_pair(pairs)
        one = is_one(pairs)
        rows = self.pipeline.row(*split(pairs), limits)[None] if one else self.pipeline.rows(_paired(pairs), limits)
        if function == "softmax":
            # Row by row, as in `classify`: a score must not depend on the batch.
            rows = np.stack([softmax(row) for row in rows]) if len(rows) else rows
        elif function == "sigmoid":
            rows = sigmoid(rows)
        scores = rows[:, 0] if rows.shape[1] == 1 else rows
        if not one:
            return scores
        return float(scores[0]) if scores.ndim == 1 else scores[0]

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        weights: Sequence[float] | None = None,
        **score: Unpack[ScoreOptions],
    ) -> list[dict[str, Any]]:
        """Documents by how well they answer a query.

        Args:
            query: the first text of each pair.
            documents: the second ones. Of a pair that is too long the longer text is cut, as in `score`; a model of
                vectors reads both apart, as `encode_query` and `encode_document` do.
            top_k: so many of the best; None for all.
            return_documents: whether results hold the documents' texts.
            weights: for a model with token heads (BGE-M3), what dense, sparse and token vectors count, such as
                (0.4, 0.2, 0.4); by default the dense ones alone.
            score: options of `score`; `function_to_apply` is for cross-encoders.

        Returns:
            `[{"corpus_id": int, "score": float}, ...]`, best first, with "text" if asked for.

        Raises:
            InputError: query or documents are no texts, or `top_k` is below 1.
            UnsupportedError: the model has several outputs, or makes neither scores nor vectors.
        """
        self.need("text-classification", "sentence-embedding", "multi-vector")
        by_vectors = self.task.kind != "text-classification"
        if not by_vectors and len(self.labels) != 1:
            raise UnsupportedError(f"ranking needs a model with one output; {self.path.name} has {len(self.labels)}")
        if top_k is not None:
            top_k = options.integer("top_k", top_k)
        options.refuse_unknown(score, RankOptions.__annotations__.keys() | options.ELSEWHERE.keys())
        return_documents = options.flag("return_documents", return_documents)
        if not isinstance(query, str):
            raise InputError(f"query must be str, got {type(query).__name__}")
        texts = [single(each, place, "ranking") for place, each in enumerate(many(documents, pair=False))]
        if by_vectors and score.pop("function_to_apply", None) is not None:
            raise InputError("function_to_apply is for cross-encoders: vectors are ranked by their similarity")
        if weights is not None:
            weights = _checked(weights)
            scores = mixed_scores(self.encode_all(query, **score), self.encode_all(texts, **score), weights)
        elif by_vectors:
            vectors = self.encode_query(query, **score), self.encode_document(texts, **score)
            scores = self.similarity(*vectors)[0] if texts else np.zeros(0, np.float32)
        else:
            scores = self.score([(query, text) for text in texts], **score)
        order = np.argsort(-scores, kind="stable")[:top_k].tolist()
        return [
            {"corpus_id": place, "score": float(scores[place])} | ({"text": texts[place]} if return_documents else {})
            for place in order
        ]


def _checked(weights: Any) -> list[float]:
    """What dense, sparse and token vectors count; InputError if it is no three numbers."""
    given = weights.tolist() if isinstance(weights, np.ndarray) else weights
    numbers = [float(each) for each in given if isinstance(each, Real)] if isinstance(given, (list, tuple)) else []
    if not (len(numbers) == 3 == len(given) and min(numbers) >= 0 and 0 < sum(numbers) < math.inf):
        raise InputError("weights must be three numbers, of dense, sparse and token vectors, and not all zero")
    return numbers


def _paired(pairs: Any) -> Iterator[Any]:
    """Many pairs; a text alone among them is taken for a mistake, as CrossEncoder.predict reads none."""
    for index, item in enumerate(many(pairs)):
        if isinstance(item, str):
            raise InputError(
                f"text {index} is no pair: score reads pairs (query, document), and predict(texts, "
                'function_to_apply="none") single texts'
            )
        yield item
