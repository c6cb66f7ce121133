"""Running texts through the float32 network to see what enters each matrix."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from minibert.errors import InputError
from minibert.reference import Reference
from minibert.text.tokenizer import Encoded, Tokenizer

from ..export import export
from ..network import Float32Array, LinearWeights, Network, TiedLinear
from ..progress import Progress, no_progress
from .statistics import InputStatistics

#: More texts than this teach nothing new; of more, so many are taken at even distances.
MAX_TEXTS = 1024
#: Tokens that go through the network at once: the rows of the widest layer then stay in the cache.
_CHUNK_TOKENS = 1024


def gather_statistics(
    network: Network, texts: Sequence[str], progress: Progress = no_progress
) -> dict[str, InputStatistics]:
    """Statistics of the inputs of every float32 matrix, over all tokens of the texts.

    Args:
        network: the model; its matrices are float32.
        texts: at most MAX_TEXTS of them are run, at even distances; each is cut at the model's longest text.
        progress: called with the stage "calibrating" and counts of texts.

    Raises:
        InputError: there is no text, or none that has a token.
    """
    if len(texts) > MAX_TEXTS:
        texts = [texts[i * len(texts) // MAX_TEXTS] for i in range(MAX_TEXTS)]
    architecture = network.architecture
    tokenizer = Tokenizer(
        network.tokenizer_json, max_length=network.text.max_length, token_types=architecture.token_types
    )
    encoded = [one for text in texts if (one := tokenizer.encode(text)).ids]
    if not encoded:
        raise InputError("calibration needs at least one text with a token in it")

    statistics = {
        name: InputStatistics(seed=zlib.crc32(name.encode()))
        for name, linear in network.linears.items()
        # What the first half of a low-rank part reads is what its matrix reads.
        if isinstance(linear, LinearWeights | TiedLinear) and not name.endswith(".low_rank.down")
    }

    def hook(name: str, rows: Float32Array) -> None:
        name = network.aliases.get(name, name)
        if name in statistics:
            statistics[name].add(rows)

    reference = Reference(*export(network), every_token=True)
    done = 0
    for chunk in _chunks(encoded):
        progress("calibrating", done, len(encoded))
        types = [one.type_ids or [0] * len(one.ids) for one in chunk]
        rows = reference.forward([one.ids for one in chunk], types, hook)
        if not np.isfinite(rows).all():
            raise InputError("calibration texts drive the float32 model to values that are not finite")
        done += len(chunk)
    progress("calibrating", done, done)
    return statistics


def _chunks(encoded: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Consecutive texts of about _CHUNK_TOKENS tokens together."""
    chunk: list[Encoded] = []
    tokens = 0
    for one in encoded:
        chunk.append(one)
        tokens += len(one.ids)
        if tokens >= _CHUNK_TOKENS:
            yield chunk
            chunk, tokens = [], 0
    if chunk:
        yield chunk
