"""The one family of exceptions that minibert raises on purpose, and how it warns."""

from __future__ import annotations

import sys
import warnings


class MinibertError(Exception):
    """Base of every error that minibert raises on purpose: catch this one to catch them all."""


class FormatError(MinibertError, ValueError):
    """A model file is broken, truncated, hostile, or of a version that this release cannot read."""


class MissingFileError(FormatError, FileNotFoundError):
    """There is no model file of that name."""


class CheckpointError(MinibertError, ValueError):
    """A checkpoint folder cannot be converted: a file is missing, broken, or holds values that are not finite."""


class UnsupportedError(MinibertError, NotImplementedError):
    """The thing asked for is well formed but minibert does not do it; the message lists what it does."""


class InputError(MinibertError, ValueError):
    """Text, token ids or options given to a model are of the wrong type, shape or range."""


class BackendError(MinibertError, RuntimeError):
    """The backend asked for cannot run on this machine."""


class BackendWarning(UserWarning):
    """NumPy answers, many times slower, on a machine that kernels could be had for; the message says why."""


def warn(message: str, category: type[Warning]) -> None:
    """Give a warning that names the line outside the package by which this was called."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minibert."):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth)
