"""LanceDB: an embedding function by the name "minibert", which a table remembers.

Importing this module registers it: whoever opens such a table does so first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert.integrations.parts import Vectors, missing

try:
    from lancedb.embeddings.base import TextEmbeddingFunction
    from lancedb.embeddings.registry import register
    from pydantic import PrivateAttr
except ImportError as error:
    raise missing("lancedb", error) from error


@register("minibert")
class MinibertEmbeddings(TextEmbeddingFunction):
    """Vectors of texts for LanceDB: queries and documents each with the prompt that the model has for them.

    Made by `get_registry().get("minibert").create(model=...)`, so that a table knows how to make it again.

    Args:
        model: what `minibert.load` opens by a path or a name.
        query_prompt: as of `VectorOptions`, as are the next four.
        document_prompt: a text to put before each document.
        normalize_embeddings: whether to scale vectors to length 1.
        truncate_dim: how many numbers of each vector to keep.
        threads: as of `minibert.load`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    model: str
    query_prompt: str | None = None
    document_prompt: str | None = None
    normalize_embeddings: bool = False
    truncate_dim: int | None = None
    threads: int | None = None
    _vectors: Vectors = PrivateAttr()

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._vectors = Vectors(
            self.model,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            normalize_embeddings=self.normalize_embeddings,
            truncate_dim=self.truncate_dim,
            threads=self.threads,
        )

    def ndims(self) -> int:
        """Numbers in a vector."""
        return self._vectors.dim

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> list[np.ndarray | None]:
        """A vector for a query, or for each of several: float32 [dim]."""
        return list(self._vectors.queries(self.sanitize_input(query)))

    def generate_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> list[np.ndarray | None]:
        """A vector for each document: float32 [dim], and None where a row has no text."""
        vectors = iter(self._vectors.documents([each for each in texts if each is not None]))
        return [None if each is None else next(vectors) for each in texts]

    # By these LanceDB asks. Services may answer when they are asked once more; what fails here fails again.

    def compute_query_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> list[np.ndarray | None]:
        """`compute_query_embeddings`, once."""
        return self.compute_query_embeddings(*args, **kwargs)

    def compute_source_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> list[np.ndarray | None]:
        """`compute_source_embeddings`, once."""
        return self.compute_source_embeddings(*args, **kwargs)
