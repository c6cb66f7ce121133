"""Calibration texts on their way through a network, one matrix at a time: what one matrix loses, the next one sees.

The steps are those of the reference engine's plan, so every family of models passes. The arithmetic is that of the
matrices as they are when they are reached: float32, or codes with the activations rounded as the engine will.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from minibert.errors import InputError
from minibert.format import Config
from minibert.format.relative import POSITION_TABLES
from minibert.plan import Attend, Buffer, Matmul, Step, build_plan
from minibert.reference.functions import quantize
from minibert.reference.linear import Weights, integer_product
from minibert.reference.model import Run
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.export import WORDS, export, to_panels
from minibert_converter.network import Float32Array, LinearWeights, Network, QuantizedLinear, TiedLinear


class Stream:
    """Rows of the tokens of many texts, between two steps of a plan.

    Args:
        network: what they pass through. Its matrices are looked up when they are reached; the rest must stay.
        tokens: the texts, in the chunks that `inputs` yields.
    """

    def __init__(self, network: Network, tokens: Tokens) -> None:
        self._network = network
        config, tensors = _without_matrices(network)
        plan = build_plan(config, every_token=True)
        self._steps: Sequence[Step] = plan.steps
        self._output, self._columns = plan.output.name, plan.out_features
        self._at = 0
        self._runs = [_Run(network, config, tensors, ids, types) for ids, types in tokens.chunks()]

    @property
    def matrices(self) -> list[str]:
        """The matrices that the texts pass, in that order."""
        return [step.linear for step in self._steps if isinstance(step, Matmul)]

    def advance(self) -> str | None:
        """Goes through the matrix at hand, if there is one, and on to the next; its name, or None at the end.

        Raises:
            InputError: the texts drive the network to values that are not finite.
        """
        if self._at:
            self._execute()
        while self._at < len(self._steps):
            step = self._steps[self._at]
            if isinstance(step, Matmul):
                return step.linear
            self._execute()
        if not all(np.isfinite(run.rows[self._output]).all() for run in self._runs):
            raise InputError("calibration texts drive the model to values that are not finite")
        return None

    def inputs(self) -> Iterator[Float32Array]:
        """What enters the matrix at hand: float32 [rows, in], chunk after chunk."""
        return (run.rows[self._matmul.source.name] for run in self._runs)

    def outputs(self) -> Iterator[Float32Array]:
        """What the matrix at hand makes of it: float32 [rows, out]."""
        name, source = self._matmul.linear, self._matmul.source.name
        out = matrix_of(self._network, name).schema().out_features
        return (run.multiply(name, run.rows[source])[:, :out] for run in self._runs)

    def residuals(self) -> Iterator[Float32Array]:
        """What is added to the output of the matrix at hand: float32 [rows, at least out]; nothing where none is."""
        residual = self._matmul.residual
        return iter(()) if residual is None else (run.rows[residual.name] for run in self._runs)

    def results(self) -> Iterator[Float32Array]:
        """What the network returns, once all is done: float32 [rows, out], chunk after chunk."""
        return (run.rows[self._output][:, : self._columns] for run in self._runs)

    @property
    def _matmul(self) -> Matmul:
        step = self._steps[self._at]
        assert isinstance(step, Matmul)
        return step

    def _execute(self) -> None:
        """One step for all chunks; rows that nothing reads any more are let go."""
        step, later = self._steps[self._at], self._steps[self._at + 1 :]
        dead = [name for name in _names(step, "source", "residual") if not _needed(name, later)]
        for run in self._runs:
            run.perform(step)
            for name in set(dead) - {self._output}:
                run.rows.pop(name, None)
        self._at += 1


class _Run(Run):
    """A chunk of texts; matrices are those of the network at the time."""

    def __init__(
        self,
        network: Network,
        config: Config,
        tensors: Mapping[str, np.ndarray],
        ids: Sequence[Sequence[int]],
        types: Sequence[Sequence[int]],
    ) -> None:
        flat, kinds = (np.concatenate([np.asarray(one, np.int32) for one in rows]) for rows in (ids, types))
        super().__init__(
            config, Weights(config.linears, tensors), flat, kinds, np.cumsum([0, *map(len, ids)]), None, None
        )
        self._network = network
        self._exact = True

    def multiply(self, linear: str, source: np.ndarray) -> np.ndarray:
        """W x + b by the matrix as it is now."""
        matrix = matrix_of(self._network, linear)
        self._exact = isinstance(matrix, LinearWeights)
        if isinstance(matrix, LinearWeights):
            return source @ to_panels(matrix.weight).T + to_panels(matrix.bias)
        codes, scales, zeros = quantize(source, matrix.input_factor)
        total = integer_product(codes - zeros[:, None], to_panels(matrix.q)).astype(np.float32) * scales[:, None]
        return total * to_panels(matrix.scale) + to_panels(matrix.bias)

    def perform(self, step: Step) -> None:
        """A step as it is in a plan where the matrices are what they are now."""
        if isinstance(step, Attend):
            step = step._replace(exact=self._exact)
        elif (
            isinstance(step, Matmul)
            and step.activation == "gelu"
            and not isinstance(matrix_of(self._network, step.linear), LinearWeights)
        ):
            step = step._replace(activation="gelu_codes")  # in an int8 network the next matrix reads codes
        self.execute(step)


def matrix_of(network: Network, name: str) -> LinearWeights | QuantizedLinear:
    """The matrix of that name, or the one it shares, with a bias of its own where it has that."""
    matrix = network.linears[network.aliases.get(name, name)]
    return replace(matrix_of(network, matrix.target), bias=matrix.bias) if isinstance(matrix, TiedLinear) else matrix


def _without_matrices(network: Network) -> tuple[Config, Mapping[str, np.ndarray]]:
    """The config of the network with every matrix in float32, and its other tensors."""
    words = network.aliases.get(WORDS)
    kept = {} if words is None else {words: network.linears[words]}
    relative = {name: table for name, table in network.attention_tables.items() if name.endswith(POSITION_TABLES)}
    others = {name: table for name, table in network.attention_tables.items() if name not in relative}
    config, tensors = export(replace(network, linears=kept, attention_tables=others))
    # Tables of distances go with their layer's matrix, which is in float32 as they are.
    tensors = {**tensors, **{f"{name}.weight": table for name, table in relative.items()}}
    for alias, target in network.aliases.items():
        if target in relative:
            tensors[f"{alias}.weight"] = relative[target]
    names = {name: network.aliases.get(name, name) for name in (*network.linears, *network.aliases)}
    linears = {
        name: replace(matrix_of(network, target).schema(), kind="float32", input_factor=False)
        for name, target in names.items()
        if target in network.linears and name != WORDS
    }
    return replace(config, linears=linears), tensors


def _names(step: Step, *parts: str) -> set[str]:
    """Names of the buffers in these fields of a step; where a step works in place, its buffer is in all of them."""
    values = (getattr(step, each, None) for each in (*parts, "buffer"))
    return {value.name for value in values if isinstance(value, Buffer)}


def _needed(name: str, later: Sequence[Step]) -> bool:
    """Whether a buffer is read before it is written again."""
    for step in later:
        if name in _names(step, "source", "residual"):
            return True
        if name in _names(step, "out", "total"):
            return False
    return False
