"""What no fork may catch half-done.

A fork copies one thread. Had another one just begun to import a module, or to set a library up, the child would find it
begun for ever and wait at the first use. So whoever does such a thing holds a lock, and a fork waits for that: for
milliseconds, once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")

# Taken again by imports within imports, and by a fork that an import makes.
_lock = threading.RLock()


def unforked() -> AbstractContextManager[bool]:
    """A lock to hold while something is done for the first time: `with` it, `import zlib`."""
    return _lock


class Lazy(Generic[_T]):
    """An attribute that is made when it is first asked for: as functools.cached_property, but without its lock.

    That lock, which Python has before 3.12, a fork could catch closed. Two threads may make the attribute at once.
    """

    def __init__(self, make: Callable[[Any], _T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> _T:
        if owner is None:  # asked of the class, as abc does
            return self  # pyright: ignore[reportReturnType]
        made = owner.__dict__[self._make.__name__] = self._make(owner)
        return made


def _wait() -> None:
    _lock.acquire()


def _go_on() -> None:
    with suppress(RuntimeError):  # an interrupt ended the waiting
        _lock.release()


def _begin_anew() -> None:
    """The child of a fork that did not wait must not wait either."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_begin_anew)
