"""A checkpoint's tensors under its family's plain names, each read once and its shape proved."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.stored import StoredTensor
from minibert_converter.network import Float32Array, Origin

#: What torch's wrappers, sentence-transformers and training loops put before all names.
WRAPPERS = (
    "module.",
    "_orig_mod.",
    "0.auto_model.",
    "0.model.",
    "auto_model.",
    "transformers_model.",
    "model.",
    "net.",
)


class NamedTensors:
    """Tensors by the names of the family's table, whatever prefix and old endings the checkpoint gives them.

    Args:
        folder: the checkpoint, for messages.
        stored: the checkpoint's tensors by its own names.
        prefixes: what may stand before a name; the first that fits is taken off.
        renamed: endings of old checkpoints, and what they are called today.
        unused: regular expressions of names that may be there without being needed.

    Raises:
        CheckpointError: two tensors come to the same name.
    """

    def __init__(
        self,
        folder: Path,
        stored: Mapping[str, StoredTensor],
        *,
        prefixes: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        unused: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._unused = tuple(unused)
        self._prefixes = tuple(prefixes)
        self._renamed = dict(renamed or {})
        self._tensors: dict[str, StoredTensor] = {}
        wrapper = _wrapper(list(stored), prefixes)
        for tensor in stored.values():
            name = self.plain(tensor.name[len(wrapper) :])
            if name in self._tensors:
                raise CheckpointError(
                    f"{folder}: {self._tensors[name].name!r} and {tensor.name!r} are the same weights"
                )
            self._tensors[name] = tensor
        self._unread = set(self._tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def plain(self, name: str) -> str:
        """The family's name of what a checkpoint calls so."""
        return _plain_name(name, self._prefixes, self._renamed)

    def replace(self, name: str, tensor: StoredTensor) -> None:
        """Has another tensor in the place of the one that a checkpoint calls so, or where there is none."""
        self._tensors[self.plain(name)] = tensor
        self._unread.add(self.plain(name))

    def change(self, name: str, change: Callable[[Float32Array], Float32Array]) -> None:
        """Has the tensor that a checkpoint calls so changed when it is read.

        Raises:
            CheckpointError: there is no such tensor.
        """
        self._tensors[self.plain(name)] = self._find(self.plain(name)).changed(change)

    def matching(self, pattern: str) -> list[str]:
        """The names that a regular expression fits."""
        return [name for name in self._tensors if re.fullmatch(pattern, name)]

    def rows(self, name: str) -> int:
        """Rows of the tensor, which must be there."""
        return (self._find(name).shape or (0,))[0]

    def read(self, name: str, shape: tuple[int, ...]) -> Float32Array:
        """The tensor in float32.

        Raises:
            CheckpointError: it is missing, of another shape, or holds values that are not finite.
        """
        return self._taken(name, shape).read()

    def integers(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """The tensor in whole numbers.

        Raises:
            CheckpointError: it is missing, of another shape, or of another type.
        """
        return self._taken(name, shape).integers()

    def _taken(self, name: str, shape: tuple[int, ...]) -> StoredTensor:
        tensor = self._find(name)
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.file}: tensor {tensor.name!r} has shape {list(tensor.shape)}, but config.json calls for "
                f"{list(shape)}"
            )
        self._unread.discard(name)
        return tensor

    def origin(self, *names: str) -> Origin:
        """How large these tensors together were in the checkpoint."""
        tensors = [self._find(name) for name in names]
        return Origin(sum(t.parameters for t in tensors), sum(t.nbytes for t in tensors))

    def refuse_strangers(self) -> list[str]:
        """Names never read that are known to be of no use; to be called when everything needed was read.

        Raises:
            CheckpointError: some tensor is neither needed nor known: the network would not be the one that was trained.
        """
        known = [name for name in self._unread if any(re.fullmatch(p, name) for p in self._unused)]
        strangers = sorted(self._tensors[name].name for name in self._unread.difference(known))
        if strangers:
            raise CheckpointError(
                f"{self.folder}: {len(strangers)} tensors are no part of the network that config.json describes: "
                f"{_listed(strangers)}"
            )
        return sorted(self._tensors[name].name for name in known)

    def refuse_missing(self, names: list[str]) -> None:
        """Checks that all of `names` are there.

        Raises:
            CheckpointError: naming those that are not.
        """
        missing = [name for name in names if name not in self._tensors]
        if missing:
            raise CheckpointError(f"{self.folder}: {len(missing)} tensors are missing: {_listed(missing)}")

    def _find(self, name: str) -> StoredTensor:
        self.refuse_missing([name])
        return self._tensors[name]


def _wrapper(names: Sequence[str], prefixes: Sequence[str]) -> str:
    """What stands before every name, as what wrapped the network in training was saved with it."""
    wrapper = ""
    while True:
        own = (prefix for prefix in WRAPPERS if prefix not in prefixes)
        found = next((one for one in own if names and all(name.startswith(wrapper + one) for name in names)), None)
        if found is None:
            return wrapper
        wrapper += found


def _plain_name(name: str, prefixes: Sequence[str], renamed: Mapping[str, str]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            while name.startswith(prefix):  # it may be there twice
                name = name.removeprefix(prefix)
            break
    for old, new in renamed.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _listed(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more
