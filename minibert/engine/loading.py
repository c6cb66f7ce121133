"""Compiled kernels that become a function to call: a shared library by the system's loader, object code by LLVM."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from minibert.engine.cache import cache_folder, make_private, publish, read_entry
from minibert.errors import BackendError
from minibert.forking import unforked
from minibert.kernels.sources import sha256

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

_ENTRY_POINT = "minibert_run"
#: Loaders know libraries by it.
_SUFFIX = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")


def is_linked(code: bytes) -> bool:
    """Whether code is an ELF shared object (type 3), rather than an object file that still has to be linked."""
    return code[:4] == b"\x7fELF" and int.from_bytes(code[16:18], "little") == 3


def load_linked(code: bytes, file: str | None = None) -> tuple[object, int]:
    """Load a shared library.

    Args:
        code: its content, which has been checked.
        file: where it lies, if nobody puts anything there but who installs packages.

    Returns:
        what keeps it alive, and the address of the entry point.

    Raises:
        BackendError: this system does not load it.
    """
    failure: OSError | None = None
    for path in _places(code, file):
        try:
            library = ctypes.CDLL(path)
        except OSError as error:  # a folder whose files are not to be run, say: the next place may be better
            failure = failure or error
            continue
        return library, ctypes.cast(getattr(library, _ENTRY_POINT), ctypes.c_void_p).value or 0
    raise BackendError(f"the compiled kernels cannot be loaded: {failure or 'no folder can be written'}")


def _places(code: bytes, file: str | None) -> Iterator[str]:
    """Names of files with this content, best first: the system's loader wants one.

    A file in memory first, so that what was checked is what is loaded, whatever becomes of the package or the cache. It
    stays open, for the loader takes a name that it knows for a library that it has. Where there is no such thing (not
    Linux, or without /proc), the package's own file; of a package in a zip file a copy in the cache; a temporary one.
    """
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # forbidden here
            yield _written(f"/proc/self/fd/{os.memfd_create('minibert')}", code)
    if file is not None:
        yield file
    with suppress(OSError):
        copy = cache_folder() / f"library-{sha256(code).hexdigest()[:20]}.{_SUFFIX}"
        if read_entry(copy) != code:
            publish(copy, code)
        if read_entry(copy) == code:
            yield str(copy)
    with suppress(OSError), work_folder() as folder:
        yield _written(os.path.join(folder, f"kernels.{_SUFFIX}"), code)


def _written(path: str, code: bytes) -> str:
    with open(path, "wb") as file:
        file.write(code)
    return path


def work_folder() -> TemporaryDirectory[str]:
    """A private folder that is deleted behind a `with` block: among the temporary ones, or in the cache.

    Raises:
        OSError: there is no folder to write in.
    """
    with unforked():
        import tempfile

        with suppress(OSError):
            if tempfile.gettempdir() != os.getcwd():  # its last resort
                return tempfile.TemporaryDirectory(prefix="minibert-")
        make_private(cache_folder())
        return tempfile.TemporaryDirectory(prefix="minibert-", dir=cache_folder())


def load_object(code: bytes) -> tuple[object, int]:
    """Link and load object code by LLVM: what keeps it alive, and the address of the entry point.

    Raises:
        BackendError: there is no llvmlite.
    """
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise BackendError(f"compiled kernels need llvmlite, numba's own backend, to be loaded: {error}") from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, engine.get_function_address(_ENTRY_POINT)
