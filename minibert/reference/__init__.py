"""The engine in plain NumPy: the oracle of the tests, and the engine itself where numba cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibert.forking import unforked

if TYPE_CHECKING:
    from minibert.reference.model import Reference

__all__ = ["Reference"]


def __getattr__(name: str) -> Any:
    """The engine itself only where it runs: others need single functions of it."""
    if name != "Reference":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with unforked():
        from minibert.reference.model import Reference

    return Reference
