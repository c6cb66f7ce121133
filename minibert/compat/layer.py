"""What both classes of sentence-transformers have here: their constructors' arguments, and the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from minibert import options
from minibert.errors import InputError
from minibert.model import LOAD_OPTIONS, Model
from minibert.tasks.base import Source

#: Arguments of both constructors that change nothing here, and what to do where they ask for something else.
CONSTRUCTOR = {
    "device": options.ELSEWHERE["device"],
    **{
        name: options.Elsewhere(lambda value: value is None or value is False, instead)
        for name, instead in {
            "backend": "minibert has backends of its own: prebuilt, jit, numpy",
            "cache_folder": "a model is one file",
            "local_files_only": "a model is one file",
            "model_kwargs": "`minibert convert` chooses what becomes of the weights",
            "modules": "a model is one file, made by `minibert convert`",
            "revision": "a model is one file",
            "token": "a model is one file",
            "trust_remote_code": "a file holds no code",
        }.items()
    },
}


def load_options(given: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Options of `minibert.load` out of a constructor's; refuses what is neither these nor harmless."""
    found = {}
    for name, value in given.items():
        elsewhere = CONSTRUCTOR.get(name)
        if elsewhere is not None and elsewhere.harmless(value):
            continue
        if elsewhere is not None and name not in LOAD_OPTIONS:
            raise InputError(f"there is no option {name!r}: {elsewhere.instead}")
        if name == "backend" and value == "torch":
            raise InputError("there is no backend 'torch': minibert has backends of its own: prebuilt, jit, numpy")
        found[name] = value
    options.refuse_unknown(found, (*LOAD_OPTIONS, *known))
    return found


def _cpu() -> Any:
    """PyTorch's name of the CPU for a program that uses PyTorch, else plainly "cpu"."""
    torch = sys.modules.get("torch")
    return "cpu" if torch is None else torch.device("cpu")


class Layer(Model):
    """What both classes have."""

    def _opened(self, source: Source) -> Any:
        return Model(source, **self._options)

    @property
    def device(self) -> Any:
        """The CPU."""
        return _cpu()

    def to(self, device: Any) -> Any:
        """The model itself, for the CPU.

        Raises:
            InputError: another device.
        """
        options.own({"device": device}, ())
        return self

    def cpu(self) -> Any:
        """The model itself."""
        return self

    def eval(self) -> Any:
        """The model itself, which never trains."""
        return self
