"""The bytes of a model file: mapped where they lie, or read into memory."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np

from minibert.errors import FormatError, MissingFileError
from minibert.format.constants import ALIGNMENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes that nobody changes through it; both kinds begin on a multiple of ALIGNMENT.
Content: TypeAlias = "mmap.mmap | memoryview"

CONVERT = "convert the checkpoint first: minibert convert FOLDER -o model.safetensors"


@contextmanager
def opened(source: str | bytes | bytearray | memoryview, copy: bool) -> Iterator[Content]:
    """What a file holds, or bytes do; refuses a file that is written to before the block ends.

    Args:
        source: the file's name, or all its bytes.
        copy: whether to read the file into memory instead of mapping it. Bytes always are copied.

    Raises:
        FormatError: there is no such file, it cannot be read, or it is being written.
    """
    if not isinstance(source, str):
        _refuse_short(len(source))
        yield in_memory(source)
        return
    with _open(source) as file:
        before = os.fstat(file.fileno())
        _refuse_short(before.st_size)
        yield _content(file, before.st_size, copy)
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise FormatError("is being written by another program: wait, and let it put files in place by a rename")


def in_memory(data: bytes | bytearray | memoryview) -> memoryview:
    """A copy of bytes, as a mapping of a file would have them."""
    return own_copy(np.frombuffer(data, np.uint8)).data


def own_copy(tensor: NDArray) -> NDArray:
    """A copy of a flat tensor, aligned and read-only: what is proven of it stays true whatever becomes of the file."""
    room = np.empty(tensor.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    room[start : start + tensor.nbytes] = tensor.view(np.uint8)
    return np.frombuffer(room.data.toreadonly(), tensor.dtype, tensor.size, start)


def _refuse_short(size: int) -> None:
    if size < 8:
        raise FormatError(f"is not a model file: it has {size} bytes")


def _open(path: str) -> BinaryIO:
    try:
        # Looked at before it is opened: opening a pipe would wait for a writer.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise FormatError(f"is a folder, not a model file; {CONVERT.replace('FOLDER', path)}")
        if not stat.S_ISREG(mode):
            raise FormatError("is not a regular file")
        return open(path, "rb")
    except FormatError:  # a ValueError too
        raise
    except FileNotFoundError:
        if path.endswith(".safetensors"):
            raise MissingFileError("no such file") from None
        name = path if path.count("/") == 1 and path[0].isalnum() else "FOLDER"  # of a model on the Hub, perhaps
        raise MissingFileError(f"no such file; {CONVERT.replace('FOLDER', name)}") from None
    except (OSError, ValueError) as error:  # a path with a NUL in it
        raise FormatError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _content(file: BinaryIO, size: int, copy: bool) -> Content:
    try:
        if copy:
            return in_memory(file.read(size))
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, ValueError, OverflowError) as error:  # more bytes than addresses
        raise FormatError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
