"""The files of a folder: which there are, and their text."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from pathlib import Path

from localsearch.store import FileState

SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst")
#: Larger files are no text that somebody wrote, but logs and data.
MAX_BYTES = 4 << 20
#: Folders that hold what others wrote, beside hidden ones.
_LEFT_OUT = frozenset({"node_modules", "__pycache__", "site-packages"})
#: Control characters that text has none of; to FTS5's snippets they mark what matches (`localsearch.store.MARKS`).
_CONTROL = {code: " " for code in range(32) if chr(code) not in "\t\n\r"}


class UnreadableError(Exception):
    """A file without text for the index; says why."""


def scan(root: Path) -> tuple[dict[str, FileState], list[str]]:
    """The files of a folder and of those in it, by their paths from there, with "/" between.

    Links are not followed: they may lead in circles, or to what nobody meant to be found.

    Returns:
        The files; and folders that are there but cannot be read now, whose files may be there still.
    """
    files: dict[str, FileState] = {}
    blind: list[str] = []
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except FileNotFoundError:
            continue
        except OSError:
            blind.append(folder)
            continue
        for entry in entries:
            path = folder + entry.name
            if entry.name.startswith(".") or entry.name in _LEFT_OUT or not _is_unicode(entry.name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{path}/")
                elif entry.name.lower().endswith(SUFFIXES) and entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    files[path] = FileState(found.st_mtime_ns, found.st_size)
            except OSError:  # it went while we looked
                continue
    return files, blind


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read(path: Path) -> tuple[FileState, bytes]:
    """A file's state from before it was read, and its bytes: none of one that is too large.

    Raises:
        OSError: it is gone, cannot be read, or is no ordinary file any more.
    """
    # A pipe that took its place would keep us waiting, and a link would lead elsewhere.
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path}: no ordinary file")
        data = file.read(MAX_BYTES + 1) if found.st_size <= MAX_BYTES else b""
        digest = hashlib.sha256(data or str(found.st_size).encode()).digest()
        return FileState(found.st_mtime_ns, found.st_size, digest), data


def decode(data: bytes, size: int) -> str:
    """The text in a file's bytes: UTF-8, UTF-16 if it says so, or else Windows' Western letters.

    Raises:
        UnreadableError: it is too large, or no text.
    """
    if max(size, len(data)) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES >> 20} MiB")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data:
        raise UnreadableError("binary")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL)
