"""Distillation: a small model is trained to answer as a large one does, in the arithmetic that will run it."""

from __future__ import annotations
