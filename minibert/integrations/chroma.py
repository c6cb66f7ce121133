"""Chroma: an embedding function, which a collection remembers by its name and configuration.

Importing this module registers it: whoever opens such a collection does so first.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minibert.integrations.parts import VectorOptions, Vectors, missing
from minibert.model import Model

try:
    from chromadb.api.types import Documents, EmbeddingFunction, Space
    from chromadb.utils.embedding_functions import register_embedding_function
except ImportError as error:
    raise missing("chromadb", error) from error
if not hasattr(EmbeddingFunction, "embed_query"):
    raise ImportError("before chromadb 1.1 queries have no vectors of their own: pip install -U chromadb")

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: The space in which Chroma compares what a model compares so.
_SPACES = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}


@register_embedding_function
class MinibertEmbeddingFunction(EmbeddingFunction[Documents]):
    """Vectors of texts for Chroma: queries and documents each with the prompt that the model has for them.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        options: see `VectorOptions`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    def __init__(self, model: str | os.PathLike[str] | Model, **options: Unpack[VectorOptions]) -> None:
        self.vectors: Vectors = Vectors(model, **options)

    def __call__(self, input: Documents) -> list[np.ndarray]:
        """A vector for each document: float32 [dim]."""
        return list(self.vectors.documents(input))

    def embed_query(self, input: Documents) -> list[np.ndarray]:
        """A vector for each query: float32 [dim]."""
        return list(self.vectors.queries(input))

    @staticmethod
    def name() -> str:
        """What Chroma writes into a collection."""
        return "minibert"

    def default_space(self) -> Space:
        """How vectors are compared unless the collection says so: as the model does, or by their angle."""
        return cast(Space, _SPACES.get(self.vectors.model.task.similarity, "cosine"))

    def supported_spaces(self) -> list[Space]:
        """How vectors may be compared."""
        return cast("list[Space]", list(_SPACES.values()))

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> MinibertEmbeddingFunction:
        """The function of a collection, again.

        Raises:
            InputError: the configuration holds what this release does not know, and what `minibert.load` raises.
        """
        return MinibertEmbeddingFunction(**config)

    def get_config(self) -> dict[str, Any]:
        """What Chroma writes into a collection beside the name."""
        return dict(self.vectors.config)
