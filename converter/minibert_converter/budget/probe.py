"""Measuring what each choice costs alone, and putting choices together into recipes to try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minibert.format import read_model
from minibert_converter.budget.knapsack import Choice, Option, frontier
from minibert_converter.budget.space import (
    FORMS,
    Shape,
    forms_worth_trying,
    latency_ratio,
    recipe_for,
    stored_bytes,
    table_forms,
    worth_of,
)
from minibert_converter.budget.state import State, key_of
from minibert_converter.budget.targets import Target
from minibert_converter.calibration.outputs import loss, outputs, outputs_of_file
from minibert_converter.calibration.tokens import Tokens, tokenize
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.export import WORDS, export, store_linear
from minibert_converter.matrices import in_float32
from minibert_converter.network import Float32Array, LinearWeights, Network, TiedLinear
from minibert_converter.passes.prune.blocks import block_density
from minibert_converter.passes.quantize.quantizer import quantize
from minibert_converter.progress import OnProgress
from minibert_converter.recipe import Context, Recipe, run

#: Texts that go through the network for each measurement: enough to rank tensors, whose losses differ by orders of
#: magnitude.
MEASURED_TEXTS = 64
#: What each tensor adds to the header of a file, about, recipe and report included: it is known when the file is made.
HEADER_BYTES = 200


@dataclass(frozen=True)
class Candidate:
    """One point that a search may try.

    Attributes:
        recipe: how to make it.
        bytes: what the file is expected to weigh.
        loss: what the outputs are expected to lose (see `calibration.outputs.loss`).
        latency: the part of the dense int8 model's time that it is expected to take.
        weight: what there should be as little as possible of: bytes, or what is worth most on the target.
        forms: of the matrices.
    """

    recipe: Recipe
    bytes: int
    loss: float
    latency: float
    weight: float
    forms: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """A network after passes that prune or share.

    Attributes:
        shapes: its encoder's matrices by name.
        own: bytes of what layers keep for themselves of matrices that they share.
        loss: what the outputs lost.
    """

    shapes: dict[str, Shape]
    own: int
    loss: float


@dataclass
class Probe:
    """Measures a checkpoint's network; what has been measured is taken from the state.

    Attributes:
        source: the checkpoint folder.
        texts: calibration texts; None takes those that ship with the converter.
        first: passes that are done in any case, ahead of all.
        seed: of every random choice.
        task: as `convert` has it.
        route: as `convert` has it.
        base: as `convert` has it.
        target: where the model will answer.
        state: of the search.
        progress: called as `progress(stage, done, total)`.
    """

    source: Path
    texts: list[str] | None
    first: list[dict[str, Any]]
    seed: int
    task: str | None
    route: str | None
    base: str | Path | None
    target: Target
    state: State
    progress: OnProgress

    def __post_init__(self) -> None:
        self._network: Network | None = None
        self._tokens: Tokens | None = None
        self._wanted: Float32Array | None = None
        self._rounded: dict[str, Network] = {}

    def network(self) -> Network:
        """A copy of the checkpoint's network that passes may change."""
        if self._network is None:
            self._network = read_checkpoint(self.source, self.task, self.progress, route=self.route, base=self.base)
            self._network.need_layers("a budget")
            self._run(self.first, self._network)
        return self._network.copy()

    def after(self, passes: list[dict[str, Any]]) -> Network:
        """The network after some passes."""
        network = self.network()
        self._run(passes, network)
        return network

    def _run(self, passes: list[dict[str, Any]], network: Network) -> None:
        recipe = Recipe.from_json({"pass": passes, "seed": self.seed})
        run(recipe, network, Context(self.texts, self.seed, progress=self.progress))

    def tokens(self) -> Tokens:
        """What outputs are compared on."""
        if self._tokens is None:
            self._tokens = tokenize(self.network(), self.texts).sample(MEASURED_TEXTS)
        return self._tokens

    def loss_of(self, network: Network) -> float:
        """What the outputs of a network lose against the float32 checkpoint's."""
        if self._wanted is None:
            self._wanted = self._outputs(self.network())
        return loss(self._outputs(network), self._wanted)

    def loss_of_file(self, path: Path) -> float:
        """What a file loses in all, activations rounded as well: its own answers against the float32 network's."""
        file = read_model(path)
        if self._wanted is None:
            self._wanted = self._outputs(self.network())
        return loss(outputs_of_file(file, self.tokens().chunks()), self._wanted)

    def _outputs(self, network: Network) -> Float32Array:
        return outputs(in_float32(network), self.tokens().chunks())

    def rounded(self, form: str) -> Network:
        """The network with every matrix that can have it in one form."""
        if form not in self._rounded:
            self._rounded[form] = self.after([{"quantize": form}])
        return self._rounded[form]

    def forms(self, names: Sequence[str] = FORMS) -> dict[str, dict[str, list[float]]]:
        """By form and matrix: bytes, and the loss if only this matrix had the form rather than int8."""
        return {form: self.state.get(f"form {form}", lambda form=form: self._measure_form(form)) for form in names}

    def _measure_form(self, form: str) -> dict[str, list[float]]:
        network = self.rounded(form)
        sizes = matrix_bytes(network)
        tied = network.aliases.get(WORDS)
        names = [name for name in sizes if name != tied]
        if form == "int8":
            return {name: [sizes[name], 0.0] for name in names}
        # A quantize pass leaves some matrices int8, whatever the form.
        kinds = export(network, -1.0)[0].linears
        names = [name for name in names if kinds[name].kind.removesuffix("-4x4") == form]
        # Both went through the same passes but for how weights were rounded, so their other tensors agree.
        base, measured = in_float32(self.rounded("int8")), {}
        wanted = self._outputs(base)
        for done, name in enumerate(names):
            self.progress(f"measuring {form}", done, len(names))
            one = in_float32(replace(network, linears={name: network.linears[name]}, tables={})).linears[name]
            changed = replace(base, linears={**base.linears, name: one})
            measured[name] = [sizes[name], loss(self._outputs(changed), wanted)]
        self.progress(f"measuring {form}", len(names), len(names))
        return measured

    def tables(self, forms: Sequence[str] = ()) -> dict[str, list[float]]:
        """By form of the word embeddings: bytes of a file but for its matrices, and the loss by that form alone."""
        forms = forms or table_forms(self.network())
        return {form: self.state.get(f"table {form}", lambda form=form: self._measure_table(form)) for form in forms}

    def _measure_table(self, form: str) -> list[float]:
        # Words in int8 are what every quantize pass makes of them, where they have no other form yet.
        network = self.after([] if form == "int8" else [{"embeddings": form}])
        stored = _in_int8(network)
        return [self._bytes_beside(stored), self.loss_of(replace(network, tables=stored.tables))]

    def _bytes_beside(self, network: Network) -> int:
        """Bytes of a file without those of the matrices that a form is chosen for."""
        config, tensors = export(network, -1.0)
        total = sum(tensor.nbytes for name, tensor in tensors.items() if name not in config.aliases)
        sizes = matrix_bytes(network)
        return total - sum(sizes[name] for name in self.forms(("int8",))["int8"]) + HEADER_BYTES * len(tensors)

    def shapes(self, base: Sequence[dict[str, Any]] = ()) -> Measured:
        """The encoder's matrices after passes that prune or share, and what that loses."""
        measured = self.state.get(f"base {key_of(list(base))}", lambda: self._measure_base(list(base)))
        shapes = {name: Shape(*each) for name, each in measured["shapes"].items()}
        return Measured(shapes, measured["own"], measured["loss"])

    def _measure_base(self, base: list[dict[str, Any]]) -> dict[str, Any]:
        network = self.after(base)
        uses = Counter(network.aliases.values())
        uses.update(linear.target for linear in network.linears.values() if isinstance(linear, TiedLinear))
        shapes = {}
        for name, linear in network.linears.items():
            if name.startswith("layers.") and isinstance(linear, LinearWeights):
                density = block_density(linear.weight, np.ones(linear.weight.shape, bool))
                shapes[name] = [linear.weight.size, density, 1 + uses[name]]
        # What a layer keeps for itself of matrices that it shares.
        sizes = matrix_bytes(_in_int8(network)) if base else {}
        own = sum(size for name, size in sizes.items() if name not in self.forms(("int8",))["int8"])
        own += sum(linear.bias.nbytes for linear in network.linears.values() if isinstance(linear, TiedLinear))
        return {"shapes": shapes, "own": own, "loss": self.loss_of(network) if base else 0.0}

    # What is chosen.

    def candidates(self, base: Sequence[dict[str, Any]] = ()) -> list[Candidate]:
        """Every point of the frontier of bytes and loss after passes that prune or share."""
        measured, dense, forms = self.shapes(base), self.shapes().shapes, self.forms()
        sizes = self._sizes(measured, forms)
        items = {
            name: [Option(form, size, self._loss_by(forms, name, form)) for form, size in its.items()]
            for name, its in sizes.items()
        }
        found = []
        for table, (beside, lost) in self.tables().items():
            for choice in frontier(items):
                recipe = recipe_for(self.first, base, table, choice.options, self.seed)
                size = round(beside) + measured.own + round(choice.weight)
                latency = self._latency(measured, dense, choice)
                lost_in_all = measured.loss + lost + choice.loss
                found.append(Candidate(recipe, size, lost_in_all, latency, size, choice.options))
        return found

    def fast_candidates(self) -> list[Candidate]:
        """Every point of the frontier of time on the target and loss; words are as they are, and nothing is pruned."""
        measured = self.shapes()
        forms = self.forms(forms_worth_trying(measured.shapes, self.target))
        sizes = self._sizes(measured, forms)
        items = {
            name: [
                Option(form, worth_of(measured.shapes[name], form, self.target), self._loss_by(forms, name, form))
                for form in its
            ]
            for name, its in sizes.items()
            if name in measured.shapes
        }
        beside = self.tables(("int8",))["int8"]
        found = []
        for choice in frontier(items):
            recipe = recipe_for(self.first, (), "int8", choice.options, self.seed)
            size = round(beside[0]) + sum(its[choice.options.get(name, "int8")] for name, its in sizes.items())
            latency = self._latency(measured, measured.shapes, choice)
            lost = beside[1] + choice.loss
            found.append(Candidate(recipe, size, lost, latency, choice.weight, choice.options))
        return found

    def _sizes(self, measured: Measured, forms: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, int]]:
        """Bytes of each matrix that is left in each form that it may have; one of the head stays int8."""
        dense = self.shapes().shapes
        sizes: dict[str, dict[str, int]] = {}
        for name, (size, _) in forms["int8"].items():
            shape = measured.shapes.get(name)
            if name not in dense:
                sizes[name] = {"int8": round(size)}
            elif shape is not None:  # else another layer's
                sizes[name] = {
                    form: stored_bytes(shape, form, each[name][0] / dense[name].weights)
                    for form, each in forms.items()
                    if name in each
                }
        return sizes

    @staticmethod
    def _loss_by(forms: Mapping[str, Mapping[str, list[float]]], name: str, form: str) -> float:
        return forms[form][name][1]

    def _latency(self, measured: Measured, dense: Mapping[str, Shape], choice: Choice) -> float:
        total = sum(shape.uses * shape.weights for shape in dense.values())
        return latency_ratio(measured.shapes, choice.options, total, self.target)


def _in_int8(network: Network) -> Network:
    """A copy with every number rounded to the nearest: for its bytes."""
    stored = network.copy()
    quantize(stored, "int8", method="nearest")
    return stored


def matrix_bytes(network: Network) -> dict[str, int]:
    """Bytes of each matrix in a file where none is block-sparse, with all that belongs to it."""
    return {
        name: sum(tensor.nbytes for tensor in store_linear(name, linear, -1.0)[1].values())
        for name, linear in network.linears.items()
        if not isinstance(linear, TiedLinear)
    }
