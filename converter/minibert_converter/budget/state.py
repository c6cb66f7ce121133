"""What a search has measured so far, kept beside the file to be written, so that a search can be taken up again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minibert.errors import InputError, MinibertError
from minibert.files import replacing


class State:
    """Measurements by key, on disk as soon as they are made.

    Args:
        target: the file that the search is for; the state lies in the folder `TARGET.search` beside it.
        inputs: all that the measurements depend on, as JSON values; a state of other inputs is thrown away.
        ending: of the folder's name.

    Raises:
        InputError: something else has the folder's name.
        MinibertError: the folder cannot be written.
    """

    def __init__(self, target: Path, inputs: Any, ending: str = "search") -> None:
        self.folder = target.with_name(f"{target.name}.{ending}")
        self._inputs = key_of(inputs)
        self._known: dict[str, Any] = {}
        self.arrays: MutableMapping[str, Mapping[str, Any]] = Arrays(self.folder)
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            if known["inputs"] == self._inputs:
                self._known = known["measured"]
                return
        except FileNotFoundError:
            if os.path.lexists(self.folder) and not self._is_new():
                raise InputError(f"{self.folder}: is in the way, and no state of a search; move it") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder}: is no state of a search that can be read; delete it ({error})") from None
        self.remove()
        try:
            self.folder.mkdir()
        except OSError as error:
            raise MinibertError(f"cannot make {self.folder}: {error.strerror or error}") from error
        self._write()

    @property
    def _path(self) -> Path:
        return self.folder / "measured.json"

    def _is_new(self) -> bool:
        """Whether the folder has no more in it than a first writing that was stopped."""
        return self.folder.is_dir() and all(each.name.startswith(self._path.name) for each in self.folder.iterdir())

    def get(self, key: str, measure: Callable[[], Any]) -> Any:
        """What was measured under this key, now or earlier: a JSON value."""
        if key not in self._known:
            self._known[key] = measure()
            self._write()
        return self._known[key]

    def has(self, key: str) -> bool:
        """Whether something was measured under this key."""
        return key in self._known

    def is_empty(self) -> bool:
        """Whether nothing has been measured yet."""
        return not self._known

    def _write(self) -> None:
        with replacing(self._path) as file:
            file.write(json.dumps({"inputs": self._inputs, "measured": self._known}).encode())

    def remove(self) -> None:
        """Forgets everything, on disk too; last of all the file by which a folder is known for a state."""
        with suppress(OSError):
            for each in self.folder.iterdir():
                if not each.name.startswith(self._path.name):
                    os.unlink(each)
        shutil.rmtree(self.folder, ignore_errors=True)


class Arrays(MutableMapping[str, Mapping[str, Any]]):
    """Arrays by name, several under each key, in files of the folder of a state."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Mapping[str, Any]] = {}

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        if key not in self._loaded:
            try:
                with np.load(self._path(key), allow_pickle=False) as file:
                    self._loaded[key] = {name: file[name] for name in file.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                raise KeyError(key) from None
        return self._loaded[key]

    def __setitem__(self, key: str, value: Mapping[str, Any]) -> None:
        self._loaded[key] = value
        with replacing(self._path(key)) as file:
            np.savez(file, **value)

    def __delitem__(self, key: str) -> None:
        del self._loaded[key]
        self._path(key).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self._folder.glob("*.npz"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def key_of(value: Any) -> str:
    """A short name for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def folder_key(folder: Path, target: Path) -> str:
    """A name for what lies in a checkpoint folder: names and contents of its files, without what is made there."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.resolve().as_posix().startswith(target.resolve().as_posix()):
            digest.update(str(path.relative_to(folder)).encode())
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
    return digest.hexdigest()[:16]
