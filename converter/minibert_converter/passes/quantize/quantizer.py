"""The pass that quantizes a network: every matrix and embedding table to integers, and what that loses in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from minibert.errors import InputError
from minibert.format.constants import low_rank
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.export import SPARSE_THRESHOLD, store_linear
from minibert_converter.network import AnyLinear, Float32Array, LinearWeights, Network, QuantizedLinear, TiedLinear
from minibert_converter.passes.base import Outcome, rounded
from minibert_converter.passes.quantize.centring import centre
from minibert_converter.passes.quantize.correction import MeanCorrection
from minibert_converter.passes.quantize.gather import gather_statistics
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
from minibert_converter.passes.quantize.statistics import InputStatistics
from minibert_converter.progress import OnProgress, no_progress

Rounding = Literal["compensated", "nearest"]

#: Tables of no more rows stay float32: each row is added to very many tokens, and the bytes saved are nothing. (With
#: the two rows of token types in int8, MiniLM's embeddings lose nearly twice as much.)
TINY_TABLE_ROWS = 16


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
        progress: called with the stages "calibrating" and "quantizing".

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
    statistics: dict[str, InputStatistics] = {}
    shifts: dict[str, Float32Array] = {}
    correction: MeanCorrection | None = None
    if method == "compensated" and floats:
        run = tokenize(network, texts)
        statistics = gather_statistics(network, run, progress)
        correction = MeanCorrection(network, run)
        shifts = centre(network, {name: one.mean for name, one in statistics.items()})
    # What the words' embeddings are as well is rounded to the nearest: nothing may be multiplied into it.
    statistics.pop(network.aliases.get("embeddings.word", ""), None)
    tokens = max((one.count for one in statistics.values()), default=0)

    measured: dict[str, dict[str, Any]] = {}
    total = len(tables) + len(floats) + len(downs)
    for name, table in tables.items():
        progress("quantizing", len(measured), total)
        network.tables[name] = codes = quantize_table(table)
        error = table_error(table, codes)
        measured[name] = _lost(error, error, table.nbytes, codes.q.nbytes + codes.scale.nbytes)
    for name in floats:
        progress("quantizing", len(measured), total)
        # Popped, so that statistics are let go as they are used up.
        places = [name, *(other for other, linear in network.linears.items() if _is_tied(linear, name))]
        seen = {place: one for place in places if (one := statistics.pop(place, None)) is not None}
        linear = network.linears[name]
        assert isinstance(linear, LinearWeights)
        its_form = block_form(chosen[name], linear.weight, sparse_threshold)
        measured |= _quantize_linear(network, places, linear, its_form, seen, shifts)
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
        return forms.get(name, form if name.startswith("layers.") else "int8")

    return {name: form_of(name) for name in network.linears}


def _quantize_linear(
    network: Network,
    places: Sequence[str],
    linear: LinearWeights,
    form: BlockForm,
    seen: Mapping[str, InputStatistics],
    shifts: Mapping[str, Float32Array],
) -> dict[str, dict[str, Any]]:
    """Replaces the matrix that stands at some places, and the halves of low-rank parts that read its codes.

    To the nearest codes where nothing was `seen` of its inputs. Returns by name what that lost.
    """
    uses = {
        place: Use(network.linears[place].bias, one, shifts.get(place, np.zeros_like(one.mean)))
        for place, one in seen.items()
    }
    if not uses:
        network.linears[places[0]] = quantize_nearest(linear, form)
    else:
        made = quantize_calibrated(linear.weight, list(uses.values()), form)
        network.linears[places[0]] = made[0]
        for place, one in zip(places[1:], made[1:], strict=True):
            network.linears[place] = TiedLinear(places[0], one.bias)
    measured = {places[0]: _measured(network, places[0], linear, form, uses.get(places[0]))}
    factor = getattr(network.linears[places[0]], "input_factor", None)
    for place in places:
        down = low_rank(place)[0]
        if isinstance(half := network.linears.get(down), LinearWeights):
            use = replace(uses[place], bias=half.bias) if uses else None
            made = quantize_calibrated(half.weight, [use], factor=factor) if use else [quantize_nearest(half)]
            network.linears[down] = made[0]
            measured[down] = _measured(network, down, half, "int8", use)
            network.linears[down] = replace(made[0], input_factor=None)
    return measured


def _measured(network: Network, name: str, before: LinearWeights, form: BlockForm, use: Use | None) -> dict[str, Any]:
    """What quantizing a matrix lost."""
    quantized = network.linears[name]
    assert isinstance(quantized, QuantizedLinear)
    nearest = error = None
    if use is not None:
        nearest = output_error(before.weight, quantize_nearest(before, form), use.seen.sample)
        error = output_error(before.weight, quantized, use.seen.sample - use.shift)
    after = sum(tensor.nbytes for tensor in store_linear(name, quantized, -1.0)[1].values())
    return _lost(nearest, error, before.weight.nbytes + before.bias.nbytes, after)


def _lost(nearest: float | None, error: float | None, bytes_before: int, bytes_after: int) -> dict[str, Any]:
    return {"nearest": nearest, "error": error, "bytes_before": bytes_before, "bytes_after": bytes_after}


def _is_tied(linear: AnyLinear, name: str) -> bool:
    return isinstance(linear, TiedLinear) and linear.target == name
