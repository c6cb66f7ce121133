"""The index: one SQLite file with the files, their chunks, the words of those (FTS5), and their vectors (int8).

Vectors are compared by NumPy, not by an extension of SQLite: many Pythons (macOS's, pyenv's) can load none, and an
extension would go through all vectors as well.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from localsearch.chunks import Chunk

if TYPE_CHECKING:
    import minibert

#: Marks a database as one of this program ("mbse"), and what it looks like.
APPLICATION, VERSION = 0x6D627365, 1
#: Seconds to wait while another process writes.
WAIT = 30
#: Characters around what matches in a snippet; no text has them, as the index keeps none.
MARKS = "\x02", "\x03"

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE files (
        id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE,
        mtime INTEGER NOT NULL, size INTEGER NOT NULL, digest BLOB NOT NULL, problem TEXT NOT NULL)""",
    """CREATE TABLE chunks (
        id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
        start INTEGER NOT NULL, line INTEGER NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL)""",
    "CREATE INDEX chunks_by_file ON chunks (file)",
    "CREATE TABLE vectors (chunk INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE, codes BLOB NOT NULL)",
    """CREATE VIRTUAL TABLE words USING fts5 (
        heading, text, content=chunks, content_rowid=id, tokenize='porter unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER chunk_comes AFTER INSERT ON chunks BEGIN
        INSERT INTO words (rowid, heading, text) VALUES (new.id, new.heading, new.text); END""",
    """CREATE TRIGGER chunk_goes AFTER DELETE ON chunks BEGIN
        INSERT INTO words (words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text); END""",
)
_TABLES = ("words", "vectors", "chunks", "files", "meta")
#: What to do about an error of SQLite, by a part of its message.
_WAYS = {
    "readonly": "--db FILE puts the index where you may write",
    "unable to open": "--db FILE puts the index where you may write",
    "locked": "another process has been writing for long; try again",
    "not a database": "--db FILE names one for the index",
    "malformed": "the file is damaged: delete it and index again",
    "full": "make room; what was indexed before is kept",
}


class SearchError(Exception):
    """What the program refuses, with the way forward."""


class FileState(NamedTuple):
    """What tells whether a file changed: its time in nanoseconds, its size, and the digest of its bytes."""

    mtime: int
    size: int
    digest: bytes = b""


@dataclass(frozen=True)
class Document:
    """A file that was read: its state, chunks and their vectors int8 [chunks, dim], or why it has none."""

    path: str
    state: FileState
    chunks: Sequence[Chunk]
    codes: np.ndarray
    problem: str = ""


class Row(NamedTuple):
    """A chunk as the index has it."""

    path: str
    heading: str
    line: int
    start: int
    text: str


def identity(model: minibert.Model) -> str:
    """A model's name and the beginning of its file's SHA-256: vectors of two models cannot be compared."""
    digest = hashlib.sha256()
    with model.path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{model.path.stem} {digest.hexdigest()[:12]}"


def quantized(vectors: np.ndarray) -> np.ndarray:
    """Vectors float32 [n, dim] as int8, each scaled by its own largest number; only their directions are kept."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-12)
    return np.rint(vectors * (127 / largest)).astype(np.int8)


class Store:
    """An index, opened for reading or, with `write`, made if need be and changed.

    Args:
        path: the database.
        folder: the folder that it is an index of.
        model: what `identity` says of the model.
        write: whether it will be changed.
        rebuild: whether to empty it first.

    Raises:
        SearchError: it is none, cannot be opened, or belongs to another model, folder or version.
    """

    def __init__(self, path: Path, folder: Path, model: str, *, write: bool = False, rebuild: bool = False) -> None:
        self.path = path
        if not write and not path.is_file():
            raise self._missing()
        try:
            folder_from_here = os.path.relpath(folder.resolve(), path.resolve().parent)
        except ValueError:  # another drive
            folder_from_here = str(folder.resolve())
        self._about = {"folder": folder_from_here, "model": model}
        with self.explained():
            # One connection for all threads of a service; who shares it takes turns by a lock.
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}",
                uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
            self._db.execute("PRAGMA foreign_keys = ON")
            try:
                if write:
                    with self.transaction():
                        self._make(rebuild)
                self._check()
            except BaseException:
                self._db.close()
                raise

    def _missing(self) -> SearchError:
        return SearchError(f"{self.path}: no index yet; the command `index` makes it")

    def _all(self, statement: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        with self.explained():
            return self._db.execute(statement, parameters).fetchall()

    def _number(self, query: str, *parameters: object) -> int:
        """The number that is the answer to a query."""
        return self._all(query, parameters)[0][0]

    def _make(self, rebuild: bool) -> None:
        """Create the tables where there are none."""
        empty = not self._number("SELECT count(*) FROM sqlite_master")
        if rebuild and not empty and self._number("PRAGMA application_id") == APPLICATION:
            for table in _TABLES:
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
            empty = True
        if empty:
            marks = f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}"
            for statement in (*_SCHEMA, *marks):
                self._db.execute(statement)
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", self._about.items())

    def _check(self) -> None:
        """Refuse what is no index, or is one of something else."""
        if not self._number("SELECT count(*) FROM sqlite_master"):
            raise self._missing()
        if self._number("PRAGMA application_id") != APPLICATION:
            raise SearchError(f"{self.path} is a database of another program: --db FILE names one for the index")
        if (version := self._number("PRAGMA user_version")) != VERSION:
            made = f"was made by version {version} of this program, which is {VERSION}"
            raise SearchError(f"{self.path} {made}: index --rebuild")
        for name, value in self._all("SELECT name, value FROM meta"):
            if self._about[name] != value:
                ways = "index --rebuild makes it anew, --db FILE another one beside it"
                raise SearchError(f"{self.path} is an index by the {name} {value}, not {self._about[name]}: {ways}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of SQLite within it become a SearchError that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            way = next((f": {way}" for sign, way in _WAYS.items() if sign in str(error)), "")
            raise SearchError(f"{self.path}: {error}{way}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes within it, or none."""
        with self.explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def states(self) -> dict[str, FileState]:
        """All files by their paths."""
        return {path: FileState(*state) for path, *state in self._all("SELECT path, mtime, size, digest FROM files")}

    def touch(self, states: Mapping[str, FileState]) -> None:
        """Files have other times and the same content."""
        if states:
            with self.transaction():
                times = [(state.mtime, path) for path, state in states.items()]
                self._db.executemany("UPDATE files SET mtime = ? WHERE path = ?", times)

    def replace(self, documents: Iterable[Document], gone: Iterable[str] = ()) -> None:
        """Put files in, in the place of what was known of them, and take others out."""
        with self.transaction():
            self._check()  # another process may have made it anew
            documents = list(documents)
            out = [*gone, *(document.path for document in documents)]
            self._db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in out])
            for document in documents:
                file = self._db.execute(
                    "INSERT INTO files (path, mtime, size, digest, problem) VALUES (?, ?, ?, ?, ?)",
                    (document.path, *document.state, document.problem),
                ).lastrowid
                for chunk, codes in zip(document.chunks, document.codes, strict=True):
                    number = self._db.execute(
                        "INSERT INTO chunks (file, start, line, heading, text) VALUES (?, ?, ?, ?, ?)",
                        (file, chunk.start, chunk.line, chunk.heading, chunk.text),
                    ).lastrowid
                    self._db.execute("INSERT INTO vectors VALUES (?, ?)", (number, codes.tobytes()))

    def counts(self) -> tuple[int, int]:
        """How many files have text, and how many chunks there are."""
        return self._number("SELECT count(*) FROM files WHERE problem = ''"), self._number(
            "SELECT count(*) FROM chunks"
        )

    def problems(self) -> list[tuple[str, str]]:
        """Files that have no chunks, and why."""
        return self._all("SELECT path, problem FROM files WHERE problem <> '' ORDER BY path")

    def changes(self) -> int:
        """A number that is another one after another connection has changed the index."""
        return self._number("PRAGMA data_version")

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [chunks] and vectors int8 [chunks, dim] of all chunks."""
        self._check()  # another process may have made it anew
        rows = self._all("SELECT chunk, codes FROM vectors ORDER BY chunk")
        ids = np.array([number for number, _ in rows], np.int64)
        return ids, np.frombuffer(b"".join(codes for _, codes in rows), np.int8).reshape(len(rows), -1 if rows else 0)

    def matching(self, expression: str) -> int:
        """How many chunks match an FTS5 expression."""
        return self._number("SELECT count(*) FROM words WHERE words MATCH ?", expression)

    def ranked_by_words(self, expression: str, limit: int) -> list[int]:
        """Chunks that match an FTS5 expression, the best first by BM25; a word in a heading counts twice."""
        ranking = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 2.0, 1.0) LIMIT ?"
        return [number for (number,) in self._all(ranking, (expression, limit))]

    def rows(self, ids: Sequence[int]) -> dict[int, Row]:
        """Chunks by their ids; those that are gone are left out."""
        columns = "SELECT chunks.id, path, heading, line, start, text FROM chunks JOIN files ON files.id = file"
        found = self._all(f"{columns} WHERE chunks.id IN ({','.join('?' * len(ids))})", ids)
        return {number: Row(*row) for number, *row in found}

    def snippets(self, expression: str, ids: Sequence[int]) -> dict[int, str]:
        """Where the chunks match an FTS5 expression: some words around it, what matches between MARKS."""
        columns = "SELECT rowid, snippet(words, 1, ?, ?, '…', 48) FROM words WHERE words MATCH ?"
        return dict(self._all(f"{columns} AND rowid IN ({','.join('?' * len(ids))})", (*MARKS, expression, *ids)))

    def length_at(self, path: str, start: int) -> int:
        """Characters of the chunk of a file that begins at `start`; 0 if there is none."""
        chunk = "SELECT length(text) FROM chunks JOIN files ON files.id = file WHERE path = ? AND start = ?"
        return sum(length for (length,) in self._all(chunk, (path, start)))
