"""LlamaIndex: an embedding model, and a postprocessor of nodes that ranks them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from minibert.errors import InputError
from minibert.integrations.parts import Vectors, best, missing, name_of, opened
from minibert.model import Model

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise missing("llama-index-core", error) from error


class MinibertEmbedding(BaseEmbedding):
    """Vectors of texts for LlamaIndex: queries and documents each with the prompt that the model has for them.

    LlamaIndex hands texts over by `embed_batch_size`, here as many as it allows: minibert packs them itself.

    Args:
        model_name: what `minibert.load` opens by a path or a name, or a `Model`.
        query_prompt: as of `VectorOptions`, as are the next four.
        document_prompt: a text to put before each document.
        normalize_embeddings: whether to scale vectors to length 1.
        truncate_dim: how many numbers of each vector to keep.
        threads: as of `minibert.load`.
        given: what every embedding model of LlamaIndex takes.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    embed_batch_size: int = 2048
    query_prompt: str | None = None
    document_prompt: str | None = None
    normalize_embeddings: bool = False
    truncate_dim: int | None = None
    threads: int | None = None
    _vectors: Vectors = PrivateAttr()

    def __init__(self, model_name: str | os.PathLike[str] | Model, **given: Any) -> None:
        super().__init__(model_name=name_of(model_name), **given)
        self._vectors = Vectors(
            model_name,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            normalize_embeddings=self.normalize_embeddings,
            truncate_dim=self.truncate_dim,
            threads=self.threads,
        )

    @classmethod
    def class_name(cls) -> str:
        """What LlamaIndex calls this in what it writes."""
        return "MinibertEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._vectors.query(query).tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._vectors.documents(texts).tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class MinibertRerank(BaseNodePostprocessor):
    """The nodes that answer a query best, by a cross-encoder or by vectors, the best first, with its score.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        top_n: how many to keep.
        threads: as of `minibert.load`.
        given: what every postprocessor of LlamaIndex takes.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises; nodes that come without a query.
    """

    model: str
    top_n: int = 3
    threads: int | None = None
    _model: Model = PrivateAttr()

    def __init__(self, model: str | os.PathLike[str] | Model, **given: Any) -> None:
        super().__init__(model=name_of(model), **given)  # pyright: ignore[reportCallIssue] - a field of this class
        self._model = opened(model, self.threads)

    @classmethod
    def class_name(cls) -> str:
        """What LlamaIndex calls this in what it writes."""
        return "MinibertRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("nodes are ranked by how well they answer a query: give query_str or query_bundle")
        texts = [each.node.get_content(metadata_mode=MetadataMode.EMBED) for each in nodes]
        found = best(self._model, query_bundle.query_str, texts, self.top_n)
        return [NodeWithScore(node=nodes[place].node, score=score) for place, score in found]
