"""Embedding tables made small: fewer bits, codebooks, fewer dimensions, fewer words."""

from __future__ import annotations

from minibert_converter.passes.embeddings.compress import EmbeddingsReport, TableReport, compress_embeddings, parse_form
from minibert_converter.passes.embeddings.vocabulary import VocabularyReport, trim_vocabulary

__all__ = [
    "EmbeddingsReport",
    "TableReport",
    "VocabularyReport",
    "compress_embeddings",
    "parse_form",
    "trim_vocabulary",
]
