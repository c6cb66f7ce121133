"""The NumPy engine is a BERT: against one written down from the paper, in float64, that shares no code with it."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

from minibert.format import HeadLayer, unpack_float32, unpack_int8
from tests.engine.zoo import SHAPES, lengths_of, zoo
from tests.models import RandomModel

_erf = np.vectorize(erf, otypes=[np.float64])
ACTIVATIONS = {
    "none": lambda x: x,
    "gelu": lambda x: x * (1 + _erf(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


class Textbook:
    """Sizes are the real ones: no padding anywhere."""

    def __init__(self, model: RandomModel) -> None:
        self.config, self.tensors = model.config, model.tensors
        self.architecture = model.config.architecture

    def linear(self, name: str, x: np.ndarray, outputs: np.ndarray | None = None, inputs: np.ndarray | None = None):
        spec = self.config.linears[name]
        weight, bias = self.weight(name, name), self.tensors[f"{name}.bias"]
        down, up = f"{name}.low_rank.down", f"{name}.low_rank.up"
        if down in self.config.linears:
            rank = self.config.linears[up].in_features
            weight = weight + self.weight(up, up) @ self.weight(down, name)[:rank]
            bias = bias + self.tensors[f"{up}.bias"] + self.weight(up, up) @ self.tensors[f"{down}.bias"][:rank]
        outputs = np.arange(spec.out_features) if outputs is None else outputs
        inputs = np.arange(x.shape[1]) if inputs is None else inputs
        return x @ weight[np.ix_(outputs, inputs)].T + bias[outputs]

    def weight(self, name: str, factor_of: str) -> np.ndarray:
        """The weights of a linear, whose input is multiplied by the input factor of the same or another one."""
        spec, t = self.config.linears[name], self.tensors
        if spec.kind == "float32":
            return unpack_float32(t[f"{name}.weight"]).astype(np.float64)
        weight = unpack_int8(t[f"{name}.weight"]) * t[f"{name}.scale"][:, None].astype(np.float64)
        return weight * t[f"{factor_of}.input_factor"] if self.config.linears[factor_of].input_factor else weight

    def norm(self, name: str, x: np.ndarray, eps: float | None = None) -> np.ndarray:
        weight, bias = (self.tensors[f"{name}.{part}"][: x.shape[1]] for part in ("weight", "bias"))
        mean = x.mean(axis=1, keepdims=True) if self.architecture.norm == "layer" or eps else 0
        variance = np.square(x - mean).mean(axis=1, keepdims=True)
        return (x - mean) / np.sqrt(variance + (eps or self.architecture.layer_norm_eps)) * weight + bias

    def table(self, name: str, index: np.ndarray) -> np.ndarray:
        columns = (name == "word" and self.architecture.word_size) or self.architecture.table_size
        decode = {"int4": self.int4_row, "codebook": self.codebook_row}.get(
            self.config.tables[f"embeddings.{name}"].kind
        )
        if decode:
            scale = self.tensors[f"embeddings.{name}.scale"]
            rows = [np.array(decode(f"embeddings.{name}", row)) * float(scale[row]) for row in index]
            return np.stack(rows)[:, :columns]
        weight = self.tensors[f"embeddings.{name}.weight"]
        if weight.ndim > 2:
            weight = unpack_float32(weight) if weight.dtype == np.float32 else unpack_int8(weight)
        rows = weight[index][:, :columns].astype(np.float64)
        scale = self.tensors.get(f"embeddings.{name}.scale")
        return rows if scale is None else rows * scale[index][:, None]

    def int4_row(self, name: str, row: int) -> list[int]:
        """Number by number: half a byte, less 16 if its highest bit is set, times that of its 32 columns."""
        codes, times = self.tensors[f"{name}.codes"][row], self.tensors[f"{name}.multiplier"][row]
        numbers = []
        for column in range(2 * len(codes)):
            byte = int(codes[column // 16 * 8 + column % 8])
            nibble = byte % 16 if column % 16 < 8 else byte // 16
            numbers.append((nibble - 16 * (nibble > 7)) * int(times[column // 32]))
        return numbers

    def codebook_row(self, name: str, row: int) -> list[int]:
        """Entry after entry."""
        codes, book = self.tensors[f"{name}.codes"][row], self.tensors[f"{name}.codebook"]
        return [int(number) for part, code in enumerate(codes) for number in book[part][code]]

    def text(self, ids: list[int], types: list[int]) -> np.ndarray:
        a = self.architecture
        x = self.table("word", np.array(ids))
        if a.word_size:
            x = self.linear("embeddings.word_projection", x)
        if a.position_table:
            x = x + self.table("position", np.arange(len(ids)))
        if a.token_types:
            x = x + self.table("token_type", np.array(types))
        total = x
        if a.layers:
            x = self.norm("embeddings.norm", x)
        if a.embedding_size:
            x = self.linear("embeddings.projection", x)
        total = total if a.sum_of_embeddings else x
        hidden = [total]
        width = -(-a.head_size // 16) * 16
        for number, layer in enumerate(a.layers):
            name = f"layers.{number}"
            columns = (np.arange(layer.num_heads)[:, None] * width + np.arange(a.head_size)).ravel()
            parts = [
                self.linear(f"{name}.attention.qkv", x, columns + part * layer.num_heads * width) for part in range(3)
            ]
            q, k, v = (part.reshape(len(ids), layer.num_heads, a.head_size).transpose(1, 0, 2) for part in parts)
            if layer.rotary_base or layer.rotary:
                if layer.rotary:
                    frequency = np.array(a.rotary_frequencies[layer.rotary - 1])
                else:
                    frequency = layer.rotary_base ** (-np.arange(0, a.head_size, 2) / a.head_size)
                q, k = self.rotated(q, frequency), self.rotated(k, frequency)
            distance = np.arange(len(ids))[:, None] - np.arange(len(ids))
            scores = q @ k.transpose(0, 2, 1)
            if a.relative_rows:
                row = self.tensors["embeddings.distance_rows"][distance + a.max_positions - 1]
                keys, queries = (self.positions(f"{name}.attention.position_{part}") for part in ("key", "query"))
                of_query = np.einsum("hid,hijd->hij", q, keys[:, row])
                scores = (scores + of_query + np.einsum("hjd,hijd->hij", k, queries[:, row])) / np.sqrt(3)
            scores = scores / np.sqrt(a.head_size)
            if a.position_bias:
                table = self.tensors[f"{name}.attention.position_bias"]
                scores = scores + table[:, distance + (table.shape[1] // 2 - 8)] * np.log(2)
            if layer.window:
                scores = np.where(abs(distance) <= layer.window, scores, -np.inf)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            context = (weights @ v / weights.sum(axis=-1, keepdims=True)).transpose(1, 0, 2).reshape(len(ids), -1)
            y = self.linear(f"{name}.attention.output", context, inputs=columns)
            total = (total if a.pre_norm else x) + y
            x = self.norm(f"{name}.attention.norm", total)
            if a.gated:
                half = -(-layer.ffn_size // 16) * 16
                first, second = (self.linear(f"{name}.ffn.up", x, np.arange(layer.ffn_size) + i * half) for i in (0, 1))
                y = ACTIVATIONS[a.activation](first) * second
            else:
                y = ACTIVATIONS[a.activation](self.linear(f"{name}.ffn.up", x))
            total = (total if a.pre_norm else x) + self.linear(f"{name}.ffn.down", y)
            x = self.norm(f"{name}.ffn.norm", total)
            hidden.append(total if a.pre_norm and number + 1 < len(a.layers) else x)
        return self.behind(x, hidden)

    def behind(self, x: np.ndarray, hidden: list[np.ndarray]) -> np.ndarray:
        """What stands behind the encoder, whose layers left `hidden`."""
        a = self.architecture
        if a.layer_weights:
            x = np.tensordot(np.array(a.layer_weights), np.array(hidden), 1)
        for number, layer in enumerate([*a.head, None]):
            if number == a.pool_after and a.pooling != "none":
                x = np.concatenate([self.pooled(x, kind) for kind in a.pooling.split("+")])[None]
            if layer is not None:
                x = self.head(layer, x)
        return unit(x) if a.normalize else x

    def pooled(self, x: np.ndarray, kind: str) -> np.ndarray:
        if kind in ("cls", "last"):
            return x[0 if kind == "cls" else -1]
        if kind == "max":
            return x.max(0)
        if kind == "weighted_mean":
            return np.average(x, axis=0, weights=np.arange(len(x)) + 1)
        return x.sum(0) / len(x) ** (1 if kind == "mean" else 0.5)

    def head(self, layer: HeadLayer, x: np.ndarray) -> np.ndarray:
        if layer.kind == "normalize":
            return unit(x)
        if layer.kind == "norm":
            return self.norm(layer.name, x, layer.eps)
        y = ACTIVATIONS[layer.activation](self.linear(layer.name, x))
        return self.norm(f"{layer.name}.norm", y) if layer.norm else y + x if layer.residual else y

    def positions(self, name: str) -> np.ndarray:
        """A table of distances, [heads, rows, d]."""
        scale = self.tensors.get(f"{name}.scale", np.ones(1))[..., None]
        return (self.tensors[f"{name}.weight"] * scale)[..., : self.architecture.head_size].transpose(1, 0, 2)

    def rotated(self, x: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        """Pairs of neighbours as complex numbers, turned by angles that grow with the position: [heads, tokens, d]."""
        turn = np.exp(1j * np.arange(x.shape[1])[:, None] * frequency)
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)

    def forward(self, ids: list[list[int]], types: list[list[int]]) -> np.ndarray:
        return np.concatenate([self.text(i, t) for i, t in zip(ids, types, strict=True)])


@pytest.mark.parametrize("backend", ["numpy", "jit"])
@pytest.mark.parametrize("name", SHAPES)
def test_float32_models(name, backend, request):
    if backend == "jit":
        request.getfixturevalue("jit")
    model = zoo(name, "float32")
    texts = model.texts(lengths_of(model))
    exact = Textbook(model).forward(*texts)
    size = max(np.abs(exact).max(), 1)
    np.testing.assert_allclose(model.engine(backend=backend).forward(*texts), exact, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("name", SHAPES)
def test_int8_models_are_near(name):
    """Codes of activations lose something; a wrong scale, sign or column would lose far more."""
    model = zoo(name, "int8")
    texts = model.texts(lengths_of(model))
    exact = Textbook(model).forward(*texts)
    answers = model.engine(backend="numpy").forward(*texts)
    assert answers.shape == exact.shape
    off = np.linalg.norm(answers - exact, axis=1) / np.linalg.norm(exact, axis=1).mean()
    assert np.median(off) < 0.1


def test_hook_sees_the_input_of_every_linear_once():
    model = zoo("head with norm", "int8")
    seen: dict[str, np.ndarray] = {}

    def hook(name: str, rows: np.ndarray) -> None:
        assert name not in seen
        seen[name] = rows

    texts = model.texts([4, 9])
    with_hook = model.reference(every_token=True).forward(*texts, hook=hook)
    assert list(seen) == list(model.config.linears)
    for name, linear in model.config.linears.items():
        assert seen[name].dtype == np.float32
        assert seen[name].shape == (2 if name.startswith("head") else 13, linear.in_features)
    np.testing.assert_array_equal(with_hook, model.reference().forward(*texts))
