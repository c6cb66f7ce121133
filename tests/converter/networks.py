"""Networks of noise for the tests of passes: read from a small checkpoint, so that names and padding are real."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from minibert.reference import Reference
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.export import export
from minibert_converter.network import LinearWeights, Network
from minibert_converter.passes.adaptive import exits
from minibert_converter.passes.adaptive.recipe import EarlyExit
from minibert_converter.passes.embeddings import compress
from minibert_converter.passes.prune import pruner
from minibert_converter.passes.prune.recipe import Prune
from minibert_converter.passes.quantize import quantizer
from minibert_converter.passes.quantize.recipe import Quantize
from minibert_converter.passes.share import sharing
from minibert_converter.passes.share.recipe import Share
from tests.checkpoints import CONFIG, WORDS, bert_weights, write_checkpoint


def _sentences(count: int, seed: int) -> list[str]:
    random = np.random.RandomState(seed)
    words = WORDS.split()
    return [" ".join(words[i] for i in random.randint(0, len(words), random.randint(3, 15))) for _ in range(count)]


#: Sentences of the little vocabulary's words: to calibrate on, and others to measure on.
MANY_TEXTS = _sentences(120, 1)
TEXTS, OTHER_TEXTS = MANY_TEXTS[:40], _sentences(30, 2)


def read_network(folder, config=None, weights=None, task=None) -> Network:
    config = CONFIG if config is None else config
    return read_checkpoint(write_checkpoint(folder, config, weights), task, lambda *_: None)


def noise_weights(**changes):
    """A config of CONFIG with changes, and weights for it."""
    config = {**CONFIG, **changes}
    return config, bert_weights(config)


def answers(network: Network, ids) -> np.ndarray:
    return Reference(*export(network)).forward(ids, [[0] * len(one) for one in ids])


def ids_of(network: Network, texts: list[str]) -> list[list[int]]:
    return tokenize(network, texts).ids


def some_ids(lengths=(3, 7, 5, 12), seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, CONFIG["vocab_size"], length).tolist() for length in lengths]


def with_weight(network: Network, name: str, weight: np.ndarray) -> Network:
    """A copy of the network with another matrix."""
    linear = network.linears[name]
    assert isinstance(linear, LinearWeights)
    return replace(network, linears={**network.linears, name: replace(linear, weight=weight.astype(np.float32))})


# The techniques, with the options by default that a test says nothing of.
prune = partial(pruner.prune, method=Prune.method, budget=Prune.budget)
quantize = partial(quantizer.quantize, form=Quantize.quantize)
share = partial(sharing.share, rank=Share.low_rank)
add_exits = partial(
    exits.add_exits,
    tolerance=EarlyExit.tolerance,
    threshold=EarlyExit.threshold,
    confidence=EarlyExit.confidence,
)
compress_embeddings = partial(compress.compress_embeddings, seed=0)
