"""minibert: BERT on small machines, from one file, without PyTorch."""

from __future__ import annotations

__version__ = "0.1.0"
