"""minibert: BERT on small machines, from one file, without PyTorch.

    import minibert

    model = minibert.load("model.safetensors")
    model.predict("a great movie")          # {"label": "positive", "score": 0.98}

Importing the package costs next to nothing: NumPy, the engine and the tokenizer come when they are first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibert.errors import (
    BackendError,
    BackendWarning,
    CheckpointError,
    FormatError,
    InputError,
    MinibertError,
    MissingFileError,
    UnsupportedError,
)
from minibert.forking import unforked

if TYPE_CHECKING:
    from minibert.compat.sklearn import MinibertEncoder
    from minibert.model import Model, load
    from minibert.tasks.vectors import quantize_embeddings
    from minibert.text.tokenizer import TruncationWarning

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BackendWarning",
    "CheckpointError",
    "FormatError",
    "InputError",
    "MinibertEncoder",
    "MinibertError",
    "MissingFileError",
    "Model",
    "TruncationWarning",
    "UnsupportedError",
    "__version__",
    "load",
    "quantize_embeddings",
]

#: Public names that come with their modules, on first use.
_LAZY = {
    "MinibertEncoder": "minibert.compat.sklearn",
    "Model": "minibert.model",
    "load": "minibert.model",
    "quantize_embeddings": "minibert.tasks.vectors",
    "TruncationWarning": "minibert.text.tokenizer",
}


def __getattr__(name: str) -> Any:
    """A public name of _LAZY: import its module and remember it (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'minibert' has no attribute {name!r}")
    with unforked():
        from importlib import import_module

        value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
