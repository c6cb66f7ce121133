"""Haystack: components that make vectors of queries and of documents, and one that ranks documents."""

# Annotations are evaluated here, for Haystack connects components by them.

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from minibert.integrations.parts import VectorOptions, Vectors, best, missing, name_of, opened
from minibert.model import Model

try:
    # Out of the modules where they are: for a type checker without Haystack, "haystack" alone would be this file.
    from haystack.core.component import component
    from haystack.core.serialization import default_from_dict, default_to_dict
    from haystack.dataclasses import Document
except ImportError as error:
    raise missing("haystack-ai", error) from error

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Fields:
    """What of a document is read: values of its metadata, then its content."""

    def __init__(self, names: Sequence[str] | None, separator: str) -> None:
        self.config = {"meta_fields_to_embed": list(names or ()), "embedding_separator": separator}
        self._names, self._separator = list(names or ()), separator

    def texts(self, documents: Sequence[Document]) -> list[str]:
        return [
            self._separator.join(
                [*(str(each.meta[name]) for name in self._names if each.meta.get(name) is not None), each.content or ""]
            )
            for each in documents
        ]


@component
class MinibertTextEmbedder:
    """The vector of a query, with the prompt that the model has for queries.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        options: see `VectorOptions`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    def __init__(self, model: str | os.PathLike[str] | Model, **options: "Unpack[VectorOptions]") -> None:
        self.vectors: Vectors = Vectors(model, **options)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """The vector of a query, as "embedding"."""
        return {"embedding": self.vectors.query(text).tolist()}

    def to_dict(self) -> dict[str, Any]:
        """What Haystack writes into a file."""
        return default_to_dict(self, **self.vectors.config)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "MinibertTextEmbedder":
        """The component of a file, again."""
        return default_from_dict(cls, data)


@component
class MinibertDocumentEmbedder:
    """Documents with their vectors, made with the prompt that the model has for documents.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        meta_fields_to_embed: names of metadata that are read before the content.
        embedding_separator: what stands between these.
        options: see `VectorOptions`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Model,
        *,
        meta_fields_to_embed: Sequence[str] | None = None,
        embedding_separator: str = "\n",
        **options: "Unpack[VectorOptions]",
    ) -> None:
        self.vectors: Vectors = Vectors(model, **options)
        self._fields = _Fields(meta_fields_to_embed, embedding_separator)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """The documents with their vectors, as "documents"; those given stay as they are."""
        vectors = self.vectors.documents(self._fields.texts(documents)).tolist()
        pairs = zip(documents, vectors, strict=True)
        return {"documents": [replace(document, embedding=vector) for document, vector in pairs]}

    def to_dict(self) -> dict[str, Any]:
        """What Haystack writes into a file."""
        return default_to_dict(self, **self._fields.config, **self.vectors.config)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "MinibertDocumentEmbedder":
        """The component of a file, again."""
        return default_from_dict(cls, data)


@component
class MinibertRanker:
    """The documents that answer a query best, by a cross-encoder or by vectors, the best first, with its score.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        top_k: how many to keep; None for all.
        meta_fields_to_embed: names of metadata that are read before the content.
        embedding_separator: what stands between these.
        threads: as of `minibert.load`.

    Raises:
        InputError: an option that makes no sense, and what `minibert.load` raises.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Model,
        *,
        top_k: int | None = 10,
        meta_fields_to_embed: Sequence[str] | None = None,
        embedding_separator: str = "\n",
        threads: int | None = None,
    ) -> None:
        self.model: Model = opened(model, threads)
        self.top_k: int | None = top_k
        self._fields = _Fields(meta_fields_to_embed, embedding_separator)
        self._config = {"model": name_of(model), "threads": threads}

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """The best of the documents, as "documents"; those given stay as they are."""
        found = best(self.model, query, self._fields.texts(documents), self.top_k if top_k is None else top_k)
        return {"documents": [replace(documents[place], score=score) for place, score in found]}

    def to_dict(self) -> dict[str, Any]:
        """What Haystack writes into a file."""
        return default_to_dict(self, top_k=self.top_k, **self._fields.config, **self._config)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "MinibertRanker":
        """The component of a file, again."""
        return default_from_dict(cls, data)
