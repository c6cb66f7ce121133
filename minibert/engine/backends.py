"""Which of the three engines answers: kernels that the package carries, kernels compiled here, or NumPy."""

from __future__ import annotations

import os
from functools import cache

from minibert.engine.library import can_compile, chosen_isa, why_not_compiled
from minibert.engine.prebuilt import prebuilt_code, why_none
from minibert.errors import BackendError, BackendWarning, warn
from minibert.kernels.isa import this_machine
from minibert.options import choice

#: Best first. All give the same integers.
BACKENDS = ("prebuilt", "jit", "numpy")


def choose_backend(name: str | None = None) -> str:
    """The backend asked for by name or by MINIBERT_BACKEND, else the best that can run here.

    "prebuilt" needs nothing but the package, on CPUs that it carries kernels for; "jit" needs numba; "numpy" always
    runs, at a tenth of the speed or less: with a BackendWarning, once a process, where there should be kernels.

    Raises:
        InputError: no such backend.
        BackendError: it cannot run here.
    """
    if name is None:
        name = os.environ.get("MINIBERT_BACKEND") or None
    if name is not None:
        name = choice("backend", name, BACKENDS)
    if name == "numpy":
        return name
    if name != "jit" and prebuilt_code(chosen_isa()) is not None:
        return "prebuilt"
    if name == "prebuilt":
        raise BackendError(
            f"backend 'prebuilt': this installation carries no kernels for {chosen_isa()}: "
            "install a wheel of minibert, or leave the backend open"
        )
    if can_compile():
        return "jit"
    if name == "jit":
        raise BackendError(f"backend 'jit' {why_not_compiled()}, or use backend='numpy'")
    if reason := why_numpy():
        warn_of_numpy(reason)
    return "numpy"


def why_numpy() -> str:
    """Why this machine has no kernels; empty where it has, and where none are made for it: 32 bits, a rare CPU."""
    if not this_machine() or can_compile():
        return ""
    reason = why_none(chosen_isa())
    return reason and f"kernels carried: {reason}; compiling kernels {why_not_compiled()}"


@cache
def warn_of_numpy(reason: str) -> None:
    """Warn, once a process."""
    message = f'NumPy answers, many times slower than kernels would ({reason}); backend="numpy" asks for it quietly'
    warn(message, BackendWarning)
