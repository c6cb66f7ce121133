"""Measuring what each choice costs alone; and making the networks and files of recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minibert.format import read_model
from minibert_converter.budget.bounds import (
    HEADER_BYTES,
    TYPICAL_LOSS,
    Frame,
    after,
    frame_of,
    per_weight,
    shapes_of,
    typical_loss,
    typical_words,
)
from minibert_converter.budget.clock import Clock, TimeUpError
from minibert_converter.budget.costs import base_cost, form_cost, words_cost
from minibert_converter.budget.space import FORMS, Shape, said, small_table_forms, table_forms, words_pass
from minibert_converter.budget.state import State, key_of
from minibert_converter.budget.targets import Target
from minibert_converter.calibration.outputs import loss, outputs, outputs_of_file
from minibert_converter.calibration.tokens import Tokens, tokenize
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import set_max_length, write
from minibert_converter.export import WORDS, export, store_linear
from minibert_converter.matrices import in_float32
from minibert_converter.network import Float32Array, Network, TiedLinear
from minibert_converter.passes.quantize.quantizer import quantize
from minibert_converter.recipe import Context, PassReport, Recipe, run
from minibert_converter.report import Report

#: Texts that go through the network for each measurement: enough to rank tensors, whose losses differ by orders of
#: magnitude.
MEASURED_TEXTS = 64
#: Networks after passes that prune or share that are held in memory: more than are tried.
_HELD = 6


@dataclass(frozen=True)
class Source:
    """A checkpoint, and how it is read.

    Attributes:
        folder: of the checkpoint.
        texts: calibration texts; None takes those that ship with the converter.
        seed: of every random choice.
        task: as `convert` has it.
        route: as `convert` has it.
        base: as `convert` has it.
        max_length: as `convert` has it.
    """

    folder: Path
    texts: list[str] | None
    seed: int = 0
    task: str | None = None
    route: str | None = None
    base: str | Path | None = None
    max_length: int | None = None


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

    Where there is no time to measure, what is usual stands in its place, and is not kept.

    Attributes:
        source: the checkpoint.
        first: passes that are done in any case, ahead of all.
        target: where the model will answer.
        state: of the search.
        clock: told of each step.
        cut: whether the last of `first` cuts the vocabulary for the budget's sake.
    """

    source: Source
    first: list[dict[str, Any]]
    target: Target
    state: State
    clock: Clock
    cut: bool = False

    def __post_init__(self) -> None:
        self._read: Network | None = None
        self._made: dict[str, tuple[Network, list[PassReport]]] = {}
        self._tokens: Tokens | None = None
        self._wanted: Float32Array | None = None
        self._rounded: dict[str, Network] = {}
        self._frame: Frame | None = None
        self._small = False

    # Networks.

    def _made_by(self, base: Sequence[Mapping[str, Any]]) -> tuple[Network, list[PassReport]]:
        """The network after the first passes and these, not to be changed, and what they did."""
        key = key_of(list(base))
        if key not in self._made:
            if self._read is None:
                source = self.source
                self._read = read_checkpoint(
                    source.folder, source.task, self.clock.progress, route=source.route, base=source.base
                )
                self._read.need_layers("a budget")
                if source.max_length is not None:
                    set_max_length(self._read, source.max_length)
            network = self._read.copy()
            reports = run(self._recipe([*self.first, *base]), network, self._context())
            while len(self._made) > _HELD:  # the first is what all others are compared with
                self._made.pop(list(self._made)[1])
            self._made[key] = network, reports
        return self._made[key]

    def _recipe(self, passes: Sequence[Mapping[str, Any]]) -> Recipe:
        return Recipe.from_json({"pass": [dict(one) for one in passes], "seed": self.source.seed})

    def _context(self) -> Context:
        return Context(self.source.texts, self.source.seed, progress=self.clock.progress, memory=self.state.arrays)

    def network(self) -> Network:
        """A copy of the checkpoint's network after the first passes, which others may change."""
        return self._made_by(())[0].copy()

    def after(self, passes: Sequence[Mapping[str, Any]]) -> Network:
        """The network after some more passes."""
        network = self.network()
        run(self._recipe(passes), network, self._context())
        return network

    def make(self, recipe: Recipe, base: Sequence[Mapping[str, Any]], path: Path) -> Report:
        """Writes the file of a recipe that begins with the first passes and these: what `convert` makes of it."""
        made, reports = self._made_by(base)
        network = made.copy()
        passes = run(recipe, network, self._context(), (len(self.first) + len(base), reports))
        texts = self.source.texts if recipe.reads_texts else None
        return write(network, recipe, passes, texts, path, self.clock.progress)

    # What is measured.

    def frame(self) -> Frame:
        """The network by its shapes."""
        if self._frame is None:
            network = self.network()
            self._frame = frame_of(network, _in_int8(network), self.target)
        return self._frame

    def tokens(self) -> Tokens:
        """What outputs are compared on."""
        if self._tokens is None:
            self._tokens = tokenize(self.network(), self.source.texts).sample(MEASURED_TEXTS)
        return self._tokens

    def loss_of(self, network: Network) -> float:
        """What the outputs of a network lose against the float32 checkpoint's."""
        return loss(self._outputs(network), self._float_outputs())

    def loss_of_file(self, path: Path) -> float:
        """What a file loses in all, activations rounded as well: its own answers against the float32 network's."""
        return loss(outputs_of_file(read_model(path), self.tokens().chunks()), self._float_outputs())

    def _float_outputs(self) -> Float32Array:
        if self._wanted is None:
            self._wanted = self._outputs(self.network())
        return self._wanted

    def _outputs(self, network: Network) -> Float32Array:
        return outputs(in_float32(network), self.tokens().chunks())

    def _get(self, key: str, what: str, cost: float, measure: Callable[[], Any], usual: Callable[[], Any]) -> Any:
        """What is known or measured now, in a step of the search; what is usual where there is no time for it."""
        key = f"{'cut ' * self.cut}{key}"
        if self.state.has(key):
            return self.state.get(key, measure)
        try:
            with self.clock.step(what, cost):
                return self.state.get(key, measure)
        except TimeUpError:
            return usual()

    def steps(self, forms: Sequence[str], tables: Sequence[str]) -> list[float]:
        """Costs of what is yet to be measured of forms of the matrices and of the words."""
        costs = [
            form_cost(form, len(self.frame().shapes))
            for form in forms
            if not self.state.has(f"{'cut ' * self.cut}form {form}")
        ]
        new = [form for form in tables if not self.state.has(f"{'cut ' * self.cut}table {form}")]
        return costs + [words_cost(form) for form in new]

    def base_cost(self, base: Sequence[Mapping[str, Any]]) -> float:
        """The cost of passes that prune or share, 0 if it is known what they do."""
        known = not base or self.state.has(f"{'cut ' * self.cut}base {key_of(list(base))}")
        return 0.0 if known else base_cost(base, scored=len(self.state.arrays) > 0)

    def rounded(self, form: str) -> Network:
        """The network with every matrix that can have it in one form."""
        if form not in self._rounded:
            self._rounded[form] = self.after([{"quantize": form}])
        return self._rounded[form]

    def forms(self, names: Sequence[str] = FORMS) -> dict[str, dict[str, list[float]]]:
        """By form and matrix: bytes, and the loss if only this matrix had the form rather than int8."""
        return {
            form: self._get(
                f"form {form}",
                f"all matrices in {form}" + ", then one at a time" * (form != "int8"),
                form_cost(form, len(self.frame().shapes)),
                lambda form=form: self._measure_form(form),
                lambda form=form: self._usual_form(form),
            )
            for form in names
        }

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
            self.clock.progress(f"measuring {form}", done, len(names))
            one = in_float32(replace(network, linears={name: network.linears[name]}, tables={})).linears[name]
            changed = replace(base, linears={**base.linears, name: one})
            measured[name] = [sizes[name], loss(self._outputs(changed), wanted)]
        self.clock.progress(f"measuring {form}", len(names), len(names))
        del self._rounded[form]
        return measured

    def _usual_form(self, form: str) -> dict[str, list[float]]:
        shapes = self.frame().shapes
        sizes = {name: round(shape.weights * per_weight(shape, form)) for name, shape in shapes.items()}
        if form == "int8":
            stored = matrix_bytes(_in_int8(self.network()))
            tied = self.network().aliases.get(WORDS)
            return {name: [size, 0.0] for name, size in stored.items() if name != tied}
        return {name: [size, TYPICAL_LOSS[form] / len(sizes)] for name, size in sizes.items()}

    def table_names(self) -> tuple[str, ...]:
        """Forms of the words that are to be had now."""
        network = self.network()
        return table_forms(network) + (small_table_forms(network) if self._small else ())

    def take_small_tables(self) -> None:
        """Has the words take forms in fewer bytes too, from now on."""
        self._small = True

    def tables(self, forms: Sequence[str] = ()) -> dict[str, list[float]]:
        """By form of the word embeddings: bytes of a file but for its matrices, and the loss by that form alone."""
        return {
            form: self._get(
                f"table {form}",
                f"the words in {form}",
                words_cost(form),
                lambda form=form: self._measure_table(form),
                lambda form=form: self._usual_table(form),
            )
            for form in forms or self.table_names()
        }

    def _measure_table(self, form: str) -> list[float]:
        # Words in int8 are what every quantize pass makes of them, where they have no other form yet.
        network = self.after([] if form == "int8" else [words_pass(form)])
        stored = _in_int8(network)
        return [self._bytes_beside(stored), self.loss_of(replace(network, tables=stored.tables))]

    def _usual_table(self, form: str) -> list[float]:
        beside = self._bytes_beside(_in_int8(self.network()))
        frame = self.frame()
        return [beside + frame.words(form) - frame.words("int8"), typical_words(form)]

    def _bytes_beside(self, network: Network) -> int:
        """Bytes of a file without those of the matrices that a form is chosen for."""
        config, tensors = export(network, -1.0)
        total = sum(tensor.nbytes for name, tensor in tensors.items() if name not in config.aliases)
        sizes = matrix_bytes(network)
        return total - sum(sizes[name] for name in self.forms(("int8",))["int8"]) + HEADER_BYTES * len(tensors)

    def shapes(self, base: Sequence[Mapping[str, Any]] = ()) -> Measured:
        """The encoder's matrices after passes that prune or share, and what that loses."""
        if not base:
            return Measured(dict(self.frame().shapes), 0, 0.0)
        measured = self._get(
            f"base {key_of(list(base))}",
            said(base),
            self.base_cost(base),
            lambda: self._measure_base(base),
            lambda: self._usual_base(base),
        )
        shapes = {name: Shape(*each) for name, each in measured["shapes"].items()}
        return Measured(shapes, measured["own"], measured["loss"])

    def _measure_base(self, base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        network = self._made_by(base)[0].copy()
        shapes = {name: list(vars(shape).values()) for name, shape in shapes_of(network).items()}
        # What a layer keeps for itself of matrices that it shares.
        sizes = matrix_bytes(_in_int8(network))
        own = sum(size for name, size in sizes.items() if name not in self.forms(("int8",))["int8"])
        own += sum(linear.bias.nbytes for linear in network.linears.values() if isinstance(linear, TiedLinear))
        return {"shapes": shapes, "own": own, "loss": self.loss_of(network)}

    def _usual_base(self, base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        whole = self.frame().shapes
        left, own = after(whole, base)
        shapes = {name: list(vars(shape).values()) for name, shape in left.items()}
        return {"shapes": shapes, "own": own, "loss": typical_loss(whole, base)}


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
