"""Files that are written whole or not at all, and never in the place of something that the writer did not make.

Everything that minibert writes under a name that a user gave goes through here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeAlias

from minibert.errors import InputError, MinibertError

try:
    import fcntl
except ImportError:  # Windows, which keeps a file that is open from being deleted
    fcntl = None

StrPath: TypeAlias = "str | os.PathLike[str]"

_KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def check_target(path: StrPath, inputs: Iterable[StrPath] = (), ours: Callable[[str], bool] | None = None) -> str:
    """Where a file is to be written: `path` with its links followed, once nothing would be lost by it.

    Args:
        path: the name that the user gave.
        inputs: files that are read, and folders of such files: none of them is replaced, whatever link leads to it.
        ours: whether an existing file is of the kind that is to be written. Such a file may be replaced also where it
            lies among the inputs; any other one only under its own name, not through a symbolic link.

    Raises:
        InputError: `path` is no place for a file, or something would be lost.
    """
    found = None
    try:
        target = os.path.realpath(path)
        with suppress(FileNotFoundError):
            found = os.stat(target)
    except (OSError, ValueError) as error:  # a link to itself; a name with a NUL
        raise InputError(f"{os.fspath(path)}: {getattr(error, 'strerror', None) or error}") from None
    if found is not None and not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise InputError(f"{os.fspath(path)}: is {kind}; name the file to write")
    if not os.path.isdir(os.path.dirname(target)):
        raise InputError(f"{os.path.dirname(target)}: no such folder; make it first")
    if not os.access(os.path.dirname(target), os.W_OK | os.X_OK):  # said before the work rather than after it
        raise InputError(f"{os.path.dirname(target)}: is a folder that you may not write to; name a file elsewhere")
    if found is not None and ours is not None:
        if ours(target):
            return target
        if os.path.islink(path):
            raise InputError(f"{os.fspath(path)}: is a link to {target}, which would be lost; name another file")
    for each in inputs:
        if _is_within(target, found, each):
            raise InputError(
                f"{os.fspath(path)}: belongs to {os.fspath(each)}, which is read, and would be lost; name another file"
            )
    return target


@contextmanager
def replacing(
    path: StrPath,
    inputs: Iterable[StrPath] = (),
    ours: Callable[[str], bool] | None = None,
    *,
    private: bool = False,
) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends: checked, whole, and on the disk.

    Until then it has a name of its own beside the target, `file.name`. Where the block raises, or the disk is full,
    the target stays as it was. What an earlier process left when it was killed is removed.

    Args:
        path: as `check_target` has it, as are `inputs` and `ours`.
        inputs: what is read.
        ours: what may be replaced.
        private: whether only its owner may read the file and write to it, whatever the umask says.

    Raises:
        InputError: see `check_target`.
        MinibertError: the file cannot be written.
    """
    target = check_target(path, inputs, ours)
    temporary = None
    try:
        _remove_leftovers(target)
        with _create(target, 0o600 if private else 0o666) as file:
            temporary = file.name
            yield file
            file.flush()
            if not private:
                with suppress(FileNotFoundError):  # who may read it stays the same
                    os.chmod(temporary, os.stat(target).st_mode & 0o777)
            os.fsync(file.fileno())
            if fcntl is not None:  # before the lock goes with the file
                os.replace(temporary, target)
        if fcntl is None:
            os.replace(temporary, target)
    except BaseException as error:  # an interrupt too leaves nothing behind
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise MinibertError(f"cannot write {target}: {error.strerror or error}") from error
        raise
    _sync_folder(target)


def _is_within(target: str, found: os.stat_result | None, place: StrPath) -> bool:
    """Whether a target, existing as `found` or not, is a file, or one of the files in a folder."""
    if os.path.realpath(place) == target:
        return True
    return found is not None and any(os.path.samestat(found, each) for each in _files(place))


def _files(place: StrPath) -> Iterator[os.stat_result]:
    """A file, or those in a folder and in its folders, links followed; nothing of what cannot be looked at."""
    left, seen = [os.fspath(place)], set()
    while left:
        each = left.pop()
        with suppress(OSError):
            status = os.stat(each)
            if not stat.S_ISDIR(status.st_mode):
                yield status
            elif (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                left += [os.path.join(each, name) for name in os.listdir(each)]


def _create(target: str, mode: int) -> BinaryIO:
    """A new file beside the target, locked for as long as it is being written."""
    folder, name = os.path.split(target)
    while True:
        # A name that is long already would become too long.
        temporary = os.path.join(folder, f"{name[:32]}.tmp{os.urandom(8).hex()}")
        file = open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode))  # noqa: SIM115
        if fcntl is None:
            return file
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):
            return file
        file.close()  # taken for a leftover before it was locked


def _remove_leftovers(target: str) -> None:
    """Removes what processes that are no more were writing for the target."""
    folder, name = os.path.split(target)
    leftover = re.compile(re.escape(name[:32]) + r"\.tmp[0-9a-f]{16}")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry for entry in entries if leftover.fullmatch(entry.name)]:
            with suppress(OSError):  # it is locked, or somebody else's
                if not entry.is_file(follow_symlinks=False):
                    continue
                if fcntl is None:
                    os.unlink(entry.path)
                    continue
                with open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _sync_folder(target: str) -> None:
    """The new name is on the disk only once its folder is."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # some file systems cannot
            folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
