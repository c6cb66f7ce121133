"""What a user asks of the result: a size, a score, a time, or to be the fastest that keeps to a loss."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from minibert.errors import InputError
from minibert_converter.report import format_bytes

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
#: The loss that the fastest file keeps to where nobody says otherwise: what int4 loses in most models.
DEFAULT_LOSS = 0.03
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Goal:
    """What must hold of the file; None asks for nothing.

    Attributes:
        max_size: bytes of the file.
        min_score: the part of the float32 model's score that must be kept, on the user's own examples.
        max_latency_ratio: the most time for a text, as a part of what the dense int8 model takes; estimated.
        max_loss: how far the answers may move by rounding (see `calibration.outputs.loss`), measured on the file.
        fastest: whether the fastest such file is asked for, the least bytes where that is no difference; else the one
            that loses least.
    """

    max_size: int | None = None
    min_score: float | None = None
    max_latency_ratio: float | None = None
    max_loss: float | None = None
    fastest: bool = False

    def __post_init__(self) -> None:
        if self.fastest and self.max_loss is None and self.min_score is None:
            raise InputError("the fastest file needs a loss or a score that it keeps to")
        if not self.fastest and self.max_loss is not None:
            raise InputError("a loss is what the fastest file keeps to: other budgets lose as little as they can")
        if not self.fastest and (self.max_size, self.min_score, self.max_latency_ratio) == (None, None, None):
            raise InputError("a budget needs a size, a score or a latency ratio")
        if self.max_size is not None and self.max_size < 1:
            raise InputError(f"max_size is {self.max_size}; a file has one byte at least")
        if self.max_loss is not None and not (math.isfinite(self.max_loss) and 0 < self.max_loss < 1):
            raise InputError(f"max_loss is {self.max_loss}; a part of the answers' variance is above 0 and below 1")
        check_parts(min_score=self.min_score, max_latency_ratio=self.max_latency_ratio)

    def __str__(self) -> str:
        terms = []
        if self.max_size is not None:
            terms.append(f"at most {format_bytes(self.max_size)}")
        if self.min_score is not None:
            terms.append(f"at least {self.min_score:.2%} of the float32 score")
        if self.max_latency_ratio is not None:
            terms.append(f"at most {self.max_latency_ratio:.2f} of the time of dense int8")
        if self.max_loss is not None:
            terms.append(f"a loss of at most {self.max_loss:g}")
        return ", ".join(terms)


def check_parts(**parts: float | None) -> None:
    """Raise InputError for one, by its name, that is no part of what the whole model has; None asks for nothing."""
    for name, value in parts.items():
        if value is not None and not (math.isfinite(value) and 0 < value <= 1):
            raise InputError(f"{name} is {value}; a part of what the full model has is above 0 and at most 1")


#: Bytes below which there is no file with a tokenizer and a config, let alone weights.
_LEAST_SIZE = 1000


def parse_size(text: str) -> int:
    """Bytes of "8MB" (8,000,000), "7.5 MiB" or "800000".

    Raises:
        InputError: it is nothing of the kind.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = None if match is None else _UNITS.get(match[2].upper())
    if match is None or unit is None or float(match[1]) * unit < 1:
        raise InputError(f"{text!r} is no size: write 8MB, 7.5MiB or 800000")
    size = int(float(match[1]) * unit)
    if size < _LEAST_SIZE:
        raise InputError(f"{text!r} means {size} bytes, which no model has: write a unit, such as 8MB")
    return size
