"""The pass that lets a classifier answer before its last layer: early exit, fitted without training the network.

After each layer a linear reads the mean of the tokens' rows and guesses the answer (BranchyNet, arXiv 1709.01686;
DeeBERT, arXiv 2004.12993). It is fitted to the probabilities that the network itself ends with, so texts are enough and
labels are not needed.

How sure it must be is chosen so that the share of labels that change stays below a promise with a stated confidence
(Confident Adaptive Language Modeling, arXiv 2207.07061; Learn then Test, arXiv 2110.01052), on texts that the linears
were not fitted to. Thresholds are tested from the strictest on, each by the exact binomial bound on the labels it
changes, until one fails: the order is fixed before, so none of them has to pay for having been one of many. The promise
is about texts drawn as those were.

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
from minibert_converter.calibration.tokens import Tokens, tokenize
from minibert_converter.network import Float32Array, LinearWeights, Network
from minibert_converter.passes.adaptive.bound import least_sample, upper_bound
from minibert_converter.passes.base import Outcome
from minibert_converter.progress import OnProgress, no_progress

#: Texts that are looked at; more, at even distances.
_TEXTS = 6144
#: Of so many texts one is kept from the linears and tested on; of fewer texts than those make a test, every second one.
_PARTS = 3
#: Fewer texts make no fit.
_FEWEST = 32
_DECAY = 3e-3
_STEPS, _RATE = 300, 0.02
#: Thresholds in the order in which they are tested.
_THRESHOLDS = (
    *(0.9999, 0.9995, 0.999, 0.998, 0.997, 0.995, 0.993, 0.99, 0.985, 0.98, 0.97, 0.96, 0.95, 0.94, 0.92, 0.9),
    *(0.88, 0.86, 0.84, 0.82, 0.8, 0.78, 0.76, 0.74, 0.72, 0.7, 0.68, 0.66, 0.64, 0.62, 0.6, 0.55, 0.5),
)


@dataclass(frozen=True)
class _Exits:
    """What early exit does to texts that its linears were not fitted to.

    Attributes:
        after: layers after which a text may leave, counted from 0.
        threshold: probability that its likeliest label must have.
        leave: part of the texts that leave at each exit.
        same_label: part of the texts whose label stays.
        layers: layers that a text goes through on average.
        tested: how many texts these are.
        changed: how many of them change their label.
        bound: the part of texts like them whose label may change, at most, with the confidence asked for.
    """

    after: tuple[int, ...]
    threshold: float
    leave: tuple[float, ...]
    same_label: float
    layers: float
    tested: int
    changed: int
    bound: float


def add_exits(
    network: Network,
    after: Sequence[int],
    texts: Sequence[str] | None,
    tolerance: float,
    threshold: float,
    confidence: float,
    *,
    progress: OnProgress = no_progress,
) -> Outcome:
    """Gives a classifier exits.

    Args:
        network: gets the linears "exits.L" and the exits in its architecture.
        after: layers after which a text may leave, counted from 0; all but the last if empty.
        texts: like those to come; None for the converter's own sentences.
        tolerance: part of the texts whose label may change, above 0.
        threshold: the probability from which on a text leaves; 0 to choose it by `tolerance`.
        confidence: with which no more labels change than may, of texts like those given; above 0, below 1.
        progress: called with the stage "fitting exits".

    Returns:
        Details: what was chosen, and what it does to texts that were held out; the file has no exits, and details say
        nothing, if at no threshold texts leave and the promise is kept.

    Raises:
        InputError: a layer that there isn't or after which nothing would be saved; fewer texts than make a fit or prove
            the promise, or a promise that no texts prove.
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
    tokens = tokenize(network, texts, _TEXTS, None)
    count = len(tokens.ids)
    if count < _FEWEST:
        raise InputError(f"early exit is fitted to texts: {count} are too few, give a thousand")
    held = np.arange(count) % _PARTS == 0
    if not threshold:
        held = _held_out(count, tolerance, confidence)

    progress("fitting exits", 0, len(after) + 1)
    rows, logits = _pooled_rows(network, after, tokens)
    wanted = softmax(logits)
    linears: dict[int, LinearWeights] = {}
    guesses: dict[int, Float32Array] = {}
    for number, layer in enumerate(after):
        progress("fitting exits", number + 1, len(after) + 1)
        weight, bias = _fit(rows[layer][~held], wanted[~held])
        linears[layer] = LinearWeights(weight, bias)
        guesses[layer] = softmax(rows[layer][held] @ weight.T + bias)
    progress("fitting exits", len(after) + 1, len(after) + 1)
    chosen = _choose(guesses, wanted[held], last + 1, tolerance, threshold, confidence)
    if chosen is None or not (threshold or any(chosen.leave)):
        network.notes.append(
            f"no early exit: at no threshold do texts leave while at most {tolerance:.2%} of labels change, with "
            f"{confidence:.0%} confidence; more texts or a larger tolerance may find one"
        )
        return Outcome()
    network.linears |= {f"exits.{layer}": linear for layer, linear in linears.items()}
    network.architecture = replace(architecture, exits=tuple(Exit(layer, chosen.threshold) for layer in chosen.after))
    network.notes.append(
        f"early exit after layers {', '.join(map(str, chosen.after))} at {chosen.threshold:.2%}: {chosen.changed} of "
        f"{chosen.tested} texts held out change their label, so at most {chosen.bound:.2%} of texts like them do, with "
        f"{confidence:.0%} confidence; {chosen.layers:.1f} of {last + 1} layers run"
    )
    return Outcome(details=asdict(chosen))


def _held_out(count: int, tolerance: float, confidence: float) -> np.ndarray:
    """Which texts are tested on, bool [count]: as many at least as can prove the promise.

    Raises:
        InputError: there are too few, or no number of texts is enough.
    """
    if not 0 < tolerance < 1 or not 0 < confidence < 1:
        raise InputError(
            f"early exit at a tolerance of {tolerance:.2%} with {confidence:.2%} confidence: both must lie between 0 "
            f"and 1, excluded, as texts prove nothing else"
        )
    need = least_sample(tolerance, confidence)
    if count // 2 < need:
        raise InputError(
            f"{count} texts cannot prove that at most {tolerance:.2%} of labels change, with {confidence:.0%} "
            f"confidence: give {2 * need} or more with --calibrate, better {10 * need}, or a larger --exit-tolerance"
        )
    return np.arange(count) % (_PARTS if count // _PARTS >= 2 * need else 2) == 0


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
    guesses: dict[int, Float32Array],
    wanted: Float32Array,
    depth: int,
    tolerance: float,
    threshold: float,
    confidence: float,
) -> _Exits | None:
    """The last threshold before the first that fails the test; None if the strictest one does."""
    if threshold:
        return _try(guesses, wanted, depth, threshold, confidence)
    passed = None
    for candidate in _THRESHOLDS:
        tried = _try(guesses, wanted, depth, candidate, confidence)
        if tried.bound > tolerance:
            break
        passed = tried
    return passed


def _try(
    guesses: dict[int, Float32Array], wanted: Float32Array, depth: int, threshold: float, confidence: float
) -> _Exits:
    """What a threshold does."""
    final = wanted.argmax(axis=1)
    staying = np.ones(len(final), bool)
    label = final.copy()
    leave, layers = [], np.full(len(final), float(depth))
    for layer, guess in guesses.items():
        sure = staying & (guess.max(axis=1) >= threshold)
        label[sure], layers[sure] = guess.argmax(axis=1)[sure], layer + 1
        staying &= ~sure
        leave.append(round(float(sure.mean()), 4))
    changed, tested = int(np.count_nonzero(label != final)), len(final)
    return _Exits(
        after=tuple(guesses),
        threshold=threshold,
        leave=tuple(leave),
        same_label=round(1 - changed / tested, 4),
        layers=round(float(layers.mean()), 3),
        tested=tested,
        changed=changed,
        bound=round(upper_bound(changed, tested, confidence), 6),
    )
