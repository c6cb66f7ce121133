"""Running one step of a plan through the compiled entry point, on buffers that the test fills itself.

A step is lowered with its whole model, so that it is exactly the one an engine runs; then its row of the table becomes
a program of its own. Where its inputs and results lie in the arena is read from that row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minibert.engine.executor import _Seat, _Workspace
from minibert.engine.library import Kernels
from minibert.engine.lower import lower
from minibert.format.constants import LANES
from minibert.kernels import opcodes as op
from minibert.kernels.isa import TARGETS
from minibert.kernels.opcodes import Op
from minibert.numerics import HIGHEST_CODE
from minibert.plan import Buffer, Codes, build_plan
from tests.models import RandomModel


class Steps:
    """The steps of a model, one at a time, in one arena.

    Args:
        model: whose plan is run.
        kernels: compiled kernels.
        lengths: tokens of each text.
        ids: token ids of each text, if embeddings are looked up.
        token_types: their segments.
    """

    def __init__(
        self,
        model: RandomModel,
        kernels: Kernels,
        lengths: Sequence[int],
        ids: Sequence[Sequence[int]] | None = None,
        token_types: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.config, self.kernels = model.config, kernels
        self.plan = build_plan(model.config)
        self.starts = np.cumsum([0, *lengths]).astype(np.int64)
        self.tokens, self.texts = int(self.starts[-1]), len(lengths)
        self.ids = _flat(ids, self.tokens)
        self.token_types = _flat(token_types, self.tokens)
        self.program = lower(
            self.plan, model.config, model.tensors, max(self.tokens, 16), max(self.texts, 1), kernels.isa
        )
        self.workspace = _Workspace(self.program, 1, kernels, _Seat())
        self.arena = self.workspace.arenas[0]
        self.offset = self._code_offset()

    def rows(self, place: Buffer | Codes) -> int:
        return self.texts if place.rows == "texts" else self.tokens

    def find(self, kind: type, **fields: object) -> int:
        """Number of the first step of a kind whose fields have these values."""
        for number, step in enumerate(self.plan.steps):
            if isinstance(step, kind) and all(getattr(step, name) == value for name, value in fields.items()):
                return number
        raise LookupError(f"the plan has no {kind.__name__} with {fields}")

    def run(self, number: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Run step `number` (the one after the plan's last gives the answer); returns the caller's rows.

        `wanted`: bool [tokens], which tokens are wanted; None for all.
        """
        columns = self.plan.out_features
        out = np.full((self.rows(self.plan.output), columns), np.float32(np.nan))
        table = np.ascontiguousarray(self.program.table[number : number + 1])
        spans = np.array([[0, self.texts]], np.int64)
        answers = np.zeros(1, np.int64)
        workspace = self.workspace
        workspace.counters[:] = 0
        job = workspace.jobs[0]
        for entry, value in {
            op.JOB_ARENA: self.arena.ctypes.data,
            op.JOB_TABLE: table.ctypes.data,
            op.JOB_STEPS: 1,
            op.JOB_IDS: self.ids.ctypes.data,
            op.JOB_TYPES: self.token_types.ctypes.data,
            op.JOB_STARTS: self.starts.ctypes.data,
            op.JOB_SPANS: spans.ctypes.data,
            op.JOB_SPAN_COUNT: 1,
            op.JOB_OUT: out.ctypes.data,
            op.JOB_OUT_STARTS: answers.ctypes.data,
            op.JOB_WANTED: 0 if wanted is None else wanted.ctypes.data,
            op.JOB_THREADS: 1,
            op.JOB_TEAM: 0,
        }.items():
            job[entry] = value
        self.kernels.run(workspace.jobs.ctypes.data)
        return out

    # Buffers, through the row of a step that names them.

    def _view(self, offset: int, rows: int, stride: int, width: int, dtype: type) -> np.ndarray:
        assert offset >= 0
        size = np.dtype(dtype).itemsize
        flat = self.arena[offset : offset + (rows - 1) * stride + width * size]
        return np.lib.stride_tricks.as_strided(flat[: width * size].view(dtype), (rows, width), (stride, size))

    def source(self, number: int) -> np.ndarray:
        """The float32 rows that a step reads: [rows, width], writable."""
        place = self.plan.steps[number].source
        width = place.width
        return self._view(int(self.program.table[number, op.SOURCE]), self.rows(place), 4 * width, width, np.float32)

    def _scales(self, offset: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Scales and zero points, as they are stored, of groups of rows: two views [groups, rows of one]."""
        together = TARGETS[self.kernels.isa].rows_at_once
        groups, stride = -(-rows // together), op.SCALE_BYTES * together
        scales = self._view(offset, groups, stride, together, np.float32)
        return scales, self._view(offset + 4 * together, groups, stride, together, np.int32)

    def set_source_codes(self, number: int, codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> None:
        """Give a matmul these codes in -127..127, scales, and zero points."""
        row, place = self.program.table[number], self.plan.steps[number].source
        rows = self.rows(place)
        stored = self._view(int(row[op.SOURCE]), rows, int(row[op.SOURCE_STRIDE]), place.width, np.uint8)
        stored[:] = (codes + self.offset).astype(np.uint8)
        stored_scales, stored_zeros = self._scales(int(row[op.SOURCE_SCALES]), rows)
        for view, values in ((stored_scales, scales), (stored_zeros, np.add(zeros, self.offset))):
            view[:] = np.resize(np.broadcast_to(values, rows), view.shape)  # other rows of the last group: whatever

    def residual(self, number: int) -> np.ndarray:
        """The rows that a matmul adds, writable."""
        place = self.plan.steps[number].residual
        width = place.width
        return self._view(int(self.program.table[number, op.RESIDUAL]), self.rows(place), 4 * width, width, np.float32)

    def out(self, number: int) -> np.ndarray:
        """The float32 rows that a step wrote."""
        step = self.plan.steps[number]
        place = getattr(step, "out", None) or step.buffer
        width = place.width
        return self._view(int(self.program.table[number, op.OUT]), self.rows(place), 4 * width, width, np.float32)

    def codes(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The codes int [rows, width] in -127..127, scales [rows], and zero points [rows], that a step wrote."""
        row, place = self.program.table[number], self.plan.steps[number].codes
        rows = self.rows(place)
        stored = self._view(int(row[op.CODES]), rows, int(row[op.CODES_STRIDE]), place.width, np.uint8)
        codes = (stored - self.offset).astype(np.uint8).view(np.int8)
        scales, zeros = (view.reshape(-1)[:rows] for view in self._scales(int(row[op.SCALES]), rows))
        return codes.astype(np.int32), scales, zeros - self.offset

    def _code_offset(self) -> int:
        """What these kernels add to a code when they store it; a row of zeros is made of HIGHEST_CODE."""
        quantizes = [number for number, row in enumerate(self.program.table) if row[op.OP] == Op.QUANTIZE]
        if not quantizes:
            return 0
        self.offset = 0
        self.source(quantizes[0])[:] = 0
        self.run(quantizes[0])
        codes, _scales, zeros = self.codes(quantizes[0])
        assert np.unique(codes).tolist() in ([126], [-2])
        assert np.unique(zeros & 0xFF).tolist() == [codes[0, 0] & 0xFF]
        return int(zeros[0]) - HIGHEST_CODE


def _flat(rows: Sequence[Sequence[int]] | None, tokens: int) -> np.ndarray:
    return np.zeros(tokens, np.int32) if rows is None else np.concatenate(rows).astype(np.int32)


def padding_of_heads(head_size: int, heads: int) -> np.ndarray:
    """Which columns of a row of heads are padding: bool [heads * padded(head_size)]."""
    width = -(-head_size // LANES) * LANES
    return np.tile(np.arange(width) >= head_size, heads)
