"""Running a network on texts, and comparing what two networks return."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minibert.engine import Engine
from minibert.engine.library import at_hand
from minibert.errors import InputError
from minibert.format import ModelFile
from minibert.format.schema import Task
from minibert.reference import Reference
from minibert.tasks.scores import log_softmax
from minibert_converter.calibration.tokens import Chunk, Tokens
from minibert_converter.export import export
from minibert_converter.network import Float32Array, Network
from minibert_converter.parallel import one_blas_thread
from minibert_converter.progress import OnProgress


def outputs(
    network: Network, chunks: Sequence[Chunk], hook: Callable[[str, Float32Array], None] | None = None
) -> Float32Array:
    """What the network returns, float32 [texts or tokens, out]; `hook` sees what enters each linear, in that order."""
    if hook is None:
        return outputs_of_file(ModelFile(*export(network), "a network", 0), chunks)
    reference = Reference(*export(network))
    return np.concatenate([reference.forward(ids, types, hook) for ids, types in chunks])


def outputs_of_file(file: ModelFile, chunks: Sequence[Chunk]) -> Float32Array:
    """The same of a file, as the device computes it: by kernels, unless they would have to be compiled first."""
    engine = Engine(file, backend=None if at_hand() else "numpy")
    with one_blas_thread():
        return np.concatenate([engine.forward(ids, types) for ids, types in chunks])


def calibrate(tokens: Tokens, forward: Callable[..., Float32Array], progress: OnProgress) -> None:
    """Runs texts chunk by chunk, for what `forward` sees of them on the way.

    Args:
        tokens: the texts.
        forward: given ids and types, returns what the network does.
        progress: called with the stage "calibrating" and counts of texts.

    Raises:
        InputError: the texts drive the network to values that are not finite.
    """
    done = 0
    for ids, types in tokens.chunks():
        progress("calibrating", done, len(tokens.ids))
        if not np.isfinite(forward(ids, types)).all():
            raise InputError("calibration texts drive the float32 model to values that are not finite")
        done += len(ids)
    progress("calibrating", done, done)


def loss(rows: Float32Array, wanted: Float32Array) -> float:
    """The mean square error of rows over the variance of what is wanted: 0 for the same rows, 1 for a constant."""
    spread = float(np.square(wanted - wanted.mean(axis=0, dtype=np.float64)).sum())
    return float(np.square(rows - wanted, dtype=np.float64).sum()) / spread if spread > 0 else 0.0


def distance(task: Task, rows: Float32Array, wanted: Float32Array) -> float:
    """How far outputs moved: Kullback-Leibler divergence of a classifier's probabilities, else 1 - cosine."""
    if task.kind == "text-classification" and task.problem_type == "single_label":
        log_p, log_q = log_softmax(wanted), log_softmax(rows)
        return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())
    if task.kind == "text-classification":
        return float(np.square(wanted - rows).mean())
    return 1 - _cosine(rows, wanted)


def likeness(task: Task, rows: Float32Array, wanted: Float32Array) -> tuple[float | None, float]:
    """Part of the texts with the same label (None without labels), and the mean cosine of the rows."""
    same = None
    if task.labels and task.problem_type == "single_label":
        same = round(float((wanted.argmax(axis=1) == rows.argmax(axis=1)).mean()), 4)
    return same, round(_cosine(rows, wanted), 5)


def _cosine(rows: Float32Array, wanted: Float32Array) -> float:
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(rows, axis=1)
    return float(((wanted * rows).sum(axis=1) / np.maximum(lengths, 1e-12)).mean())
