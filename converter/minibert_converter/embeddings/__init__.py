"""Embedding tables made small: fewer bits, codebooks, fewer dimensions, fewer words."""

from __future__ import annotations

from .compress import EmbeddingsReport, TableReport, compress_embeddings, parse_form
from .vocabulary import VocabularyReport, trim_vocabulary

__all__ = [
    "EmbeddingsReport",
    "TableReport",
    "VocabularyReport",
    "compress_embeddings",
    "parse_form",
    "trim_vocabulary",
]
