"""A model file becomes something that runs: token ids in, rows of float32 out."""

from __future__ import annotations

from minibert.engine.engine import Engine

__all__ = ["Engine"]
