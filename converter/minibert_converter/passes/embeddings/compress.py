"""The pass that stores embedding tables in a compact form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from minibert.format.constants import SUBVECTOR_SIZES
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.export import WORDS, table_tensors
from minibert_converter.matrices import widened
from minibert_converter.network import AnyTable, CompactTable, Float32Array, Network, Origin
from minibert_converter.passes.base import Outcome
from minibert_converter.passes.embeddings.codebook import codebook_table
from minibert_converter.passes.embeddings.int4 import int4_table
from minibert_converter.passes.embeddings.low_rank import low_rank
from minibert_converter.passes.embeddings.rotation import turned
from minibert_converter.passes.embeddings.sensitivity import metric_of
from minibert_converter.passes.embeddings.settling import settle
from minibert_converter.passes.embeddings.trial import Trial
from minibert_converter.passes.quantize.matrix import quantize_table
from minibert_converter.passes.quantize.quantizer import TINY_TABLE_ROWS
from minibert_converter.progress import OnProgress, no_progress

#: The matrix that widens words in few dimensions.
PROJECTION = "embeddings.word_projection"
#: Texts in which words are counted.
_COUNTED_TEXTS = 100_000
#: What a word counts that no text has, beside one that a text has once: rare words are seen too, one day.
_UNSEEN = 0.01
#: Ids over which counts are smoothed: vocabularies are sorted by how often a word is used, so neighbours tell of words
#: that the texts happen to lack. No word counts more than so often in what it tells of others.
_NEIGHBOURS, _MOST = 1024, 3
#: Errors of the special tokens, which stand in every text, count so much more.
_SPECIAL = 5.0
#: Texts whose words are looked at for what errors cost.
_LOOKED_AT = 64
#: Rows that are compared at once.
_CHUNK = 4096


@dataclass(frozen=True)
class TableForm:
    """How words are stored: "int8", "int4", "codebook" of sub-vectors of `size`, "low-rank" with `size` dimensions."""

    kind: str
    size: int = 0


def parse_form(text: str) -> TableForm:
    """Reads a form: "int8", "int4", "codebook", "codebook:8", "low-rank:128".

    Raises:
        InputError: it is none of them.
    """
    kind, colon, number = text.partition(":")
    size = int(number) if len(number) < 10 and number.isascii() and number.isdigit() else 0
    if kind in ("int8", "int4") and not colon:
        return TableForm(kind)
    if kind == "codebook" and (not colon or size in SUBVECTOR_SIZES):
        return TableForm(kind, size or SUBVECTOR_SIZES[0])
    if kind == "low-rank" and size:
        return TableForm(kind, size)
    sizes = ", ".join(f"codebook:{size}" for size in SUBVECTOR_SIZES)
    raise InputError(f"embeddings can be int8, int4, {sizes} or low-rank:DIMENSIONS, not {text!r}")


def parse_forms(texts: Sequence[str]) -> list[TableForm]:
    """Reads forms that follow one another; see `parse_form`."""
    return [parse_form(text) for text in texts]


def compress_embeddings(
    network: Network,
    form: str,
    *,
    texts: Sequence[str] | None = None,
    seed: int,
    progress: OnProgress | None = None,
) -> Outcome:
    """Stores the words in a form (see `parse_form`), and other tables of more than a few rows in int4.

    They become int8 if the form is "int8". Words in few dimensions stay float32, for a later pass to round, and other
    tables as they are.

    Args:
        network: its tables are replaced; "low-rank" adds the matrix "embeddings.word_projection".
        form: of the words.
        texts: what the model will read, or texts like it: errors of words that they use count more; None takes the
            sentences that ship with the converter.
        seed: of the first centres of codebooks.
        progress: called with the stage "clustering".

    Returns:
        Errors of tables: of their rows, over that of their entries. Details of each: its form, bytes of its tensors
        before and after (a projection included), its error, and the same with each row counted as often as the texts
        have it; None where it isn't words.

    Raises:
        InputError: the form is unknown or does not fit the network.
    """
    wanted = parse_form(form)
    if WORDS not in network.tables and wanted.kind != "int8":
        raise InputError(
            f"the words are the decoder of the fill-mask head too, a matrix that is multiplied whole, and cannot be "
            f"{form}: quantize shrinks both"
        )
    random = np.random.default_rng(seed)
    tables: dict[str, dict[str, Any]] = {}
    for name, stored in list(network.tables.items()):
        table = stored.dequantized() if isinstance(stored, CompactTable) else stored
        before, in_use = _bytes(name, stored), None
        if name == WORDS:
            counts = count_words(network, texts)
            weights = np.sqrt(counts + _UNSEEN)
            if wanted.kind == "low-rank":
                exact, after = _narrow(network, table, wanted.size, weights)
            elif wanted.kind == "codebook":
                exact, after = _coded(network, table, wanted.size, counts, texts, random, progress or no_progress)
            else:
                network.tables[name] = made = quantize_table(table) if wanted.kind == "int8" else int4_table(table)
                exact, after = made.dequantized(), _bytes(name, made)
            kind, in_use = form, _error(table, exact, counts)
        elif len(table) > TINY_TABLE_ROWS and wanted.kind != "low-rank":
            network.tables[name] = small = quantize_table(table) if wanted.kind == "int8" else int4_table(table)
            kind, exact, after = small.schema().kind, small.dequantized(), _bytes(name, small)
        else:
            continue
        tables[name] = {
            "form": kind,
            "bytes_before": before,
            "bytes_after": after,
            "error": _error(table, exact, np.ones(len(table))),
            "error_in_use": in_use,
        }
    return Outcome({name: one["error"] for name, one in tables.items()}, details=tables)


def count_words(network: Network, texts: Sequence[str] | None) -> npt.NDArray[np.float64]:
    """How often each token occurs in texts: float64 [vocab_size].

    Raises:
        InputError: no text has a token.
    """
    counts = np.zeros(network.architecture.vocab_size)
    for ids in tokenize(network, texts, _COUNTED_TEXTS).ids:
        np.add.at(counts, ids, 1)
    return counts


def word_weights(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the error of each word's row counts, float64 [words], by how often texts have it, and its neighbours."""
    window = np.ones(min(_NEIGHBOURS, len(counts)))
    nearby = np.convolve(np.minimum(counts, _MOST), window, "same") / np.convolve(np.ones(len(counts)), window, "same")
    return np.sqrt(counts + nearby + _UNSEEN)


def _coded(
    network: Network,
    table: Float32Array,
    size: int,
    counts: npt.NDArray[np.float64],
    texts: Sequence[str] | None,
    random: np.random.Generator,
    progress: OnProgress,
) -> tuple[Float32Array, int]:
    """Stores the words in codebooks, turned if a matrix that turns them back pays; what they stand for, and bytes."""
    architecture = network.architecture
    weights, columns = word_weights(counts), architecture.word_size or architecture.table_size
    # The matrix, of as many rows as columns, has to be smaller than the codes; and of a fill-mask model each answer is
    # as long as the vocabulary.
    pays = len(table) >= columns * size and network.task.kind != "fill-mask"
    if architecture.word_size or not architecture.layers or not pays:
        network.tables[WORDS] = made = codebook_table(table, size, weights, random, progress)
        return made.dequantized(), _bytes(WORDS, made)
    looked_at = tokenize(network, texts, _LOOKED_AT).ids
    exact = replace(network, tables={**network.tables, WORDS: table})
    trial = Trial(exact, sorted({one for text in looked_at for one in text}))
    weights[[*trial.frame[0], *trial.frame[1]]] *= _SPECIAL
    metric = metric_of(trial, table[:, :columns], looked_at, weights, random, progress)
    rows, projection = turned(table[:, :columns], metric, size, weights)
    made = codebook_table(rows, size, weights, random, progress)
    settle(trial, table, rows, made, projection, weights, random, progress)
    network.architecture = replace(architecture, word_size=rows.shape[1])
    network.tables[WORDS] = made
    network.linears = {PROJECTION: projection, **network.linears}
    network.origins[PROJECTION] = Origin(0, 0)
    back = made.dequantized() @ projection.weight.T + projection.bias
    return widened(back, table.shape[1]), _bytes(WORDS, made) + projection.weight.nbytes + projection.bias.nbytes


def _narrow(
    network: Network, table: Float32Array, rank: int, weights: npt.NDArray[np.float64]
) -> tuple[Float32Array, int]:
    """Replaces the words by ones of fewer dimensions; what they stand for then, and bytes."""
    architecture = network.architecture
    if architecture.word_size:
        raise InputError(f"the words have been brought to {architecture.word_size} dimensions before")
    if not architecture.layers:
        raise InputError(
            f"low-rank:{rank} is for models with layers: of vectors without any, callers may keep the first numbers"
        )
    if rank >= architecture.table_size:
        raise InputError(f"low-rank:{rank} is not fewer dimensions than the words have: {architecture.table_size}")
    words, projection = low_rank(table, architecture.table_size, rank, weights)
    network.architecture = replace(architecture, word_size=rank)
    network.tables[WORDS] = words
    network.linears = {PROJECTION: projection, **network.linears}
    network.origins[PROJECTION] = Origin(0, 0)
    rows = words @ projection.weight.T + projection.bias
    return widened(rows, table.shape[1]), words.nbytes + projection.weight.nbytes + projection.bias.nbytes


def _bytes(name: str, table: AnyTable) -> int:
    return sum(tensor.nbytes for tensor in table_tensors(name, table).values())


def _error(table: Float32Array, made: Float32Array, weights: npt.NDArray[np.float64]) -> float:
    """Root of the weighted mean square error, over that of the entries."""
    lost = whole = 0.0
    for first in range(0, len(table), _CHUNK):
        part = slice(first, first + _CHUNK)
        lost += float(((made[part] - table[part]) ** 2).sum(axis=1) @ weights[part])
        whole += float((table[part] ** 2).sum(axis=1) @ weights[part])
    return math.sqrt(lost / whole) if whole > 0 else 0.0
