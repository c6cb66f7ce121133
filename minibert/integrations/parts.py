"""What the classes of all stacks share: a model with a side for queries and one for documents; what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from minibert import options
from minibert.errors import InputError
from minibert.model import Model

if TYPE_CHECKING:
    from typing_extensions import Unpack


class VectorOptions(TypedDict, total=False):
    """What can be set for all vectors of a class.

    Attributes:
        query_prompt: a text to put before each query, instead of the one that the file names for queries.
        document_prompt: the same for documents.
        normalize_embeddings: whether to scale vectors to length 1.
        truncate_dim: how many numbers of each vector to keep; None for all.
        threads: as of `minibert.load`; None for a `Model`, which has its own.
    """

    query_prompt: str | None
    document_prompt: str | None
    normalize_embeddings: bool
    truncate_dim: int | None
    threads: int | None


class Vectors:
    """Vectors of queries and of documents, each side with its prompt.

    Args:
        model: what `minibert.load` opens by a path or a name, or a `Model`.
        given: `VectorOptions`.

    Attributes:
        model: what answers.
        config: what was given, in JSON's own types, of which the same can be made again.

    Raises:
        InputError: an option that there is not or that makes no sense, and what `minibert.load` raises.
        UnsupportedError: the model makes no vectors of texts.
    """

    def __init__(self, model: str | os.PathLike[str] | Model, **given: Unpack[VectorOptions]) -> None:
        options.refuse_unknown(given, VectorOptions.__annotations__)
        self.model: Model = opened(model, given.get("threads"))
        self.config: dict[str, Any] = {"model": name_of(model), **given}
        self._query_prompt = given.get("query_prompt")
        self._document_prompt = given.get("document_prompt")
        self._normalize = given.get("normalize_embeddings", False)
        self._truncate_dim = given.get("truncate_dim")
        self.dim: int = self.documents([]).shape[1]  # which proves the options, too

    def query(self, text: str) -> np.ndarray:
        """The vector of a query: float32 [dim]."""
        return self.queries([text])[0]

    def queries(self, texts: Iterable[str]) -> np.ndarray:
        """Vectors of queries: float32 [queries, dim]."""
        return self._rows(self.model.encode_query, self._query_prompt, texts)

    def documents(self, texts: Iterable[str]) -> np.ndarray:
        """Vectors of documents: float32 [documents, dim]."""
        return self._rows(self.model.encode_document, self._document_prompt, texts)

    def _rows(self, encode: Any, prompt: str | None, texts: Iterable[str]) -> np.ndarray:
        self.model.need("sentence-embedding")
        return encode(list(texts), prompt=prompt, normalize_embeddings=self._normalize, truncate_dim=self._truncate_dim)


def opened(model: str | os.PathLike[str] | Model, threads: int | None = None) -> Model:
    """The model itself, or the one of a path or name.

    Raises:
        InputError: threads for a model that is open already, and what `minibert.load` raises.
    """
    if not isinstance(model, Model):
        return Model(model, threads=threads)
    if threads is not None:
        raise InputError("threads are for a model that is to be opened")
    return model


def name_of(model: str | os.PathLike[str] | Model) -> str:
    """What opens the model once more, where a stack writes down what it consists of: its name or path."""
    return str(model.path) if isinstance(model, Model) else os.fspath(model)


def best(model: Model, query: str, texts: Sequence[str], top_n: int | None) -> list[tuple[int, float]]:
    """Places and scores of the texts that answer a query best, the best first; all of them for None."""
    return [(each["corpus_id"], each["score"]) for each in model.rank(query, texts, top_n)]


def missing(package: str, error: ImportError) -> ImportError:
    """What to raise where a stack cannot be imported."""
    return ImportError(f"this needs {package}, which cannot be imported ({error}): pip install {package}")
