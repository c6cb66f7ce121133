"""Reranking with a cross-encoder: how well documents answer a query, each pair read as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.errors import InputError, UnsupportedError
from minibert.pipeline import ReadOptions
from minibert.tasks.base import BaseModel
from minibert.tasks.scores import sigmoid, softmax
from minibert.tasks.text_classification import BEST, Classifier
from minibert.text.inputs import Text, is_one, many, split

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Reranking(BaseModel):
    """What a text-classification model does that was trained on pairs: CrossEncoder of sentence-transformers."""

    def score(
        self, pairs: Text | Iterable[Text], *, function_to_apply: str | None = None, **read: Unpack[ReadOptions]
    ) -> Any:
        """Plain scores of one pair or many, without labels.

        Args:
            pairs: one pair (or text) gives one score, many give an array.
            function_to_apply: "softmax", "sigmoid" or "none"; by default what the model was trained for.
            read: how texts are cut and batched, see `minibert.pipeline.Limits`.

        Returns:
            For a model of one output a float, or float32 [pairs]; otherwise float32 [labels], or [pairs, labels].

        Raises:
            InputError: `pairs` are no texts, or with `truncation=False` one is too long.
            UnsupportedError: the model is no classifier of texts.
        """
        self.need("text-classification")
        function, _ = Classifier(self.task).options(function_to_apply, BEST)
        limits = self.pipeline.limits(**read)
        one = is_one(pairs)
        rows = self.pipeline.row(*split(pairs), limits)[None] if one else self.pipeline.rows(many(pairs), limits)
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
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Documents by how well they answer a query.

        Args:
            query: the first text of each pair.
            documents: the second ones.
            top_k: so many of the best; None for all.
            return_documents: whether results hold the documents' texts.
            options: those of `score`.

        Returns:
            `[{"corpus_id": int, "score": float}, ...]`, best first, with "text" if asked for.

        Raises:
            InputError: query or documents are no texts, or `top_k` is below 1.
            UnsupportedError: the model has several outputs, or is no classifier.
        """
        self.need("text-classification")
        if len(self.labels) != 1:
            raise UnsupportedError(f"ranking needs a model with one output; {self.path.name} has {len(self.labels)}")
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k must be at least 1, or None for all documents, got {top_k}")
        if isinstance(documents, str):
            raise InputError("documents must be a list of texts, got one text")
        scores = self.score([(query, document) for document in documents], **options)
        order = np.argsort(-scores, kind="stable")[:top_k].tolist()
        return [
            {"corpus_id": place, "score": float(scores[place])}
            | ({"text": documents[place]} if return_documents else {})
            for place in order
        ]
