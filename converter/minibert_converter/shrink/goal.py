"""What a student has to be: small enough, fast enough, like enough."""

from __future__ import annotations

from dataclasses import dataclass

from minibert.errors import InputError
from minibert_converter.budget.goal import check_parts
from minibert_converter.report import format_bytes


@dataclass(frozen=True)
class Goal:
    """What must hold of the student; None asks for nothing.

    Where a part of the teacher's score is to be kept, the smallest student that keeps it is wanted (the fastest, if a
    time is all that is bounded beside it); else the one most like its teacher.

    Attributes:
        max_size: bytes of the file.
        max_latency_ratio: the most time for a text, as a part of what the teacher takes in dense int8; estimated.
        keep: the part of the teacher's score that is kept.
    """

    max_size: int | None = None
    max_latency_ratio: float | None = None
    keep: float | None = None

    def __post_init__(self) -> None:
        if (self.max_size, self.max_latency_ratio, self.keep) == (None, None, None):
            raise InputError("say what the student has to be: --max-size, --max-latency-ratio or --keep")
        if self.max_size is not None and self.max_size < 1:
            raise InputError(f"max_size is {self.max_size}; a file has one byte at least")
        check_parts(max_latency_ratio=self.max_latency_ratio, keep=self.keep)

    def fits(self, size: float, latency: float) -> bool:
        """Whether a student of so many bytes, which takes such a part of the time, is within the budget."""
        return (self.max_size is None or size <= self.max_size) and (
            self.max_latency_ratio is None or latency <= self.max_latency_ratio
        )

    def __str__(self) -> str:
        terms = []
        if self.max_size is not None:
            terms.append(f"at most {format_bytes(self.max_size)}")
        if self.max_latency_ratio is not None:
            terms.append(f"at most {self.max_latency_ratio:.2f} of the time of its teacher in int8")
        if self.keep is not None:
            terms.append(f"at least {self.keep:.2%} of its teacher's score")
        return ", ".join(terms)
