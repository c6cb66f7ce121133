"""What a folder says that it is: its family, what it is for, and what other libraries put around its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from minibert.errors import CheckpointError, InputError, UnsupportedError
from minibert.format.constants import TASK_KINDS, TaskKind
from minibert_converter.checkpoints.adapter import Adapter, read_adapter
from minibert_converter.checkpoints.colbert import read_colbert
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.families import FAMILIES, NOT_READ, VARIANTS
from minibert_converter.checkpoints.family import Family
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.foreign import no_config
from minibert_converter.checkpoints.sentence_transformers import SentenceModules, read_sentence_modules
from minibert_converter.checkpoints.setfit import SetFit, read_setfit

FROM_SETFIT = "task text-classification, from the classifier of SetFit"


class Opened(NamedTuple):
    """What a folder says of itself: see `read_checkpoint`."""

    home: Folder
    adapter: Adapter | None
    config: ConfigFile
    family: Family
    setfit: SetFit | None
    kind: TaskKind
    notes: list[str]


def opened(whole: Folder, modules: SentenceModules | None, task: str | None, base: str | Path | None) -> Opened:
    """Which family a folder is of and what for."""
    home = modules.transformer_folder if modules else whole
    adapter = read_adapter(home, None if base is None else Path(base))
    if adapter is None:
        refuse_base(home, base)
    model = adapter.base if adapter else home
    if not model.has("config.json"):
        raise no_config(model)
    config = ConfigFile(model)
    family = _family(config)
    config.refuse_code(family.code)
    config.refuse_other_networks(family.must_be)
    if family.configured:
        family = family.configured(family, config)
    setfit = read_setfit(whole, modules) if task in (None, "text-classification") else None
    if setfit:
        kind, notes = "text-classification", [FROM_SETFIT]
    else:
        asked = task or (adapter.task if adapter and not (modules and modules.task) else None)
        kind, notes = _task_kind(config, family, asked, modules)
    if adapter:
        notes.append(f"the adapter is merged into its base model, {model}" + f", for {kind}" * (task is None))
    notes = [*notes, *(modules.notes if modules else ())]
    return Opened(home, adapter, config, family, setfit, kind, notes)


def modules_of(whole: Folder, route: str | None) -> SentenceModules | None:
    """What a folder says of modules around its encoder; None where it says nothing."""
    modules = read_colbert(whole)
    if modules is None:
        return read_sentence_modules(whole, route)
    if route is not None:
        raise UnsupportedError(f"{whole}: a model of one vector a token has no Router, and so no route {route!r:.80}")
    return modules


def static_kind(
    whole: Folder, modules: SentenceModules | None, task: str | None, base: str | Path | None
) -> tuple[SetFit | None, TaskKind]:
    """What a static model is for."""
    refuse_base(whole, base)
    setfit = read_setfit(whole, modules) if task in (None, "text-classification") else None
    if setfit:
        return setfit, "text-classification"
    if task not in (None, "sentence-embedding"):
        raise UnsupportedError(f"{whole}: a static model has vectors of texts only; task {task!r} is not supported")
    return None, "sentence-embedding"


def refuse_wrong_path(folder: Path) -> None:
    """Raise CheckpointError unless there is such a folder."""
    if folder.is_dir():
        return
    if folder.is_file():
        raise CheckpointError(
            f"{folder}: a file; give the folder that holds config.json, the weights and the tokenizer"
        )
    raise CheckpointError(f"{folder}: no such folder")


def refuse_base(folder: Folder, base: str | Path | None) -> None:
    """Raise InputError where a base model is given to what is no adapter."""
    if base is not None:
        raise InputError(f"{folder}: no adapter of PEFT, so there is no base model to be given")


def _family(config: ConfigFile) -> Family:
    model_type = config.text("model_type")
    if model_type is None:  # configs of 2019 have none
        for family in FAMILIES.values():
            if any(name in family.architectures for name in config.architectures()):
                return family
        raise CheckpointError(f"{config.path}: says neither model_type nor known architectures")
    for family in VARIANTS:
        told = (config.values.get(key) == value for key, value in family.told_by.items())
        if model_type in (family.model_type, *family.other_types) and all(told):
            return family
    if model_type not in FAMILIES:
        reason = f": {NOT_READ[model_type]}" if model_type in NOT_READ else ""
        raise UnsupportedError(
            f"{config.path}: model_type {model_type!r} is not supported{reason}; supported are "
            f"{', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def _task_kind(
    config: ConfigFile, family: Family, asked: str | None, modules: SentenceModules | None
) -> tuple[TaskKind, list[str]]:
    """The task, and a note that says why it is this one."""
    own = modules.task if modules is not None else None
    if own is not None and asked == own:
        return own, []
    if asked is not None:
        for kind in family.heads:
            if kind == asked:
                return kind, []
        raise UnsupportedError(f"task {asked!r} is not supported; supported are {_listed_tasks(family)}")
    if modules is not None and modules.task is not None:
        return modules.task, [f"task {modules.task}, from the {modules.model_type} of {modules.library}"]
    named = config.architectures()
    for name in named:
        if name in family.architectures:
            kind = family.architectures[name]
            return kind, [f"task {kind}, from the architecture {name}"]
    known = ", ".join(f"{name} ({kind})" for name, kind in family.architectures.items())
    if not named:
        raise CheckpointError(
            f"{config.path}: names no architectures, so the task is not known; give one of {_listed_tasks(family)}"
        )
    raise UnsupportedError(
        f"{config.path}: architecture {', '.join(named)} is not supported; supported are {known}; "
        "to use its encoder for sentence vectors, give the task sentence-embedding"
    )


def _listed_tasks(family: Family) -> str:
    return ", ".join(kind for kind in TASK_KINDS if kind in family.heads)
