"""What calibration texts say of each matrix: second moments of its inputs, and of the derivatives by its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minibert.errors import InputError
from minibert.text.packing import pack
from minibert.text.tokenizer import Tokenizer

from ..network import Float32Array, Network
from ..progress import Progress
from .encoder import encoder_names
from .gradients import Gradients

#: More texts than this teach nothing new; of more, so many are taken at even distances.
MAX_TEXTS = 512
#: Tokens that go through the network at once.
_CHUNK_TOKENS = 1024


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids and segment ids."""

    ids: list[list[int]]
    types: list[list[int]]

    @property
    def count(self) -> int:
        """Tokens of all texts."""
        return sum(map(len, self.ids))

    def sample(self, texts: int) -> Tokens:
        """So many of the texts, at even distances."""
        count = min(texts, len(self.ids))
        chosen = [i * len(self.ids) // count for i in range(count)]
        return Tokens([self.ids[i] for i in chosen], [self.types[i] for i in chosen])

    def chunks(self) -> list[tuple[list[list[int]], list[list[int]]]]:
        """Ids and types in parts of about _CHUNK_TOKENS tokens, texts of like length together."""
        parts = pack([len(one) for one in self.ids], batch_size=_CHUNK_TOKENS, max_tokens=_CHUNK_TOKENS)
        return [([self.ids[i] for i in part], [self.types[i] for i in part]) for part in parts]


def tokenize(network: Network, texts: Sequence[str], most: int = MAX_TEXTS) -> Tokens:
    """Token ids of texts, each cut at the model's longest text.

    Args:
        network: whose tokenizer reads them.
        texts: at most `most` of them are taken, at even distances.
        most: texts to take.

    Raises:
        InputError: there is no text with a token in it.
    """
    if len(texts) > most:
        texts = [texts[i * len(texts) // most] for i in range(most)]
    tokenizer = Tokenizer(
        network.tokenizer_json, max_length=network.text.max_length, token_types=network.architecture.token_types
    )
    encoded = [one for text in texts if (one := tokenizer.encode(text)).ids]
    if not encoded:
        raise InputError("calibration needs at least one text with a token in it")
    return Tokens([one.ids for one in encoded], [one.type_ids or [0] * len(one.ids) for one in encoded])


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
    progress: Progress,
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

    gradients, done = Gradients(network), 0
    for ids, types in tokens.chunks():
        progress("calibrating", done, len(tokens.ids))
        answers = gradients.run(ids, types, visit)
        if not np.isfinite(answers).all():
            raise InputError("calibration texts drive the float32 model to values that are not finite")
        done += len(ids)
    progress("calibrating", done, done)
    return moments


def _corners(rows: Float32Array, side: int) -> np.ndarray:
    """Blocks of side x side along the diagonal of rows^T rows: float64 [ceil(width / side), side, side]."""
    count = -(-rows.shape[1] // side)
    if side == 1:
        return np.square(rows).sum(axis=0, dtype=np.float64)[:, None, None]
    parts = np.pad(rows, ((0, 0), (0, count * side - rows.shape[1]))).reshape(len(rows), count, side)
    parts = np.ascontiguousarray(parts.transpose(1, 0, 2))
    return np.matmul(parts.transpose(0, 2, 1), parts).astype(np.float64)
