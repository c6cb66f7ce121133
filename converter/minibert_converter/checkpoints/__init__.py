"""Reading Hugging Face checkpoints, without PyTorch and without executing pickles."""

from __future__ import annotations

from minibert_converter.checkpoints.hub import checkpoint_folder
from minibert_converter.checkpoints.reader import read_checkpoint, task_of_checkpoint

__all__ = ["checkpoint_folder", "read_checkpoint", "task_of_checkpoint"]
