"""Memory that ends where the next page may not be touched: a kernel that leaves it dies at once.

Everything that kernels read or write gets pages of its own: each tensor of a file, each buffer within an arena, and
scratch memory, all of which end (to the 64 bytes that kernels may read at once) at a page that is not there. `install`
changes the engine of the process that calls it, so call it in a child.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minibert.engine import arena, executor, lower, memory
from minibert.format import ModelFile, read_model, reader, token_tables
from minibert.format.token_tables import Tokenization

PAGE = mmap.PAGESIZE
#: Bytes that may be touched behind the last one that counts: what one vector register holds.
UNIT = 64
#: No larger memory is filled, so that hostile sizes stay addresses.
_FILLED = 8 << 20

_libc = ctypes.CDLL(None, use_errno=True)
#: Where the holes between the buffers of the arena last laid out begin; and its size.
_holes: list[int] = []
_arena_size = 0


def _forbid(address: int, size: int = PAGE) -> None:
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), 0):
        raise OSError(ctypes.get_errno(), "mprotect")


def guarded(size: int) -> np.ndarray:
    """Zeroed bytes, uint8 [size], on a cache-line boundary, between two pages that may not be touched."""
    rounded = -(-size // UNIT) * UNIT
    pages = max(1, -(-rounded // PAGE))
    raw = np.frombuffer(mmap.mmap(-1, (pages + 2) * PAGE), np.uint8)
    address = raw.ctypes.data
    _forbid(address)
    _forbid(address + (pages + 1) * PAGE)
    start = (pages + 1) * PAGE - rounded
    return raw[start : start + size]


def _of_workspace(size: int) -> np.ndarray:
    """Guarded bytes; an arena's have holes."""
    room = guarded(size)
    if size == _arena_size:
        for hole in _holes:
            _forbid(room.ctypes.data + hole)
    return room


class GuardedArena(arena.Arena):
    """An arena with a page that may not be touched behind each buffer."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        _holes.clear()

    def reserve(self, name: str, size: int) -> int:
        """As the engine's own, at the end of pages of its own."""
        global _arena_size
        if name not in self._places:
            rounded = -(-size // UNIT) * UNIT
            end = -(-(self.size + rounded) // PAGE) * PAGE
            self._places[name] = end - rounded
            _holes.append(end)
            self.size = _arena_size = end + PAGE
        return self._places[name]


def read_guarded(path: str, **options: bool) -> ModelFile:
    """A model file whose tensors, proven where they lay, are copied to where nothing lies beside them."""
    file = read_model(path, **options)
    copies: dict[int, np.ndarray] = {}
    for tensor in file.tensors.values():
        if id(tensor) not in copies:
            copy = guarded(tensor.nbytes)
            copy[:] = np.frombuffer(tensor, np.uint8)
            copies[id(tensor)] = copy.view(tensor.dtype).reshape(tensor.shape)
            copies[id(tensor)].flags.writeable = False
    return replace(file, tensors={name: copies[id(tensor)] for name, tensor in file.tensors.items()})


def _guarded_copy(tensor: np.ndarray) -> np.ndarray:
    copy = guarded(tensor.nbytes)
    copy[:] = np.frombuffer(np.ascontiguousarray(tensor), np.uint8)
    return copy.view(tensor.dtype).reshape(tensor.shape)


def _guarded_tables(tables: Tokenization, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tables of a tokenizer, what was unpacked of them too."""
    found = token_tables.expanded(tables, tensors)
    return {name: tensor if tensor is tensors.get(name) else _guarded_copy(tensor) for name, tensor in found.items()}


def install() -> None:
    """From now on, all memory of kernels in this process is guarded."""
    memory.empty = guarded
    reader.own_copy = _guarded_copy
    reader.expanded = _guarded_tables
    executor.empty = _of_workspace
    lower.Arena = GuardedArena


def spoil(workspace: executor._Workspace) -> None:
    """Fill a workspace with noise: an answer that depends on what was there before shows."""
    for room in (*workspace.arenas, *workspace.scratches):
        if len(room) > _FILLED:
            continue
        holes = set(_holes) if len(room) == _arena_size else set()
        for page in range(0, len(room), PAGE):
            if page not in holes:
                room[page : page + PAGE] = 0xFF
