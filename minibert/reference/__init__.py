"""The engine in plain NumPy: the oracle of the tests, and the engine itself where numba cannot be had."""

from __future__ import annotations

from minibert.reference.model import Reference

__all__ = ["Reference"]
