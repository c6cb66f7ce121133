"""Where the buffers of a plan lie in the memory of one chunk."""

from __future__ import annotations

from collections.abc import Mapping

from minibert.format.constants import ALIGNMENT
from minibert.kernels import opcodes as op
from minibert.plan import Buffer, Codes, Plan

#: Rows beyond the last one that may be read (and ignored) where rows go 16 at a time.
_SPARE_ROWS = 16


class Arena:
    """Gives each buffer a place when it is first named, one behind the other.

    Args:
        plan: whose buffers they are. One name stands for buffers of several widths: each gets room for its widest use.
        capacity: "tokens" and "texts" of a chunk at most.

    Attributes:
        capacity: as given.
        widest: columns of the widest buffer.
        size: bytes so far.
    """

    def __init__(self, plan: Plan, capacity: Mapping[str, int]) -> None:
        self.capacity = capacity
        self.size: int = 0
        self._places: dict[str, int] = {}
        self._widths: dict[str, int] = {}
        answers = [plan.output, *(buffer for buffer, _ in plan.token_outputs)]
        for part in [*answers, *(part for step in plan.steps for part in step)]:
            if isinstance(part, Buffer | Codes):
                self._widths[part.name] = max(self._widths.get(part.name, 0), part.width)
        self.widest: int = max(self._widths.values())

    def reserve(self, name: str, size: int) -> int:
        """Offset of `size` bytes of that name."""
        if name not in self._places:
            self._places[name] = self.size
            self.size += -(-size // ALIGNMENT) * ALIGNMENT
        return self._places[name]

    def buffer(self, buffer: Buffer | None) -> int:
        """Offset of a float32 buffer, -1 for none."""
        if buffer is None:
            return -1
        return self.reserve(buffer.name, self._rows(buffer) * self._widths[buffer.name] * 4)

    def codes(self, codes: Codes) -> int:
        """Offset of codes."""
        return self.reserve(codes.name, self._rows(codes) * self._widths[codes.name])

    def stride(self, codes: Codes) -> int:
        """Bytes between rows of codes: one stride whatever their width, for threads of a team may be a step apart."""
        return self._widths[codes.name]

    def scales(self, codes: Codes) -> int:
        """Offset of the codes' scales and zero points."""
        return self.reserve(f"{codes.name}.scales", self._rows(codes) * op.SCALE_BYTES)

    def _rows(self, place: Buffer | Codes) -> int:
        return self.capacity[place.rows] + _SPARE_ROWS
