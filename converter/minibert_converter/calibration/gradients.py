"""How much a model's outputs would change if what a matrix returns changed: derivatives, in NumPy.

The forward pass is the engine's own (`minibert.reference.Reference`, float32), which shows the input of every matrix.
From these inputs alone the backward pass recomputes what lies between two matrices and walks the network from its
outputs to its first layer (gradient checkpointing, arXiv 1604.06174, with the matrices as checkpoints).

Nobody's labels are needed. A loss would be how far the outputs move from what they are now: for a classifier the
Kullback-Leibler divergence of its probabilities, for embeddings their squared distance. At the unpruned model that
loss and its gradient are zero and its Hessian is the Fisher information E[J^T M J], with J the Jacobian of the
outputs and M their metric. So the backward pass starts from random vectors v with E[v v^T] = M, and the squares of
the gradients it brings are unbiased estimates of the Hessian's diagonal (Kunstner et al., arXiv 1905.12558).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from minibert.errors import UnsupportedError
from minibert.format.constants import Activation, padded
from minibert.reference import Reference
from minibert.reference.functions import activate
from minibert.tasks.scores import softmax
from minibert_converter.export import export
from minibert_converter.matrices import float_linear, has_plain_head, norm_of, widened
from minibert_converter.network import Float32Array, LinearWeights, Network

#: `visit(name, x, dy, starts)`: a matrix, its input float32 [rows, in], the derivatives by its output float32
#: [rows, out], and where each text's rows start, int [texts + 1].
Visitor = Callable[[str, Float32Array, Float32Array, np.ndarray], None]


#: Tasks beside classification whose outputs are scores of which a softmax makes probabilities, row by row.
_ONE_OF_MANY = ("token-classification", "fill-mask")


class Gradients:
    """Forward and backward passes of one network.

    Args:
        network: a model whose matrices and tables are float32.
        seed: of the random directions.

    Raises:
        UnsupportedError: several poolings, or something between the linears of the head.
    """

    def __init__(self, network: Network, seed: int = 0) -> None:
        if not has_plain_head(network.architecture):
            raise UnsupportedError("pruning by scores is not for a head that is more than one pooling and linears")
        self._network = network
        self._reference = Reference(*export(network), every_token=True)
        self._random = np.random.default_rng(seed)

    def run(self, ids: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]], visit: Visitor) -> Float32Array:
        """Runs texts forwards and backwards, visiting every matrix of the encoder and the head.

        Args:
            ids: token ids of each text.
            token_types: segment ids in the same shape.
            visit: called once for each matrix, from the last to the first.

        Returns:
            float32 [texts, out], the model's outputs.
        """
        inputs: dict[str, Float32Array] = {}
        outputs = self._reference.forward(ids, token_types, inputs.__setitem__)
        starts = np.cumsum([0, *map(len, ids)])
        _Backward(self._network, inputs, starts, visit).walk(self._direction(outputs))
        return outputs

    def _direction(self, outputs: Float32Array) -> Float32Array:
        """Random vectors v, one a row, with E[v v^T] = the metric of the outputs."""
        task = self._network.task
        signs = self._random.choice(np.array([-1, 1], np.float32), outputs.shape)
        if task.kind == "text-classification" and task.problem_type == "multi_label":
            # A label that is there with odds p has the Fisher information p (1 - p).
            return (signs * 0.5 / np.cosh(np.clip(outputs / 2, -40, 40))).astype(np.float32)
        if (task.kind == "text-classification" and task.problem_type == "single_label") or task.kind in _ONE_OF_MANY:
            # That of a softmax is diag(p) - p p^T. Labels drawn from p would have it too, but where the model is sure
            # the draw is nearly always the same, and once in a while brings all the gradient there is.
            odds = softmax(outputs)
            signs *= np.sqrt(odds)
            return signs - odds * signs.sum(axis=1, keepdims=True)
        return signs


class _Backward:
    """One backward pass over one batch."""

    def __init__(self, network: Network, inputs: dict[str, Float32Array], starts: np.ndarray, visit: Visitor) -> None:
        self.network = network
        self.architecture = network.architecture
        self.inputs = inputs
        self.starts = starts
        self.visit = visit

    def linear(self, name: str) -> LinearWeights:
        return float_linear(self.network, name)

    def output(self, name: str, width: int | None = None) -> Float32Array:
        """What a matrix returned, padded with zeros to `width` columns."""
        linear = self.linear(name)
        rows = self.inputs[name] @ linear.weight.T + linear.bias
        return widened(rows, width or rows.shape[1])

    def through(self, name: str, dy: Float32Array, rows: np.ndarray) -> Float32Array:
        """Derivatives by a matrix's input; the matrix is visited."""
        linear = self.linear(name)
        dy = dy[:, : linear.bias.size]
        self.visit(name, self.inputs[name], dy, rows)
        return dy @ linear.weight

    def norm(self, name: str, rows: Float32Array, dy: Float32Array, size: int) -> Float32Array:
        return norm_backward(rows, norm_of(self.network, name).weight, dy, size, self.architecture.layer_norm_eps)

    def walk(self, dy: Float32Array) -> None:
        """From derivatives by the outputs to the first layer."""
        layers = len(self.architecture.layers)
        hidden = self.layer_output(layers - 1)
        pooled = pool(self.architecture.pooling, hidden, self.starts)
        dy = self.head(pooled, dy)
        dx = pool_backward(self.architecture.pooling, hidden, self.starts, dy)
        for number in reversed(range(layers)):
            dx = self.ffn(f"layers.{number}", dx)
            dx = self.attention(f"layers.{number}", self.architecture.layers[number].num_heads, dx)

    def layer_output(self, number: int) -> Float32Array:
        """float32 [tokens, padded(hidden_size)], what the last layer returned: no matrix of the encoder reads it."""
        prefix = f"layers.{number}.ffn"
        residual = self.inputs[f"{prefix}.up"]
        rows = self.output(f"{prefix}.down", residual.shape[1]) + residual
        norm = norm_of(self.network, f"{prefix}.norm")
        size = self.architecture.hidden_size
        centred, scale = _standardize(rows, size, self.architecture.layer_norm_eps)
        return centred * scale * norm.weight + norm.bias

    def head(self, pooled: Float32Array, dy: Float32Array) -> Float32Array:
        """Derivatives by the pooled rows."""
        architecture, task = self.architecture, self.network.task
        if architecture.normalize or (task.kind == "sentence-embedding" and task.similarity == "cosine"):
            rows = self.outputs_before_normalizing(pooled)
            dy = normalize_backward(rows, dy)
        starts = self.starts if architecture.pooling == "none" else np.arange(len(pooled) + 1)
        for layer in reversed(architecture.head):
            rows = self.output(layer.name)
            size = rows.shape[1]
            dy = dy[:, :size]
            if layer.norm:
                active = widened(activate(rows, layer.activation), padded(size))
                dy = self.norm(f"{layer.name}.norm", active, widened(dy, padded(size)), size)[:, :size]
            dy = self.through(layer.name, dy * derivative(layer.activation, rows), starts)
        return widened(dy, pooled.shape[1])

    def outputs_before_normalizing(self, pooled: Float32Array) -> Float32Array:
        if not self.architecture.head:
            return pooled[:, : self.architecture.hidden_size]
        last = self.architecture.head[-1]
        rows = activate(self.output(last.name), last.activation)
        if last.norm:
            norm = norm_of(self.network, f"{last.name}.norm")
            wide = widened(rows, norm.weight.size)
            centred, scale = _standardize(wide, rows.shape[1], self.architecture.layer_norm_eps)
            rows = (centred * scale * norm.weight + norm.bias)[:, : rows.shape[1]]
        return rows

    def ffn(self, layer: str, dx: Float32Array) -> Float32Array:
        """Derivatives by the input of x = LN(x + down(gelu(up(x))))."""
        up, down = f"{layer}.ffn.up", f"{layer}.ffn.down"
        residual = self.inputs[up]
        rows = self.output(down, residual.shape[1]) + residual
        dx = self.norm(f"{layer}.ffn.norm", rows, dx, self.architecture.hidden_size)
        before = self.output(up, self.inputs[down].shape[1])
        inner = self.through(down, dx, self.starts) * derivative(self.architecture.activation, before)
        return dx + self.through(up, inner, self.starts)

    def attention(self, layer: str, num_heads: int, dx: Float32Array) -> Float32Array:
        """Derivatives by the input of x = LN(x + output(attend(qkv(x))))."""
        qkv, output = f"{layer}.attention.qkv", f"{layer}.attention.output"
        residual = self.inputs[qkv]
        rows = self.output(output, residual.shape[1]) + residual
        dx = self.norm(f"{layer}.attention.norm", rows, dx, self.architecture.hidden_size)
        context = self.through(output, dx, self.starts)
        before = self.output(qkv)
        inner = np.empty_like(before)
        for first, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            inner[first:end] = attend_backward(
                before[first:end], context[first:end], num_heads, self.architecture.head_size
            )
        return dx + self.through(qkv, inner, self.starts)


def attend_backward(qkv: Float32Array, dy: Float32Array, num_heads: int, head_size: int) -> Float32Array:
    """Derivatives of softmax attention of one text.

    Args:
        qkv: float32 [tokens, 3 * heads * width]: all queries, all keys, all values.
        dy: float32 [tokens, heads * width], derivatives by the context.
        num_heads: heads.
        head_size: the model's own, which sets the scale 1/sqrt(head_size).

    Returns:
        float32, the shape of qkv.
    """
    tokens = len(qkv)
    query, key, value = qkv.reshape(tokens, 3, num_heads, -1).transpose(1, 2, 0, 3)
    dy = dy.reshape(tokens, num_heads, -1).transpose(1, 0, 2)
    scale = np.float32(1 / math.sqrt(head_size))
    weights = softmax(query @ key.transpose(0, 2, 1) * scale)
    scores = dy @ value.transpose(0, 2, 1)
    scores = weights * (scores - (scores * weights).sum(axis=-1, keepdims=True)) * scale
    parts = np.stack([scores @ key, scores.transpose(0, 2, 1) @ query, weights.transpose(0, 2, 1) @ dy])
    return parts.transpose(2, 0, 1, 3).reshape(tokens, -1)


def norm_backward(rows: Float32Array, weight: Float32Array, dy: Float32Array, size: int, eps: float) -> Float32Array:
    """Derivatives of LayerNorm by its input: float32 [n, padded(size)], zero in the padding."""
    centred, scale = _standardize(rows, size, eps)
    standard = centred * scale
    dy = dy * weight
    mean = dy.sum(axis=1, keepdims=True) / size
    slope = (dy * standard).sum(axis=1, keepdims=True) / size
    dx = (dy - mean - standard * slope) * scale
    dx[:, size:] = 0
    return dx


def normalize_backward(rows: Float32Array, dy: Float32Array) -> Float32Array:
    """Derivatives of x / |x| by x."""
    length = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    unit = rows / length
    return (dy - unit * (dy * unit).sum(axis=1, keepdims=True)) / length


def pool(kind: str, rows: Float32Array, starts: np.ndarray) -> Float32Array:
    """What pooling makes of tokens' rows."""
    if kind == "none":
        return rows
    if kind in ("cls", "last"):
        return rows[starts[:-1] if kind == "cls" else starts[1:] - 1]
    if kind == "max":
        return np.maximum.reduceat(rows, starts[:-1])
    if kind == "mean":
        return np.add.reduceat(rows, starts[:-1]) * (1 / np.diff(starts)[:, None]).astype(np.float32)
    return np.add.reduceat(rows * _shares(kind, starts), starts[:-1])


def _shares(kind: str, starts: np.ndarray) -> Float32Array:
    """What the row of each token is multiplied by before they are added up: float32 [tokens, 1]."""
    lengths = np.diff(starts)
    length = np.repeat(lengths, lengths)
    if kind == "weighted_mean":
        place = np.arange(1, starts[-1] + 1) - np.repeat(starts[:-1], lengths)
        shares = place / (length * (length + 1) / 2)
    else:  # "mean_sqrt_length"
        shares = 1 / np.sqrt(length)
    return shares[:, None].astype(np.float32)


def pool_backward(kind: str, rows: Float32Array, starts: np.ndarray, dy: Float32Array) -> Float32Array:
    """Derivatives of pooling by the rows of tokens."""
    if kind == "none":
        return dy
    lengths = np.diff(starts)
    if kind == "mean":
        return np.repeat(dy / lengths[:, None].astype(np.float32), lengths, axis=0)
    if kind == "max":
        largest = np.repeat(np.maximum.reduceat(rows, starts[:-1]), lengths, axis=0)
        return np.where(rows == largest, np.repeat(dy, lengths, axis=0), np.float32(0))
    if kind not in ("cls", "last"):
        return np.repeat(dy, lengths, axis=0) * _shares(kind, starts)
    dx = np.zeros_like(rows)
    dx[starts[:-1] if kind == "cls" else starts[1:] - 1] = dy
    return dx


def derivative(kind: Activation, x: Float32Array) -> Float32Array:
    """Derivative of an activation at x.

    GELU's is Phi(x) + x phi(x); that of its tanh approximation differs from it by less than 0.002 and is taken to be
    the same.
    """
    if kind == "none":
        return np.ones_like(x)
    if kind == "relu":
        return (x > 0).astype(np.float32)
    if kind == "tanh":
        return np.float32(1) - np.square(np.tanh(x))
    density = np.exp(np.float32(-0.5) * np.square(x)) * np.float32(1 / math.sqrt(2 * math.pi))
    # gelu(x) / x is Phi(x), except at 0 where it is 1/2.
    safe = np.where(np.abs(x) < 1e-3, np.float32(1e-3), x)
    return (activate(safe, "gelu") / safe + x * density).astype(np.float32)


def _standardize(rows: Float32Array, size: int, eps: float) -> tuple[Float32Array, Float32Array]:
    """Rows less their mean, zero in the padding, and 1 / standard deviation [n, 1]."""
    centred = rows - rows[:, :size].mean(axis=1, keepdims=True)
    centred[:, size:] = 0
    variance = np.square(centred).sum(axis=1, keepdims=True) / np.float32(size)
    return centred, np.float32(1) / np.sqrt(variance + np.float32(eps))
