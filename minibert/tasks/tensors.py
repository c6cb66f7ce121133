"""Answers as tensors of PyTorch, for callers who have it: nothing of minibert needs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minibert.errors import InputError
from minibert.forking import unforked


def has_torch() -> bool:
    """Whether PyTorch can be imported."""
    with unforked():
        from importlib.util import find_spec

        return find_spec("torch") is not None


def as_tensor(answer: Any) -> Any:
    """An array as a tensor over the same memory; of a list or a dict each of its arrays.

    Raises:
        InputError: there is no PyTorch.
    """
    with unforked():
        from importlib import import_module

        try:
            torch = import_module("torch")
        except ImportError as error:
            raise InputError(
                f"tensors need PyTorch, which cannot be imported ({error}): without it answers are NumPy arrays"
            ) from None
    return _tensors(answer, torch.from_numpy)


def _tensors(answer: Any, convert: Any) -> Any:
    if isinstance(answer, np.ndarray):
        return convert(answer)
    if isinstance(answer, list):
        return [_tensors(each, convert) for each in answer]
    if isinstance(answer, dict):
        return {name: _tensors(each, convert) for name, each in answer.items()}
    return answer
