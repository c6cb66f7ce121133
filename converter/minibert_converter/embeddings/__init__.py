"""Embedding tables made small: fewer bits, codebooks, fewer dimensions, fewer words."""

from __future__ import annotations

from .compress import EmbeddingsReport, TableReport, compress_embeddings, parse_form

__all__ = ["EmbeddingsReport", "TableReport", "compress_embeddings", "parse_form"]
