"""What this system gives kernels, which import nothing themselves: how to nap, and on Linux how to make helpers.

So one library serves every C library: glibc, musl, Android's, and systems that have none of their functions.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

from minibert.engine.memory import address
from minibert.kernels import opcodes as op
from minibert.kernels.isa import this_machine

#: The number of the system call by architecture.
_FUTEX = {"x86_64": 202, "aarch64": 98}
_NAP_MICROSECONDS = 50
#: Entries that are functions of Linux's C libraries.
_OF_LINUX = {
    op.SYSTEM_CALL: "syscall",
    op.THREAD_CREATE: "pthread_create",
    op.THREAD_JOIN: "pthread_join",
    op.THREAD_MASK: "pthread_sigmask",
}


@cache
def _functions() -> np.ndarray:
    """The table that JOB_SYSTEM tells of, int64; it lives as long as the process."""
    table = np.zeros(8, np.int64)
    try:
        if sys.platform == "win32":
            # A processor's turn is given up: Windows has no shorter sleep than a millisecond, and often 16.
            table[op.NAP] = _address(ctypes.WinDLL("kernel32"), "SwitchToThread")
            return table
        library = ctypes.CDLL(None)
        table[op.NAP], table[op.NAP_LENGTH] = _address(library, "usleep"), _NAP_MICROSECONDS
        if sys.platform in ("linux", "android") and this_machine():
            found = {entry: _address(library, name) for entry, name in _OF_LINUX.items()}
            for entry, place in {**found, op.FUTEX: _FUTEX[this_machine()]}.items():
                table[entry] = place
    except (OSError, AttributeError):  # a C library that lacks one of them, or is part of the program
        pass
    return table


def _address(library: Any, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


def system_table() -> int:
    """Its address; 0 where nothing is in it."""
    return address(_functions()) if _functions()[op.NAP] else 0


def makes_helpers() -> bool:
    """Whether kernels can make threads of their own here."""
    return bool(_functions()[op.THREAD_CREATE])
