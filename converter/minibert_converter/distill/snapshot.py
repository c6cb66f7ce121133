"""The state of a training on disk, so that a process that was killed can go on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from minibert.errors import InputError
from minibert.files import replacing


class Snapshot:
    """A file that holds a state, replaced as a whole or not at all.

    Args:
        path: of the file.
        work: what the training is (recipe, teacher, texts), as plain JSON values: a state of other work is refused.
        seconds: time between two writings.
    """

    def __init__(self, path: Path, work: Mapping[str, Any], seconds: float = 60.0) -> None:
        self.path, self._seconds = path, seconds
        self._work = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()
        self._next = time.monotonic() + seconds

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() >= self._next

    def write(self, state: Mapping[str, Any]) -> None:
        """Writes a state."""
        with replacing(self.path) as file:
            torch.save({**state, "work": self._work}, file)
        self._next = time.monotonic() + self._seconds

    def read(self) -> dict[str, Any] | None:
        """The state; None if there is none.

        Raises:
            InputError: the file is broken, or belongs to other work.
        """
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds
            raise InputError(f"{self.path}: is no state of a training that can be read; delete it ({error})") from error
        if not isinstance(state, dict) or state.get("work") != self._work:
            raise InputError(
                f"{self.path}: the training that was stopped had another recipe, teacher or texts: "
                "finish it with those, or delete the file"
            )
        return state

    def remove(self) -> None:
        """Deletes the file, when the work is done."""
        self.path.unlink(missing_ok=True)
