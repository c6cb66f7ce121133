"""The pass that lets a classifier answer before its last layer: early exit, fitted without training the network.

After each layer a linear reads the mean of the tokens' rows and guesses the answer (BranchyNet, arXiv 1709.01686;
DeeBERT, arXiv 2004.12993). It is fitted to the probabilities that the network itself ends with, so texts are enough and
labels are not needed. How sure it must be is chosen on guesses about texts that the guesser was not fitted to.

It is the mean whatever the network's own pooling is: a first token that was trained to know the answer at the end knows
little of it before. And it is float32: rows inside the network have columns far larger than those that tell labels
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from minibert.errors import InputError, UnsupportedError
from minibert.format import Exit, padded
from minibert.tasks.scores import softmax
from minibert_converter.calibration.outputs import outputs
from minibert_converter.calibration.tokens import MAX_OUTPUT_TEXTS, Tokens, tokenize
from minibert_converter.network import Float32Array, LinearWeights, Network
from minibert_converter.passes.base import Outcome
from minibert_converter.progress import OnProgress, no_progress

#: Groups of texts of which each in turn is guessed by a linear fitted to the others.
_FOLDS = 4
_DECAY = 3e-3
_STEPS, _RATE = 300, 0.02
#: Thresholds to choose from.
_THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class _Exits:
    """What early exit should do, by guesses about texts that were held out.

    Attributes:
        after: layers after which a text may leave, counted from 0.
        threshold: probability that its likeliest label must have.
        leave: part of the texts that leave at each exit.
        same_label: part of the texts whose label stays.
        layers: layers that a text goes through on average.
    """

    after: tuple[int, ...]
    threshold: float
    leave: tuple[float, ...]
    same_label: float
    layers: float


def add_exits(
    network: Network,
    after: Sequence[int],
    texts: Sequence[str] | None,
    tolerance: float,
    threshold: float,
    *,
    progress: OnProgress = no_progress,
) -> Outcome:
    """Gives a classifier exits.

    Args:
        network: gets the linears "exits.L" and the exits in its architecture.
        after: layers after which a text may leave, counted from 0; all but the last if empty.
        texts: like those to come; None for the converter's own sentences.
        tolerance: part of the texts whose label may change, of those that were held out.
        threshold: the probability from which on a text leaves; 0 to choose it by `tolerance`.
        progress: called with the stage "fitting exits".

    Returns:
        Details: what was chosen, and what it should do.

    Raises:
        InputError: a layer that there isn't or after which nothing would be saved; fewer texts than make a fit.
        UnsupportedError: the network is no classifier of one label a text.
    """
    architecture = network.architecture
    if network.task.kind != "text-classification" or network.task.problem_type != "single_label":
        raise UnsupportedError("early exit is for text-classification with one label a text")
    if architecture.pre_norm:
        raise UnsupportedError(f"early exit is not for {architecture.model_type}: its LayerNorms stand before layers")
    if architecture.layer_weights:
        raise UnsupportedError("early exit is not for models that mix the rows of all layers")
    last = len(architecture.layers) - 1
    after = sorted(set(after)) or list(range(last))
    if not after or after[0] < 0 or after[-1] >= last:
        raise InputError(f"early exits after the layers {list(after)}: they must be from 0 to {last - 1}")
    tokens = tokenize(network, texts, MAX_OUTPUT_TEXTS, None)
    if len(tokens.ids) < 8 * _FOLDS:
        raise InputError(f"early exit is fitted to texts: {len(tokens.ids)} are too few, give a thousand")

    progress("fitting exits", 0, len(after) + 1)
    rows, logits = _pooled_rows(network, after, tokens)
    wanted = softmax(logits)
    guesses: dict[int, Float32Array] = {}
    for number, layer in enumerate(after):
        progress("fitting exits", number + 1, len(after) + 1)
        guesses[layer] = _held_out(rows[layer], wanted)
        weight, bias = _fit(rows[layer], wanted)
        network.linears[f"exits.{layer}"] = LinearWeights(weight, bias)
    chosen = _choose(guesses, wanted, last + 1, tolerance, threshold)
    network.architecture = replace(architecture, exits=tuple(Exit(layer, chosen.threshold) for layer in chosen.after))
    network.notes.append(
        f"early exit after layers {', '.join(map(str, chosen.after))} at {chosen.threshold:.1%}: of texts held out "
        f"{chosen.same_label:.1%} keep their label, and {chosen.layers:.1f} of {last + 1} layers run"
    )
    progress("fitting exits", len(after) + 1, len(after) + 1)
    return Outcome(details=asdict(chosen))


def _pooled_rows(
    network: Network, after: Sequence[int], tokens: Tokens
) -> tuple[dict[int, Float32Array], Float32Array]:
    """What the exits read, by layer: float32 [texts, padded(hidden_size)]; and the network's own logits."""
    labels = len(network.task.labels)
    width = padded(network.architecture.hidden_size)
    blind = LinearWeights(np.zeros((labels, width), np.float32), np.zeros(labels, np.float32))
    # Nobody is sure of anything here, so that all texts pass by all exits.
    probe = replace(
        network,
        architecture=replace(network.architecture, exits=tuple(Exit(layer, 1.0) for layer in after)),
        linears={**network.linears, **{f"exits.{layer}": blind for layer in after}},
    )
    seen: dict[str, list[Float32Array]] = {f"exits.{layer}": [] for layer in after}

    def hook(name: str, inputs: Float32Array) -> None:
        if name in seen:
            seen[name].append(inputs.copy())

    logits = outputs(probe, tokens.chunks_in_order(), hook)
    return {layer: np.concatenate(seen[f"exits.{layer}"]) for layer in after}, logits


def _held_out(rows: Float32Array, wanted: Float32Array) -> Float32Array:
    """Probabilities of each text by a linear that was fitted to others: float32 [texts, labels]."""
    guess = np.empty_like(wanted)
    fold = np.arange(len(rows)) % _FOLDS
    for number in range(_FOLDS):
        weight, bias = _fit(rows[fold != number], wanted[fold != number])
        guess[fold == number] = softmax(rows[fold == number] @ weight.T + bias)
    return guess


def _fit(rows: Float32Array, wanted: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The linear whose softmax comes nearest to probabilities (cross entropy, L2 penalty): by Adam, arXiv 1412.6980."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + np.float32(1e-6)
    scaled = (rows - mean) / spread
    # The columns of weight, and the bias as one more of them.
    inputs = np.concatenate([scaled, np.ones((len(rows), 1), np.float32)], axis=1)
    solution = np.zeros((inputs.shape[1], wanted.shape[1]), np.float32)
    solution[-1] = np.log(wanted.mean(axis=0) + 1e-9)
    decay = np.full((len(solution), 1), _DECAY, np.float32)
    decay[-1] = 0
    first, second = np.zeros_like(solution), np.zeros_like(solution)
    for step in range(1, _STEPS + 1):
        slope = inputs.T @ (softmax(inputs @ solution) - wanted) / np.float32(len(rows)) + decay * solution
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope * slope
        solution -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    weight = np.ascontiguousarray((solution[:-1] / spread[:, None]).T, dtype=np.float32)
    return weight, (solution[-1] - weight @ mean).astype(np.float32)


def _choose(
    guesses: dict[int, Float32Array], wanted: Float32Array, depth: int, tolerance: float, threshold: float
) -> _Exits:
    """The lowest threshold at which no more labels change than may."""
    tried = _try(guesses, wanted, depth, threshold or _THRESHOLDS[0])
    for candidate in () if threshold else _THRESHOLDS[1:]:
        if tried.same_label >= 1 - tolerance:
            break
        tried = _try(guesses, wanted, depth, candidate)
    return tried


def _try(guesses: dict[int, Float32Array], wanted: Float32Array, depth: int, threshold: float) -> _Exits:
    """What a threshold would do."""
    final = wanted.argmax(axis=1)
    staying = np.ones(len(final), bool)
    label = final.copy()
    leave, layers = [], np.full(len(final), float(depth))
    for layer, guess in guesses.items():
        sure = staying & (guess.max(axis=1) >= threshold)
        label[sure], layers[sure] = guess.argmax(axis=1)[sure], layer + 1
        staying &= ~sure
        leave.append(round(float(sure.mean()), 4))
    same = float((label == final).mean())
    return _Exits(tuple(guesses), threshold, tuple(leave), round(same, 4), round(float(layers.mean()), 3))
