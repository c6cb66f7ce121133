"""An engine whose memory is one block at a fixed address: another system's process can do its work on a copy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minibert.engine import addresses, executor
from minibert.engine.executor import Executor
from minibert.engine.memory import address
from minibert.format.constants import ALIGNMENT
from tests.models import RandomModel

#: An address that neither system uses, and enough room for any of the small models.
BASE, SIZE = 1 << 40, 1 << 27
_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE = 3, 0x100022


class Block:
    """Memory that is handed out from one end to the other."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        found = libc.mmap(BASE, SIZE, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE, -1, 0)
        if found != BASE:
            pytest.skip("the address is taken here")
        self.memory = np.ctypeslib.as_array((ctypes.c_uint8 * SIZE).from_address(BASE))
        self.used = 0

    def clear(self) -> None:
        """Begin anew."""
        self.memory[: self.used] = 0
        self.used = 0

    def empty(self, size: int) -> np.ndarray:
        """As minibert.engine.memory.empty."""
        start = self.used
        self.used += -(-size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        assert self.used <= SIZE
        return self.memory[start : start + size]

    def address(self, array: np.ndarray) -> int:
        """Where an array lies in the block, or a copy of it."""
        if BASE <= address(array) < BASE + SIZE:
            return address(array)
        copy = self.empty(array.nbytes).view(array.dtype).reshape(array.shape)
        copy[...] = array
        return address(copy)

    def rows(self, *arguments) -> list[np.ndarray]:
        """As minibert.engine.executor.empty_rows."""
        return [self.empty(rows.nbytes).view(rows.dtype).reshape(rows.shape) for rows in _empty_rows(*arguments)]


_empty_rows = executor.empty_rows


def answers(model: RandomModel, texts: tuple, isa: str, block: Block, run: Callable[[int], None]) -> np.ndarray:
    """A model's answers by an engine that calls `run` with the address of a job, all that it needs in the block."""
    block.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "empty", block.empty)
        patch.setattr(executor, "address", block.address)
        patch.setattr(executor, "empty_rows", block.rows)
        patch.setattr(addresses.Addresses, "_of", lambda _self, array: block.address(array))
        engine = model.engine(threads=1, backend="jit")
        kernels = SimpleNamespace(isa=isa, run=run, entry=0)
        engine._executor = made = Executor(engine.plan, engine.config, engine.tensors, kernels, 1)
        table = made.program.table
        own = block.empty(table.nbytes).view(table.dtype).reshape(table.shape)
        own[...] = table
        made.program = made.program._replace(table=own)
        return engine.forward(*texts).copy()


def in_another_process(block: Block, file: Path, driver: Callable[..., None], library: Path) -> Callable[[int], None]:
    """Runs a job in a process of the driver's, which is given a copy of the block in a file."""

    def run(job: int) -> None:
        file.write_bytes(block.memory[: block.used].tobytes())
        driver(str(library), str(file), f"{BASE:x}", f"{job:x}")
        block.memory[: block.used] = np.frombuffer(file.read_bytes(), np.uint8)

    return run
