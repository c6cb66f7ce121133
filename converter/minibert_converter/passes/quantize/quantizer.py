"""The pass that quantizes a network: every matrix and embedding table to integers, and what that loses in each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from minibert.errors import InputError
from minibert.format.constants import low_rank
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.export import SPARSE_THRESHOLD, store_linear
from minibert_converter.network import AnyLinear, Float32Array, LinearWeights, Network, QuantizedLinear, TiedLinear
from minibert_converter.parallel import side_by_side
from minibert_converter.passes.base import Outcome, rounded
from minibert_converter.passes.quantize.centring import can_be_centred, centre
from minibert_converter.passes.quantize.correction import MeanCorrection
from minibert_converter.passes.quantize.gather import Seen, seen_inputs
from minibert_converter.passes.quantize.matrix import (
    BlockForm,
    Form,
    Use,
    block_form,
    output_error,
    quantize_calibrated,
    quantize_nearest,
    quantize_table,
    table_error,
)
from minibert_converter.progress import OnProgress, no_progress

Rounding = Literal["compensated", "nearest"]

#: Tables of no more rows stay float32: each row is added to very many tokens, and the bytes saved are nothing. (With
#: the two rows of token types in int8, MiniLM's embeddings lose nearly twice as much.)
TINY_TABLE_ROWS = 16
#: Rows that say what a matrix loses, two of three digits of it: the errors of all its outputs are averaged.
_ERROR_ROWS = 256


def quantize(
    network: Network,
    form: Form,
    *,
    texts: Sequence[str] | None = None,
    method: Rounding = "compensated",
    forms: Mapping[str, str] | None = None,
    sparse_threshold: float = SPARSE_THRESHOLD,
    progress: OnProgress | None = None,
) -> Outcome:
    """Replaces every float32 matrix, and every float32 table but the smallest, by integers.

    "compensated" runs texts through the float32 network, then moves the mean of inputs into biases (`centring`),
    their outliers into the weights (`migration`), rounds so that errors make up for each other (`rounding`), and takes
    back what they do to all texts alike (`correction`).
    "nearest" rounds every number as it is: it needs no texts, and loses more.

    Args:
        network: `tables`, `linears` and `norms` get new entries; no array is changed. What is quantized already
            stays as it is.
        form: what the matrices of layers are stored as; others, which are small, and tables become int8.
        texts: what the model will read, or texts like it; None takes the sentences that ship with the converter.
        method: how to round.
        forms: by name of a matrix, the form of those that are to have another one; "none" leaves it as it is.
        sparse_threshold: an int4 matrix becomes one of blocks if at most this part of them holds a weight that isn't
            zero.
        progress: called with the stage "quantizing".

    Returns:
        Errors of matrices on calibration inputs quantized as the engine will, and of tables. Details: how weights were
        rounded, tokens of calibration texts that ran through the network (0 where none were needed), and of each matrix
        and table its bytes before and after (scales, bias and factors included), its error, and "nearest", the error if
        everything were rounded to the nearest code as it is; None where there were no inputs to measure them on.

    Raises:
        InputError: the method is unknown, a matrix that is named isn't there or is what the words'
            embeddings are as well, or no text has a token.
    """
    if method not in get_args(Rounding):
        raise InputError(f"method {method!r} is none of {', '.join(get_args(Rounding))}")
    chosen = _forms(network, form, forms or {})
    progress = progress or no_progress
    floats = [
        name for name, linear in network.linears.items() if isinstance(linear, LinearWeights) and chosen[name] != "none"
    ]
    downs = [name for name in floats if name.endswith(".low_rank.down")]
    floats = [name for name in floats if name not in downs]
    tables = {
        name: table
        for name, table in network.tables.items()
        if isinstance(table, np.ndarray) and len(table) > TINY_TABLE_ROWS
    }
    total = len(tables) + len(floats) + len(downs)
    progress("quantizing", 0, total)
    seen: Iterable[tuple[str, Seen]] = ((name, {}) for name in floats)
    correction: MeanCorrection | None = None
    centred: Collection[str] = ()
    places = {name: _places(network, name) for name, linear in network.linears.items() if _is_whole(name, linear)}
    if method == "compensated" and floats:
        run = tokenize(network, texts)
        correction = MeanCorrection(network, run)
        centred = can_be_centred(network)
        seen = seen_inputs(network, run, places)

    def quantize_one(one: tuple[str, Seen]) -> _Quantized:
        name, of_places = one
        means = {place: each.mean for place, each in of_places.items()}
        tokens = max((each.count for each in of_places.values()), default=0)
        if name not in floats:
            return _Quantized({}, {}, means, tokens)
        linear = network.linears[name]
        assert isinstance(linear, LinearWeights)
        its_form = block_form(chosen[name], linear.weight, sparse_threshold)
        # What the words' embeddings are as well is rounded to the nearest: nothing may be multiplied into it.
        words = name == network.aliases.get("embeddings.word")
        made, lost = _quantize_linear(network, places[name], its_form, {} if words else of_places, centred)
        return _Quantized(made, lost, means, tokens)

    linears: dict[str, QuantizedLinear | TiedLinear] = {}
    means: dict[str, Float32Array] = {}
    measured: dict[str, dict[str, Any]] = {}
    coded = {name: quantize_table(table) for name, table in tables.items()}
    for name, codes in coded.items():
        error = table_error(tables[name], codes)
        measured[name] = _lost(error, error, tables[name].nbytes, codes.q.nbytes + codes.scale.nbytes)
    tokens = 0
    for one in side_by_side(quantize_one, seen):
        linears |= one.linears
        means |= one.means
        measured |= one.measured
        tokens = max(tokens, one.tokens)
        progress("quantizing", min(len(measured), total - 1), total)
    if means:
        centre(network, means)
    for name, linear in linears.items():
        network.linears[name] = replace(linear, bias=linear.bias + network.linears[name].bias)
    network.tables.update(coded)
    if correction is not None:
        correction.restore(network)
    progress("quantizing", total, total)
    details = {
        "method": method,
        "tokens": tokens,
        "tensors": {name: rounded(one, 3) for name, one in measured.items()},
    }
    return Outcome({name: one["error"] or 0.0 for name, one in measured.items()}, details=details)


def _forms(network: Network, form: str, forms: Mapping[str, str]) -> dict[str, Any]:
    """The form of every matrix."""
    if unknown := forms.keys() - network.linears.keys():
        raise InputError(f"there is no matrix {min(unknown)!r} to be given a form")
    words = network.aliases.get("embeddings.word")
    if forms.get(words or "", "int8") != "int8":
        raise InputError(f"{words} is what words are looked up in as well: it can only be int8")
    for name in forms:
        if isinstance(network.linears[name], TiedLinear) or ".low_rank." in name:
            raise InputError(f"{name} goes with the matrix whose weights or codes it uses: give that one a form")

    def form_of(name: str) -> str:
        linear, matrix = network.linears[name], name.partition(".low_rank.")[0]
        if isinstance(linear, TiedLinear):
            return form_of(linear.target)
        if matrix != name:  # small, and int8 where its matrix is of integers
            return "none" if form_of(matrix) == "none" else "int8"
        encoder = name.startswith("layers.") or name == "embeddings.word_projection"
        return forms.get(name, form if encoder else "int8")

    return {name: form_of(name) for name in network.linears}


@dataclass(frozen=True)
class _Quantized:
    """What becomes of one matrix at all its places, and of the halves of low-rank parts that read its codes.

    Attributes:
        linears: what stands where; the biases are what is to be added to those that are there.
        measured: what was lost, by matrix.
        means: float32 [in], of what enters, by place.
        tokens: how many have entered.
    """

    linears: Mapping[str, QuantizedLinear | TiedLinear]
    measured: Mapping[str, dict[str, Any]]
    means: Mapping[str, Float32Array]
    tokens: int


def _quantize_linear(
    network: Network, places: Sequence[str], form: BlockForm, seen: Seen, centred: Collection[str]
) -> tuple[dict[str, QuantizedLinear | TiedLinear], dict[str, dict[str, Any]]]:
    """Quantizes the matrix that stands at some places; to the nearest codes where nothing was `seen` of its inputs.

    Inputs at the places that are `centred` will come without their mean. Returns `linears` and `measured` of
    `_Quantized`.
    """
    linear = network.linears[places[0]]
    assert isinstance(linear, LinearWeights)
    no_bias = np.zeros_like(linear.bias)
    uses = {
        place: Use(no_bias, one, one.mean if place in centred else np.zeros_like(one.mean))
        for place, one in seen.items()
    }
    linears: dict[str, QuantizedLinear | TiedLinear] = {}
    if not uses:
        linears[places[0]] = made = replace(quantize_nearest(linear, form), bias=no_bias)
    else:
        made, *others = quantize_calibrated(linear.weight, [uses[place] for place in places], form)
        linears[places[0]] = made
        for place, other in zip(places[1:], others, strict=True):
            linears[place] = TiedLinear(places[0], other.bias)
    measured = {places[0]: _measured(linear, made, form, uses.get(places[0]))}
    for place in places:
        down = low_rank(place)[0]
        if isinstance(half := network.linears.get(down), LinearWeights):
            bias = np.zeros_like(half.bias)
            if uses:
                use = replace(uses[place], bias=bias)
                codes = quantize_calibrated(half.weight, [use], factor=made.input_factor)[0]
            else:
                use, codes = None, replace(quantize_nearest(half), bias=bias)
            measured[down] = _measured(half, codes, "int8", use)
            linears[down] = replace(codes, input_factor=None)
    return linears, measured


def _measured(before: LinearWeights, after: QuantizedLinear, form: BlockForm, use: Use | None) -> dict[str, Any]:
    """What quantizing a matrix lost."""
    nearest = error = None
    if use is not None:
        rows = use.seen.sample[:: max(1, len(use.seen.sample) // _ERROR_ROWS)]
        nearest = output_error(before.weight, quantize_nearest(before, form), rows)
        error = output_error(before.weight, after, rows - use.shift)
    stored = sum(tensor.nbytes for tensor in store_linear("", after, -1.0)[1].values())
    return _lost(nearest, error, before.weight.nbytes + before.bias.nbytes, stored)


def _lost(nearest: float | None, error: float | None, bytes_before: int, bytes_after: int) -> dict[str, Any]:
    return {"nearest": nearest, "error": error, "bytes_before": bytes_before, "bytes_after": bytes_after}


def _is_whole(name: str, linear: AnyLinear) -> bool:
    """Whether it is in float32 and has inputs of its own: the first half of a low-rank part reads its matrix's."""
    return isinstance(linear, LinearWeights) and not name.endswith(".low_rank.down")


def _places(network: Network, name: str) -> list[str]:
    """The names under which a matrix stands."""
    tied = [other for other, one in network.linears.items() if isinstance(one, TiedLinear) and one.target == name]
    return [name, *tied]
