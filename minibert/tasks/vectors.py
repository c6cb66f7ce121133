"""Sentence embeddings: prompts, shortening, normalizing, compact types and similarity, as in sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from minibert.errors import InputError
from minibert.format.constants import SIMILARITIES
from minibert.format.schema import Task
from minibert.options import choice

Precision: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]

#: Prompt names that `encode_query` and `encode_document` look for, in this order.
QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


def resolve_prompt(task: Task, prompt_name: str | None, prompt: str | None) -> str:
    """The text to put before each sentence: `prompt`, or the one called `prompt_name`, else the model's default.

    Raises:
        InputError: both are given, they are no str, or the model has no prompt of that name.
    """
    if prompt is not None and prompt_name is not None:
        raise InputError(f"give either prompt or prompt_name, got {prompt!r} and {prompt_name!r}")
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InputError(f"prompt must be str, got {type(prompt).__name__}")
        return prompt
    name = task.default_prompt if prompt_name is None else prompt_name
    if name is None:
        return ""
    if not isinstance(name, str) or name not in task.prompts:
        known = ", ".join(repr(each) for each in task.prompts) or "none"
        raise InputError(f"the model has no prompt called {name!r}; it has: {known}")
    return task.prompts[name]


def first_prompt(task: Task, names: Sequence[str]) -> str | None:
    """The first of `names` that the model has a prompt for."""
    return next((name for name in names if name in task.prompts), None)


def normalized(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1 (rows of zeros stay zeros); float32 [n, dim] to float32 [n, dim]."""
    norms = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return rows / np.maximum(norms, np.float32(1e-12))


def finish(rows: np.ndarray, *, truncate_dim: int | None, normalize: bool, precision: Precision) -> np.ndarray:
    """Shorten to the first `truncate_dim` numbers, then normalize, then pack: the order of sentence-transformers.

    Args:
        rows: float32 [n, dim].
        truncate_dim: for Matryoshka models (arXiv 2205.13147); None keeps all.
        normalize: whether to scale rows to length 1.
        precision: as of `quantize_embeddings`; the ranges of "int8" and "uint8" are those of these rows.
    """
    if truncate_dim is not None:
        rows = np.ascontiguousarray(rows[:, :truncate_dim])
    if normalize:
        rows = normalized(rows)
    if precision == "float32":
        return rows
    if needs_ranges(precision) and not len(rows):
        return rows.astype(precision)
    return quantize_embeddings(rows, precision)


def checked_precision(precision: Any) -> Precision:
    """A type of numbers, before any work; float32 for None.

    Raises:
        InputError: for an unknown precision.
    """
    return "float32" if precision is None else cast(Precision, choice("precision", precision, get_args(Precision)))


def needs_ranges(precision: Precision) -> bool:
    """Whether vectors of this type need the range of each dimension over many texts."""
    return precision in ("int8", "uint8")


def no_ranges(precision: Precision) -> InputError:
    """What is said where texts come one by one."""
    return InputError(
        f"{precision} vectors need the range of each dimension over many texts, and one text has none: encode many at "
        "once, or to float32, and then use minibert.quantize_embeddings with the ranges of your corpus"
    )


def quantize_embeddings(
    embeddings: np.ndarray,
    precision: Precision,
    ranges: np.ndarray | None = None,
    calibration_embeddings: np.ndarray | None = None,
) -> np.ndarray:
    """Embeddings in a type that takes 4 or 32 times less memory.

    Args:
        embeddings: float [n, dim] or [dim].
        precision: "int8" / "uint8": each dimension's range in 255 steps; "binary" / "ubinary": one bit a dimension,
            set where the number is positive, eight to a byte (first dimension in the highest bit).
        ranges: float [2, dim], lowest and highest value of each dimension, for int8 and uint8; by default those of
            `calibration_embeddings`, else of `embeddings`.
        calibration_embeddings: float [m, dim], typical of the corpus.

    Returns:
        int8 or uint8 [n, dim], [n, ceil(dim / 8)] for the binary kinds, or float32 [n, dim].

    Raises:
        InputError: for an unknown precision, what is no vectors, one vector alone to take ranges from, or ranges that
            are none.
    """
    precision = cast(Precision, choice("precision", precision, get_args(Precision)))
    embeddings = numbers(embeddings, "embeddings")
    if precision == "float32":
        return embeddings.astype(np.float32)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
        # "binary" is the same byte less 128, which fits int8.
        return bits if precision == "ubinary" else (bits ^ 0x80).view(np.int8)
    if ranges is None:
        source = embeddings if calibration_embeddings is None else calibration_embeddings
        source = np.atleast_2d(numbers(source, "calibration_embeddings"))
        if len(source) < 2:
            raise InputError(f"{precision} needs ranges, or calibration_embeddings of at least two vectors")
        ranges = np.stack([source.min(axis=0), source.max(axis=0)])
    ranges = numbers(ranges, "ranges").astype(np.float32)
    if ranges.shape != (2, embeddings.shape[-1]):
        raise InputError(f"ranges must be [2, {embeddings.shape[-1]}], as embeddings have it, got {list(ranges.shape)}")
    low, high = ranges
    if not (np.isfinite(ranges).all() and (low <= high).all()):
        raise InputError("ranges must be finite, and each lowest value no more than the highest")
    step = (high - low) / np.float32(255)
    levels = np.clip(np.floor((embeddings - low) / np.where(step == 0, 1, step)), 0, 255).astype(np.uint8)
    return levels if precision == "uint8" else (levels ^ 0x80).view(np.int8)


def similarity(a: np.ndarray, b: np.ndarray, name: str) -> np.ndarray:
    """Similarity of every row of `a` to every row of `b`: float32 [n, dim] and [m, dim] to [n, m].

    "euclidean" and "manhattan" are negative distances, so that more is always more alike.

    Raises:
        InputError: if the shapes do not fit or there is no similarity of that name.
    """
    a, b = _matrices(a, b, name)
    if name == "euclidean":
        squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :] - 2 * (a @ b.T)
        return -np.sqrt(np.maximum(squares, 0))
    if name == "manhattan":
        return np.stack([-np.abs(b - row).sum(axis=1) for row in a]) if len(a) else np.zeros((0, len(b)), np.float32)
    return a @ b.T


def similarity_pairwise(a: np.ndarray, b: np.ndarray, name: str) -> np.ndarray:
    """Similarity of each row of `a` to the same row of `b`: two float32 [n, dim] to [n]."""
    a, b = _matrices(a, b, name)
    if len(a) != len(b):
        raise InputError(f"pairwise similarity needs as many rows on both sides, got {len(a)} and {len(b)}")
    if name == "euclidean":
        return -np.sqrt(np.square(a - b).sum(axis=1))
    if name == "manhattan":
        return -np.abs(a - b).sum(axis=1)
    return (a * b).sum(axis=1)


def _matrices(a: np.ndarray, b: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as matrices; normalized for "cosine", which then is the dot product."""
    if name not in SIMILARITIES:
        raise InputError(f'similarity must be "cosine", "dot", "euclidean" or "manhattan", got {name!r}')
    a, b = (np.atleast_2d(numbers(each, "vectors").astype(np.float32)) for each in (a, b))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"similarity needs [n, dim] and [m, dim], got shapes {a.shape} and {b.shape}")
    return (normalized(a), normalized(b)) if name == "cosine" else (a, b)


def numbers(value: Any, what: str) -> np.ndarray:
    """One vector [dim] or many [n, dim], of any type of real numbers; InputError if it is neither."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers, [dim] or [n, dim]: {error}") from None
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2):
        raise InputError(f"{what} must be numbers, [dim] or [n, dim], got {array.dtype} {list(array.shape)}")
    return array
