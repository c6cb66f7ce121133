"""What calibration texts say of each matrix: second moments of its inputs, and of the derivatives by its outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minibert_converter.calibration.gradients import Gradients
from minibert_converter.calibration.outputs import calibrate
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.matrices import encoder_names
from minibert_converter.network import Float32Array, Network
from minibert_converter.progress import OnProgress


class Moments:
    """Sums over rows of one matrix, in memory that does not grow with them."""

    def __init__(self, rows: int, columns: int) -> None:
        self._sides = rows, columns
        self._count = 0
        self._inputs = self._outputs = np.zeros(())
        self._total = np.zeros(())

    def add(self, x: Float32Array, dy: Float32Array) -> None:
        """Takes in inputs float32 [n, in] and derivatives float32 [n, out]."""
        rows, columns = self._sides
        self._count += len(x)
        self._total = self._total + x.sum(axis=0, dtype=np.float64)
        self._inputs = self._inputs + _corners(x, columns)
        self._outputs = self._outputs + _corners(dy, rows)

    @property
    def inputs(self) -> np.ndarray:
        """float64 [blocks across, columns, columns], corners of E[x x^T] along its diagonal."""
        return self._inputs / self._count

    @property
    def outputs(self) -> np.ndarray:
        """float64 [blocks down, rows, rows], corners of E[g g^T] along its diagonal."""
        return self._outputs / self._count

    @property
    def covariances(self) -> np.ndarray:
        """float64 [blocks across, columns, columns], the same corners about the mean."""
        side = self._sides[1]
        mean = self._total / self._count
        mean = np.pad(mean, (0, len(self._inputs) * side - len(mean))).reshape(-1, side)
        return self.inputs - mean[:, :, None] * mean[:, None, :]


def gather_moments(
    network: Network,
    tokens: Tokens,
    sides: Callable[[str], tuple[int, int] | None],
    progress: OnProgress,
) -> dict[str, Moments]:
    """Moments of the encoder's matrices, by one forward and one backward pass over all texts.

    Args:
        network: the model; its matrices are float32.
        tokens: what it reads.
        sides: by a matrix's name, the size of the corners (of the derivatives, of the inputs); None to leave it out.
        progress: called with the stage "calibrating" and counts of texts.

    Raises:
        InputError: the texts drive the model to infinity.
    """
    wanted = {name: sides(name) for name in encoder_names(network)}
    moments = {name: Moments(*size) for name, size in wanted.items() if size is not None}

    def visit(name: str, x: Float32Array, dy: Float32Array, _starts: np.ndarray) -> None:
        name = network.aliases.get(name, name)
        if name in moments:
            moments[name].add(x, dy)

    gradients = Gradients(network)
    calibrate(tokens, lambda ids, types: gradients.run(ids, types, visit), progress)
    return moments


def _corners(rows: Float32Array, side: int) -> np.ndarray:
    """Blocks of side x side along the diagonal of rows^T rows: float64 [ceil(width / side), side, side]."""
    count = -(-rows.shape[1] // side)
    if side == 1:
        return np.square(rows).sum(axis=0, dtype=np.float64)[:, None, None]
    parts = np.pad(rows, ((0, 0), (0, count * side - rows.shape[1]))).reshape(len(rows), count, side)
    parts = np.ascontiguousarray(parts.transpose(1, 0, 2))
    return np.matmul(parts.transpose(0, 2, 1), parts).astype(np.float64)
