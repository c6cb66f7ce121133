"""The folder where compiled kernels are kept: nobody but its owner can have put anything there.

What is found in it is loaded and run. So the folder is made for its owner alone, whatever the umask says, and nothing
is read from it, or written to it, where others might have written too.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from minibert.errors import BackendWarning, MinibertError
from minibert.files import replacing
from minibert.forking import unforked

if TYPE_CHECKING:
    from pathlib import Path


def cache_folder() -> Path:
    """Where compiled kernels are kept: MINIBERT_CACHE, the user's cache folder, or without a home a temporary one."""
    with unforked():
        from pathlib import Path  # here: a start with the kernels that the package carries needs no pathlib

    if folder := os.environ.get("MINIBERT_CACHE"):
        return Path(folder)
    home = os.path.expanduser("~")  # "~" itself for a user that the system does not know
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home) / "minibert" / "cache"
    if os.path.isabs(base := os.environ.get("XDG_CACHE_HOME") or ""):
        return Path(base) / "minibert"
    if os.path.isabs(home) and os.path.isdir(home):
        return Path(home) / ".cache" / "minibert"
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"minibert-{os.getuid()}"


def read_entry(path: Path) -> bytes | None:
    """A file of the folder; None if there is none, or others could have written it."""
    try:
        if not hasattr(os, "getuid"):  # Windows, where the user's folders are the user's
            return path.read_bytes()
        folder = _open_private(path.parent)
        if folder is None:
            return None
        try:
            file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        with open(file, "rb") as entry:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or _others_write(status):
                _warn(str(path))
                return None
            return entry.read()
    except OSError:
        return None


def publish(path: Path, content: bytes) -> None:
    """Write a file of the folder, whole; one that cannot be written, or not in private, is no error."""
    with suppress(OSError, MinibertError):
        make_private(path.parent)
        if hasattr(os, "getuid"):
            folder = _open_private(path.parent)
            if folder is None:
                return
            os.close(folder)
        with replacing(path, private=True) as file:
            file.write(content)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone."""
    if not folder.parent.exists():
        make_private(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _open_private(folder: Path) -> int | None:
    """A descriptor of the folder; None, with a warning, if others may write to it or lead elsewhere by it."""
    link = os.lstat(folder)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    if (stat.S_ISLNK(link.st_mode) and not _trusted(link)) or _others_write(os.fstat(opened)):
        os.close(opened)
        _warn(str(folder))
        return None
    return opened


def _trusted(status: os.stat_result) -> bool:
    """Whether it belongs to this user, or to root, who may do everything anyway."""
    return status.st_uid in (os.geteuid(), 0)


def _others_write(status: os.stat_result) -> bool:
    return not _trusted(status) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


@cache
def _warn(place: str) -> None:
    """Warn, once a process and place."""
    warnings.warn(
        f"{place}: others may write there, so compiled kernels are neither taken from it nor kept in it; make it "
        "yours alone (chmod go-w), or name another folder by MINIBERT_CACHE",
        BackendWarning,
        stacklevel=2,
    )
