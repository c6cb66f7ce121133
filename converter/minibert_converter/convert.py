"""A conversion from end to end: checkpoint -> Network -> passes of a recipe -> file -> report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from minibert import files
from minibert.errors import InputError
from minibert.format import is_model_file, write_model
from minibert_converter.calibration.texts import read_texts
from minibert_converter.checkpoints import checkpoint_folder, read_checkpoint
from minibert_converter.checkpoints.weights import WEIGHT_FILES
from minibert_converter.export import export
from minibert_converter.network import Network
from minibert_converter.passes.registry import Vocabulary
from minibert_converter.progress import OnProgress, no_progress
from minibert_converter.recipe import Context, PassReport, Recipe, read_recipe, run
from minibert_converter.recipe.flags import recipe_of
from minibert_converter.report import Report, make_report


def convert(
    src: str | Path,
    out: str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    task: str | None = None,
    route: str | None = None,
    calibrate: str | Path | Sequence[str] | None = None,
    max_length: int | None = None,
    base: str | Path | None = None,
    revision: str | None = None,
    progress: OnProgress | None = None,
    on_step: Callable[[int, int], None] | None = None,
    **flags: Any,
) -> Report:
    """Converts a Hugging Face checkpoint into one minibert file, written whole or not at all.

    Args:
        src: its folder (config.json, weights, tokenizer; sentence-transformers files where there are any), or its name
            on the Hub: see `checkpoint_folder`.
        out: the file to write; an older one is replaced.
        recipe: what to do to the model, or a TOML file that says it; None takes `flags`.
        task: one of `minibert.format.constants.TASK_KINDS`, if not what the checkpoint says itself.
        route: of a Router (Asym) of sentence-transformers, the route that texts take: the file has the modules of one.
        calibrate: texts like those to come, or a file of them (see `read_texts`); where None those that the recipe
            names, or else those that ship with the converter.
        max_length: longest text in tokens, if not what the checkpoint says itself.
        base: where `src` is an adapter of PEFT, its base model, as `src`, if not the one that it names.
        revision: of a name on the Hub, a branch, a tag or a commit, if not its main branch.
        progress: called as `progress(stage, done, total)`.
        on_step: called as `on_step(number, steps)` when reading, each pass, and writing begin.
        flags: common recipes in short, such as `prune=["4x4:0.5"]` and `quantize="none"`: see `recipe.flags.FLAGS`.

    Returns:
        What became of each part; the same, without sizes of the file and times, is kept in the file.

    Raises:
        CheckpointError: the checkpoint is broken, and where.
        UnsupportedError: the checkpoint is of a kind that minibert does not have.
        InputError: an option or the texts make no sense, or `out` cannot be a file.
    """
    start = time.perf_counter()
    progress = progress or no_progress
    chosen = _recipe(recipe, flags)
    source, target = checkpoint_folder(src, revision, progress), Path(out)
    base = None if base is None else checkpoint_folder(base, progress=progress)
    if calibrate is None and chosen.calibrate is not None:
        calibrate = chosen.folder / chosen.calibrate
    vocabularies = [chosen.folder / step.vocab_from for step in chosen.passes if isinstance(step, Vocabulary)]
    inputs = [*vocabularies, *(each for each in (recipe, calibrate, base) if isinstance(each, (str, Path)))]
    check_target(source, target, inputs)
    if calibrate is not None and not chosen.reads_texts:
        raise InputError("calibration texts are given, but nothing that is asked for reads them")
    texts = None if calibrate is None else read_texts(calibrate)

    steps = count(1)

    def begin() -> None:
        if on_step is not None:
            on_step(next(steps), len(chosen.passes) + 2)

    begin()
    network = read_checkpoint(source, task, progress, route=route, base=base)
    if max_length is not None:
        set_max_length(network, max_length)
    passes = run(chosen, network, Context(texts, chosen.seed, chosen.folder, progress, begin))

    begin()
    return replace(write(network, chosen, passes, texts, target, progress), seconds=time.perf_counter() - start)


def write(
    network: Network,
    recipe: Recipe,
    passes: Sequence[PassReport],
    texts: Sequence[str] | None,
    target: Path,
    progress: OnProgress = no_progress,
) -> Report:
    """Writes the file of a network that has been through a recipe.

    Args:
        network: what to write.
        recipe: that it has been through.
        passes: what each of them did, as `run` returns it.
        texts: calibration texts that were given, if any.
        target: the file, which `check_target` has looked at.
        progress: called with the stage "writing".

    Returns:
        The report; its time is 0.
    """
    progress("writing", 0, 1)
    config, tensors = export(network, recipe.sparse_threshold)
    calibration = "built-in" if texts is None else f"{len(texts):,} texts given"
    report = make_report(network, tensors, passes, calibration if recipe.reads_texts else "")
    size = write_model(target, replace(config, report=report.stored_json()), tensors)
    progress("writing", 1, 1)
    return replace(report, file_bytes=size)


def _recipe(recipe: Recipe | str | Path | None, flags: dict[str, Any]) -> Recipe:
    """The recipe that is meant, by itself or by flags."""
    if recipe is None:
        return recipe_of(**flags)
    if flags:
        raise InputError(f"a recipe says all that is done: put {', '.join(flags)} into it")
    return recipe if isinstance(recipe, Recipe) else read_recipe(recipe)


def check_target(source: Path, target: Path, inputs: Sequence[str | Path] = ()) -> Path:
    """Finds what would make writing fail before the long work starts, and guards the files that are read.

    Args:
        source: the checkpoint folder; a minibert file that lies in it may be replaced.
        target: the file to write.
        inputs: other files that are read.

    Returns:
        The target with its links followed.

    Raises:
        InputError: nothing can be written there, or something would be lost.
    """
    path = Path(files.check_target(target, [source, *inputs], is_model_file))
    if path.name in [name for name, _ in WEIGHT_FILES] and path.parent == source.resolve() and not path.exists():
        raise InputError(f"{target}: would be taken for the weights of the checkpoint; name another file")
    return path


def set_max_length(network: Network, max_length: int) -> None:
    """Has a network read so many tokens of a text; raises InputError where it has no positions for them."""
    most = network.architecture.max_positions
    if not 1 <= max_length <= most:
        raise InputError(f"max_length is {max_length}, but the model has positions for 1 to {most} tokens")
    network.text = replace(network.text, max_length=max_length)
