"""Embedding tables made small: fewer bits, codebooks, fewer dimensions, fewer words."""

from __future__ import annotations

from minibert_converter.passes.embeddings.compress import compress_embeddings, parse_form
from minibert_converter.passes.embeddings.vocabulary import trim_vocabulary

__all__ = ["compress_embeddings", "parse_form", "trim_vocabulary"]
