"""Reading Hugging Face checkpoint folders, without PyTorch and without executing pickles."""

from __future__ import annotations

from minibert_converter.checkpoints.reader import read_checkpoint, task_of_checkpoint

__all__ = ["read_checkpoint", "task_of_checkpoint"]
