"""Running a network on texts, and comparing what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minibert.errors import InputError
from minibert.reference import Reference
from minibert.text.tokenizer import Encoded, Tokenizer
from minibert_converter.calibration.tokens import builtin_texts
from minibert_converter.export import export
from minibert_converter.network import Float32Array, Network

#: Texts that are run, at most.
MAX_TEXTS = 4096
_CHUNK = 32


def encode(network: Network, texts: Sequence[str] | None) -> list[Encoded]:
    """Token ids of texts, of the converter's own sentences if None; at most MAX_TEXTS, at even distances.

    Raises:
        InputError: there is no text.
    """
    texts = builtin_texts() if texts is None else texts
    if len(texts) > MAX_TEXTS:
        texts = [texts[i * len(texts) // MAX_TEXTS] for i in range(MAX_TEXTS)]
    if not texts:
        raise InputError("there is no text to measure on")
    tokenizer = Tokenizer(
        network.tokenizer_json, max_length=network.text.max_length, token_types=network.architecture.token_types
    )
    return [tokenizer.encode(text) for text in texts]


def answers(
    network: Network, encoded: Sequence[Encoded], hook: Callable[[str, Float32Array], None] | None = None
) -> Float32Array:
    """What the network answers, float32 [texts, outputs]; `hook` sees the inputs of linears, in the same order."""
    reference = Reference(*export(network))
    rows = []
    for first in range(0, len(encoded), _CHUNK):
        chunk = encoded[first : first + _CHUNK]
        types = [one.type_ids or [0] * len(one.ids) for one in chunk]
        rows.append(reference.forward([one.ids for one in chunk], types, hook))
    return np.concatenate(rows)


def likeness(network: Network, whole: Float32Array, other: Float32Array) -> tuple[float | None, float]:
    """Part of the texts with the same label (None without labels), and the mean cosine of the rows."""
    same = None
    if network.task.labels and network.task.problem_type == "single_label":
        same = round(float((whole.argmax(axis=1) == other.argmax(axis=1)).mean()), 4)
    lengths = np.linalg.norm(whole, axis=1) * np.linalg.norm(other, axis=1)
    return same, round(float(((whole * other).sum(axis=1) / np.maximum(lengths, 1e-12)).mean()), 5)
