"""LangChain: vectors for its vector stores, and a compressor of documents that ranks them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minibert.integrations.parts import VectorOptions, Vectors, best, missing, opened
from minibert.model import Model

try:
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from pydantic import PrivateAttr
except ImportError as error:
    raise missing("langchain-core", error) from error

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MinibertEmbeddings(Embeddings):
    """Vectors of texts for LangChain: queries and documents each with the prompt that the model has for them.

    What LangChain asks for without waiting (`aembed_query`, `aembed_documents`) runs on a thread of its own.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        options: see `VectorOptions`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    def __init__(self, model: str | os.PathLike[str] | Model, **options: Unpack[VectorOptions]) -> None:
        self.vectors: Vectors = Vectors(model, **options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each document."""
        return self.vectors.documents(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self.vectors.query(text).tolist()


class MinibertReranker(BaseDocumentCompressor):
    """The documents that answer a query best, by a cross-encoder or by vectors, the best first.

    The metadata of what is returned holds the score as "relevance_score"; the documents given stay as they are.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        top_n: how many to keep; None for all.
        threads: as of `minibert.load`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
    """

    top_n: int | None = 3
    _model: Model = PrivateAttr()

    def __init__(
        self, model: str | os.PathLike[str] | Model, *, top_n: int | None = 3, threads: int | None = None
    ) -> None:
        super().__init__(top_n=top_n)  # pyright: ignore[reportCallIssue] - a field of this class
        self._model = opened(model, threads)

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        """The best of the documents."""
        found = best(self._model, query, [each.page_content for each in documents], self.top_n)
        return [
            documents[place].model_copy(update={"metadata": {**documents[place].metadata, "relevance_score": score}})
            for place, score in found
        ]
