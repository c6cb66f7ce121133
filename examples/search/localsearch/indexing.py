"""Bringing an index up to date with its folder, once or for as long as it is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from localsearch import files
from localsearch.chunks import chunks_of
from localsearch.store import Document, FileState, SearchError, Store, quantized

if TYPE_CHECKING:
    import minibert

#: Chunks that are read and written together: what an interruption costs at most, but for a single longer file.
TOGETHER = 128
#: Texts in one pass of the model: more are hardly faster, and take memory.
_PASS = 16


@dataclass
class Changes:
    """What an update did, in files."""

    indexed: int = 0
    removed: int = 0
    chunks: int = 0

    def __bool__(self) -> bool:
        return bool(self.indexed or self.removed)

    def __str__(self) -> str:
        return f"{self.indexed} indexed, {self.removed} removed"


def update(
    store: Store,
    model: minibert.Model,
    root: Path,
    progress: Callable[[Changes], object] = lambda _: None,
    stop: threading.Event | None = None,
) -> Changes:
    """Read what is new or changed, and forget what is gone; called again after an interruption, it goes on.

    Args:
        store: the index, open for writing. Another process may work at the same one.
        model: what makes the vectors.
        root: the folder.
        progress: called after each transaction.
        stop: when it is set, the rest is left for another time.

    Raises:
        SearchError: there is no such folder (then nothing is forgotten), or the index cannot be written.
    """
    if not root.is_dir():
        raise SearchError(f"{root}: no such folder; the index stays as it is")
    found, blind = files.scan(root)
    known = store.states()
    changes = Changes()
    gone = {path for path in known.keys() - found.keys() if not path.startswith(tuple(blind))}
    if gone:
        store.replace([], gone)
        changes.removed = len(gone)
    waiting: list[Document] = []

    def write() -> None:
        store.replace(waiting)
        changes.indexed += len(waiting)
        changes.chunks += sum(len(document.chunks) for document in waiting)
        waiting.clear()
        progress(changes)

    changed = sorted(path for path, state in found.items() if known.get(path, state._replace(size=-1))[:2] != state[:2])
    for document in _documents(store, model, root, changed):
        waiting.append(document)
        if sum(len(each.chunks) for each in waiting) >= TOGETHER or len(waiting) >= TOGETHER:
            write()
            if stop is not None and stop.is_set():
                break
    if waiting:
        write()
    return changes


def _documents(store: Store, model: minibert.Model, root: Path, paths: list[str]) -> Iterator[Document]:
    """Those of the files whose content is another one than the index has."""
    for start in range(0, len(paths), TOGETHER):
        known = store.states()  # anew: another process may be at the same work
        same: dict[str, FileState] = {}
        for path in paths[start : start + TOGETHER]:
            try:
                state, data = files.read(root / path)
            except OSError:
                continue  # gone, or not to be read now: the next update sees
            if path in known and known[path].digest == state.digest:
                same[path] = state
            else:
                yield _document(model, path, state, data)
        store.touch(same)


def _document(model: minibert.Model, path: str, state: FileState, data: bytes) -> Document:
    try:
        chunks = list(chunks_of(files.decode(data, state.size), path, model))
    except files.UnreadableError as error:
        return Document(path, state, (), np.zeros((0, 0), np.int8), str(error))
    vectors = model.encode_document([chunk.read for chunk in chunks], batch_size=_PASS)
    return Document(path, state, chunks, quantized(vectors))


def watch(
    store: Store,
    model: minibert.Model,
    root: Path,
    every: float,
    stop: threading.Event,
    report: Callable[[Changes | SearchError], object],
    progress: Callable[[Changes], object] = lambda _: None,
) -> None:
    """Update every so many seconds until `stop` is set, by looking at times and sizes.

    `report` hears what came of each. What fails, as a folder that is not there, may pass: it is tried again.
    """
    while not stop.is_set():
        try:
            report(update(store, model, root, progress, stop))
        except SearchError as error:
            report(error)
        stop.wait(every)
