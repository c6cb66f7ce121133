"""A conversion from end to end: checkpoint -> Network -> passes -> file -> report."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from minibert.errors import InputError, MinibertError
from minibert.format import read_model, write_model

from .checkpoints import read_checkpoint
from .export import SPARSE_THRESHOLD, export
from .network import Network
from .progress import Progress, no_progress
from .prune import Budget, Method, PruneReport, parse_requests
from .prune import prune as run_prune
from .quantize import QuantizeReport, quantize
from .report import Report, make_report
from .texts import read_texts

Dtype = Literal["int8", "float32"]


def convert(
    src: str | Path,
    out: str | Path,
    *,
    task: str | None = None,
    dtype: Dtype = "int8",
    calibrate: str | Path | Sequence[str] | None = None,
    prune: Sequence[str] = (),
    prune_method: Method = "calibrated",
    prune_budget: Budget | None = None,
    max_length: int | None = None,
    sparse_threshold: float = SPARSE_THRESHOLD,
    progress: Progress | None = None,
) -> Report:
    """Converts a Hugging Face checkpoint folder into one minibert file, written whole or not at all.

    Args:
        src: the folder: config.json, weights, tokenizer; sentence-transformers files where there are any.
        out: the file to write; an older one is replaced.
        task: one of `minibert.format.schema.TASK_KINDS`, if not what the checkpoint says itself.
        dtype: "int8" quantizes matrices and embedding rows; "float32" keeps every weight as it is.
        calibrate: texts for pruning and the quantizer, or a file of them (see `read_texts`); those that ship with the
            converter where None.
        prune: what to remove, such as "4x4:0.5", "heads:0.33", "ffn:0.5", "layers:2" (see `prune.parse_request`).
        prune_method: "calibrated" removes what changes answers least, "magnitude" what has the smallest weights.
        prune_budget: whether every matrix loses the same ("matrix") or all together lose so much ("global"); None
            takes what suits the method.
        max_length: longest text in tokens, if not what the checkpoint says itself.
        sparse_threshold: an int8 matrix is stored block-sparse if at most this fraction of its 4x4 blocks, from 0 to
            1, holds a weight that isn't zero.
        progress: called as `progress(stage, done, total)`.

    Returns:
        What became of each part; the same, without sizes of the file and times, is kept in the file.

    Raises:
        CheckpointError: the checkpoint is broken, and where.
        UnsupportedError: the checkpoint is of a kind that minibert does not have.
        InputError: an option or the texts make no sense, or `out` cannot be a file.
    """
    start = time.perf_counter()
    progress = progress or no_progress
    if dtype not in get_args(Dtype):
        raise InputError(f"dtype {dtype!r} is none of {', '.join(get_args(Dtype))}")
    if not 0 <= sparse_threshold <= 1:
        raise InputError(f"sparse_threshold is {sparse_threshold}; a fraction of blocks is from 0 to 1")
    source, target = Path(src), Path(out)
    _check_target(source, target)
    if calibrate is not None and dtype == "float32" and not prune:
        raise InputError("calibration texts are for dtype int8 and for pruning; float32 keeps every weight as it is")
    parse_requests(prune)
    texts = None if calibrate is None else read_texts(calibrate)

    network = read_checkpoint(source, task, progress)
    if max_length is not None:
        _set_max_length(network, max_length)
    pruned = run_prune(network, prune, method=prune_method, budget=prune_budget, texts=texts, progress=progress)
    if pruned.requests:
        network.recipe.append({**pruned.recipe(), "calibration": "built-in" if texts is None else "given"})
    measured = _quantize(network, texts, progress) if dtype == "int8" else None

    progress("writing", 0, 1)
    config, tensors = export(network, sparse_threshold)
    report = make_report(
        network,
        tensors,
        dtype=dtype,
        errors=_errors(pruned, measured),
        densities=pruned.densities,
        quantization=measured.to_json() if measured else None,
        pruning=pruned.to_json() if pruned.changed else None,
    )
    size = write_model(target, replace(config, report=report.stored_json()), tensors)
    progress("writing", 1, 1)
    return replace(report, file_bytes=size, seconds=time.perf_counter() - start)


def _quantize(network: Network, texts: list[str] | None, progress: Progress) -> QuantizeReport:
    """Quantizes the network, and writes into its recipe that it was."""
    measured = quantize(network, texts=texts, progress=progress)
    calibration = "built-in" if texts is None else "given"
    network.recipe.append({"pass": "quantize", "dtype": "int8", "method": measured.method, "calibration": calibration})
    return measured


def _errors(pruned: PruneReport, quantized: QuantizeReport | None) -> dict[str, float]:
    """By matrix or table, the errors of both passes together, which have nothing to do with one another."""
    errors = {name: one.error for name, one in pruned.tensors.items()}
    for one in quantized.tensors if quantized else ():
        errors[one.name] = math.hypot(errors.get(one.name, 0.0), one.error or 0.0)
    return errors


def _check_target(source: Path, target: Path) -> None:
    """Finds what would make writing fail before the long work starts, and guards the checkpoint's own files."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name the file to write")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder; make it first")
    if target.exists() and source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        try:
            read_model(target)
        except MinibertError as error:
            raise InputError(f"{target}: belongs to the checkpoint and would be lost; name another file") from error


def _set_max_length(network: Network, max_length: int) -> None:
    most = network.architecture.max_positions
    if not 1 <= max_length <= most:
        raise InputError(f"max_length is {max_length}, but the model has positions for 1 to {most} tokens")
    network.text = replace(network.text, max_length=max_length)
