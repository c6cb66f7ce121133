"""What a search has measured so far, kept beside the file to be written, so that a search can be taken up again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minibert.errors import MinibertError


class State:
    """Measurements by key, on disk as soon as they are made.

    Args:
        target: the file that the search is for; the state lies in the folder `TARGET.search` beside it.
        inputs: all that the measurements depend on, as JSON values; a state of other inputs is thrown away.
    """

    def __init__(self, target: Path, inputs: Any) -> None:
        self.folder = target.with_name(f"{target.name}.search")
        self._inputs = key_of(inputs)
        self._known: dict[str, Any] = {}
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            fits = known["inputs"] == self._inputs
            self._known = known["measured"] if fits else {}
        except (OSError, ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            self.remove()
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise MinibertError(f"cannot make {self.folder}: {error.strerror or error}") from error

    @property
    def _path(self) -> Path:
        return self.folder / "measured.json"

    def get(self, key: str, measure: Callable[[], Any]) -> Any:
        """What was measured under this key, now or earlier: a JSON value."""
        if key not in self._known:
            self._known[key] = measure()
            text = json.dumps({"inputs": self._inputs, "measured": self._known})
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self._path)
        return self._known[key]

    def remove(self) -> None:
        """Forgets everything, on disk too."""
        shutil.rmtree(self.folder, ignore_errors=True)


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
