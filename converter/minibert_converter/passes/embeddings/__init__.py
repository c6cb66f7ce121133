"""Embedding tables made small: fewer bits, codebooks, fewer dimensions, fewer words."""
