"""A model as a flat list of steps: what the steps are, and how a config becomes them."""

from minibert.plan.build import build_plan
from minibert.plan.steps import (
    Attend,
    Buffer,
    Codes,
    Embed,
    Exit,
    Matmul,
    Mix,
    Norm,
    Normalize,
    Plan,
    Pool,
    PruneTokens,
    Quantize,
    Rotate,
    SelectTokens,
    Step,
)

__all__ = [
    "Attend",
    "Buffer",
    "Codes",
    "Embed",
    "Exit",
    "Matmul",
    "Mix",
    "Norm",
    "Normalize",
    "Plan",
    "Pool",
    "PruneTokens",
    "Quantize",
    "Rotate",
    "SelectTokens",
    "Step",
    "build_plan",
]
