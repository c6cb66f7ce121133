"""The kernels as a function to call: carried by the package, found in the cache, or compiled; then loaded.

Compiling happens in a process of its own, so that the one that serves answers never pays for numba's import, in time
or in memory. The object code is cached under a hash of everything that it depends on: the kernels' sources, the
versions of numba and llvmlite, Python's, the kind of machine and the instruction set. A cache entry appears by a
rename, so two processes can fill it at once; where no folder can be written, or not in private, the code is compiled
anew and stays in memory.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from minibert import isolated
from minibert.engine.cache import cache_folder, publish, read_entry
from minibert.engine.cpu import supported_isas
from minibert.engine.loading import is_linked, load_linked, load_object, work_folder
from minibert.engine.prebuilt import prebuilt_code, prebuilt_file
from minibert.errors import BackendError
from minibert.forking import unforked
from minibert.kernels.sources import PACKAGE, sha256, sources_hash

if TYPE_CHECKING:
    from pathlib import Path

_lock = threading.Lock()
_loaded: dict[tuple[str, bool], Kernels] = {}


def _unlock() -> None:
    """A fork may have caught the lock closed, by a thread that is not in this process."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


class Kernels:
    """Loaded kernels of one instruction set.

    Attributes:
        isa: name of the instruction set.
        prebuilt: whether the package carried them.
        entry: address of the entry point.
        run: calls it with the address of a job; the interpreter lock is released meanwhile.
    """

    def __init__(self, isa: str, code: bytes, *, prebuilt: bool = False) -> None:
        self.isa = isa
        self.prebuilt = prebuilt
        self.entry: int
        with unforked():
            if prebuilt or is_linked(code):
                self._library, self.entry = load_linked(code, prebuilt_file(isa) if prebuilt else None)
            else:
                self._library, self.entry = load_object(code)
        self.run: Callable[[int], None] = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.entry)


def kernels(isa: str | None = None, *, prebuilt: bool | None = None) -> Kernels:
    """The kernels for an instruction set (MINIBERT_ISA, or the best one of this CPU, if None).

    Args:
        isa: name of the instruction set.
        prebuilt: whether to take those that the package carries (True), or to compile (False); None takes the former
            where there are any.

    Raises:
        BackendError: this CPU lacks the instruction set, none are carried for it, or numba is not to be had.
    """
    isa = chosen_isa(isa)
    with _lock:
        if prebuilt is not False:
            if (isa, True) not in _loaded:
                with unforked():
                    code = prebuilt_code(isa)
                if code:
                    _loaded[isa, True] = Kernels(isa, code, prebuilt=True)
            if (isa, True) in _loaded:
                return _loaded[isa, True]
            if prebuilt:
                raise BackendError(f"this installation carries no kernels for {isa} that belong to its sources")
        if (isa, False) not in _loaded:
            with unforked():
                code = _cached(isa)
            _loaded[isa, False] = Kernels(isa, code or _compiled(isa))
        return _loaded[isa, False]


def chosen_isa(isa: str | None = None) -> str:
    """An instruction set that this CPU has: the one asked for, else MINIBERT_ISA, else the best.

    Raises:
        BackendError: this CPU lacks it.
    """
    supported = supported_isas()
    isa = isa or os.environ.get("MINIBERT_ISA") or supported[0]
    if isa not in supported:
        raise BackendError(f"this CPU cannot run kernels for {isa!r}; it can run {', '.join(supported)}")
    return isa


def at_hand() -> bool:
    """Whether the best kernels of this CPU can be had without compiling any."""
    isa = chosen_isa()
    return (isa, False) in _loaded or prebuilt_code(isa) is not None or (can_compile() and _cached(isa) is not None)


def can_compile() -> bool:
    """Whether there is what compiles kernels."""
    return not why_not_compiled()


def why_not_compiled() -> str:
    """Why kernels cannot be compiled here, as the end of a sentence; empty where they can."""
    if isolated.find("numba") is None or isolated.find("llvmlite") is None:
        return "needs numba: pip install numba"
    if reason := isolated.why_not():
        return f"needs a process of its own, but {reason}"
    return ""


def _compiler_versions() -> list[str]:
    """What numba and llvmlite say of their version, read without importing them or their metadata (30 ms)."""
    versions = []
    for name in ("numba", "llvmlite"):
        found = isolated.find(name)
        if found and found.origin:
            with open(os.path.join(os.path.dirname(found.origin), "_version.py"), encoding="utf-8") as file:
                versions.append(file.read())
    return versions


@cache
def _cache_key() -> str:
    """Hash of all that the object code depends on, except the instruction set."""
    digest = sha256()
    # Machines of several kinds may share a home folder.
    sources = sources_hash(PACKAGE)
    for part in (*sys.version_info[:2], *_compiler_versions(), sys.platform, platform.machine(), sources):
        digest.update(f"{part};".encode())
    return digest.hexdigest()[:20]


def cache_path(isa: str) -> Path:
    """The cache file of an instruction set's kernels."""
    return cache_folder() / f"kernels-{isa}-{_cache_key()}.o"


def _cached(isa: str) -> bytes | None:
    """Code from the cache, if it is there and whole: the file ends with the SHA-256 of the rest."""
    try:
        content = read_entry(cache_path(isa)) or b""
    except OSError:  # sources that lie in no folder have no hash
        return None
    code, checksum = content[:-32], content[-32:]
    return code if sha256(code).digest() == checksum else None


def _compiled(isa: str) -> bytes:
    """Compile in another process, and publish in the cache where that is possible."""
    with unforked():
        import subprocess

    if reason := why_not_compiled():
        raise BackendError(f"compiling the kernels {reason}")
    try:
        with work_folder() as folder:
            target = os.path.join(folder, "kernels.o")
            # It works in this folder: nothing that it starts finds anything in the one where this process is.
            outcome = subprocess.run(
                isolated.command("minibert.kernels.build", isa, target),
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,
                env={**os.environ, "TMPDIR": folder},
            )
            if outcome.returncode or not os.path.exists(target):
                reason = outcome.stderr.strip().splitlines()[-1:] or [f"exit status {outcome.returncode}"]
                raise BackendError(f"compiling the kernels for {isa} failed: {reason[0]}")
            with open(target, "rb") as file:
                code = file.read()
    except OSError as error:  # no process, no memory, no disk
        raise BackendError(f"compiling the kernels for {isa} failed: {error}") from error
    with unforked():
        checksum = sha256(code).digest()
    publish(cache_path(isa), code + checksum)
    return code
