"""Adapters of PEFT: low-rank changes that were trained beside a model (LoRA, arXiv 2106.09685; DoRA, arXiv 2402.09353).

Each is put into the base model's weights as they are read, as PEFT's `merge_and_unload` does it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import TaskKind
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.hub import NAME, checkpoint_folder, name_of
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.safetensors_file import safetensors_contents
from minibert_converter.checkpoints.stored import StoredTensor
from minibert_converter.checkpoints.torch_file import torch_contents
from minibert_converter.checkpoints.weights import WEIGHT_FILES, read_weights
from minibert_converter.network import Float32Array

CONFIG_FILE = "adapter_config.json"
FILES = (("adapter_model.safetensors", safetensors_contents), ("adapter_model.bin", torch_contents))
TASKS: Mapping[str, TaskKind] = {
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "sentence-embedding",
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model")
TOKENIZER_FILES += ("sentencepiece.bpe.model", "spm.model")
#: Kinds that are no change of weights, and what they are.
NO_CHANGE = {
    "PREFIX_TUNING": "keys and values put before those of a text",
    "PROMPT_TUNING": "vectors put before those of a text",
    "MULTITASK_PROMPT_TUNING": "vectors put before those of a text",
    "P_TUNING": "vectors put before those of a text",
    "CPT": "vectors put before those of a text",
    "ADAPTION_PROMPT": "attention to trained vectors, in layers of LLaMA",
    "XLORA": "a mixture of adapters, chosen for each token",
    "POLY": "a mixture of adapters, chosen for each task",
}
#: What LoRA may be besides, by the key that says so, none of which is merged here.
OTHER_FORMS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
#: Ways of beginning that leave the base model's own weights as they are; others change them, too.
BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal")
#: Keys that say how it was trained, or again what the weights say: where there are some, they are merged.
HARMLESS_KEYS = (
    "auto_mapping|base_model_name_or_path|peft_type|peft_version|revision|inference_mode|lora_dropout|r|task_type"
    "|fan_in_fan_out|bias|exclude_modules|layers_.*|.*_config|megatron_core|qalora_group_size|ensure_weight_tying"
    "|modules_to_save|lora_bias|use_dora"
)
#: What stands before the names of modules, and what names of modules end in where PEFT has put something around them.
_PREFIX = "base_model.model."
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save)(?=\.(?:weight|bias)$)")
_PART = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(?:\.(weight|bias))?")


@dataclass(frozen=True)
class Adapter:
    """An adapter, its base model's folder, and the settings by which it was trained.

    Attributes:
        folder: the adapter's.
        base: the base model's.
        config: adapter_config.json.
    """

    folder: Folder
    base: Folder
    config: JsonObject

    @property
    def task(self) -> TaskKind | None:
        """What it was trained for; None where it doesn't say."""
        return TASKS.get(str(self.config.get("task_type")))

    @property
    def tokenizer(self) -> Folder:
        """The folder of the tokenizer: its own where there is one, else the base model's."""
        return self.folder if any(self.folder.has(name) for name in TOKENIZER_FILES) else self.base

    def merge(self, tensors: NamedTensors) -> None:
        """Puts into the base model's tensors what was trained.

        Raises:
            CheckpointError: it doesn't fit the base model, or contradicts itself.
        """
        parts: dict[str, dict[str, StoredTensor]] = {}
        whole: set[str] = set()
        for tensor in read_weights(self.folder, FILES).values():
            name = tensor.name.removeprefix(_PREFIX)
            if match := _PART.fullmatch(name):
                module, part, end = match.groups()
                parts.setdefault(module, {})[f"{part}.bias" if end == "bias" else part] = tensor
            elif ".original_module." not in name:
                name = _WRAPPED.sub("", name)
                self._replace(tensors, name, tensor)
                whole.add(tensors.plain(name))
        for name in self.config.get("modules_to_save") or ():
            if missing := sorted(set(tensors.matching(rf"(.*\.)?{re.escape(name)}\..*")) - whole):
                raise CheckpointError(
                    f"{self.folder}: has no weights for {missing[0]}, though {name} is to be saved whole"
                )
        for module, own in parts.items():
            self._change(tensors, module, own)

    def _replace(self, tensors: NamedTensors, name: str, tensor: StoredTensor) -> None:
        """A tensor that was trained as a whole: a bias, or one of a module to save."""
        if tensors.plain(name) not in tensors and not self._is_saved(name.rpartition(".")[0]):
            raise CheckpointError(f"{tensor.file}: tensor {tensor.name!r} is no part of the base model, {self.base}")
        tensors.replace(name, tensor)

    def _is_saved(self, module: str) -> bool:
        saved = self.config.get("modules_to_save") or ()
        return any(name in module.split(".") or f".{module}.".endswith(f".{name}.") for name in saved)

    def _change(self, tensors: NamedTensors, module: str, parts: Mapping[str, StoredTensor]) -> None:
        """A matrix and what is added to it, the product of two small ones."""
        path, table = self.folder / CONFIG_FILE, "embedding_A" in parts
        targets = self.config.get("target_modules")
        if not isinstance(targets, list) or not any(f".{module}".endswith(f".{target}") for target in targets):
            raise UnsupportedError(
                f"{path}: target_modules is {targets!r:.80}, which is no list that names {module}, a trained one"
            )
        if tensors.plain(f"{module}.weight") not in tensors:
            raise CheckpointError(f"{path}: {module} is no part of the base model, {self.base}")
        first, second = (f"{'embedding_' * table}{half}" for half in "AB")
        if missing := [part for part in (first, second) if part not in parts]:
            raise CheckpointError(f"{self.folder}: {module} has no lora_{missing[0]}")
        if left := sorted(parts.keys() - {first, second, "B.bias", "magnitude_vector"}):
            raise CheckpointError(f"{self.folder}: {module} has lora_{left[0]} besides")
        dora = bool(self.config.get("use_dora"))
        if dora != ("magnitude_vector" in parts) or bool(self.config.get("lora_bias")) != ("B.bias" in parts):
            raise CheckpointError(f"{path}: use_dora and lora_bias are not as the weights of {module} have it")
        if dora and table:
            raise UnsupportedError(f"{path}: use_dora on the table of words, {module}, is not supported")
        rank = parts[first].shape[0]
        if rank != self._by_pattern("rank_pattern", "r", module):
            raise CheckpointError(f"{path}: r and rank_pattern are not {rank}, the rank of {module}'s weights")
        alpha = self._by_pattern("alpha_pattern", "lora_alpha", module)
        scaling = np.float32(alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank))

        def changed(weight: Float32Array) -> Float32Array:
            delta: Float32Array = (parts[second].read() @ parts[first].read()) * scaling
            delta = delta.T if table else delta
            if delta.shape != weight.shape:
                raise CheckpointError(
                    f"{parts[first].file}: {module} is changed by {delta.shape}, but is {weight.shape}"
                )
            merged: Float32Array = weight + delta
            if dora:
                merged *= (parts["magnitude_vector"].read() / np.linalg.norm(merged, axis=1))[:, None]
            return merged

        if any(len(parts[part].shape) != 2 for part in (first, second)):
            raise CheckpointError(f"{self.folder}: the changes of {module} are no matrices")
        tensors.change(f"{module}.weight", changed)
        if "B.bias" in parts:
            tensors.change(f"{module}.bias", lambda bias: bias + parts["B.bias"].read() * scaling)

    def _by_pattern(self, patterns: str, usual: str, module: str) -> float:
        """A number that PEFT has for all modules, or for those whose names end in one of a pattern."""
        for name, value in (self.config.get(patterns) or {}).items():
            if not re.fullmatch(r"[\w.]+", name):
                raise UnsupportedError(
                    f"{self.folder / CONFIG_FILE}: {patterns} has {name!r:.80}; only names are supported"
                )
            if f".{module}".endswith(f".{name}"):
                return _number(self.folder / CONFIG_FILE, patterns, value)
        return _number(self.folder / CONFIG_FILE, usual, self.config.get(usual, 8))

    def fit_labels(self, config: ConfigFile, outputs: int, notes: list[str]) -> None:
        """Forgets the base model's names of labels where the adapter's classifier has more or fewer."""
        names = config.values.get("id2label")
        if isinstance(names, dict) and len(names) != outputs:
            notes.append(
                f"the base model names {len(names)} labels, the adapter has {outputs}: they are called by number"
            )
            del config.values["id2label"]


def read_adapter(folder: Folder, base: Path | None) -> Adapter | None:
    """The adapter of a folder that has no model of its own; None where there is none.

    Args:
        folder: of the adapter.
        base: the folder of its base model; None for the one that it names.

    Raises:
        CheckpointError: its base model is not to be found.
        UnsupportedError: it is no LoRA, or a form of it that is not merged here.
    """
    models = [name + end for name, _ in WEIGHT_FILES for end in ("", ".index.json")]
    if not folder.has(CONFIG_FILE) or any(folder.has(name) for name in models):
        return None
    path, config = folder / CONFIG_FILE, JsonObject(folder.json(CONFIG_FILE))
    kind = config.get("peft_type")
    if kind != "LORA":
        what = f", {NO_CHANGE[kind]}, which is no change of weights" if kind in tuple(NO_CHANGE) else ""
        hint = "" if what else "; merge it first: AutoPeftModel....from_pretrained(folder).merge_and_unload()"
        raise UnsupportedError(f"{path}: a PEFT adapter of the type {kind}{what}; only LoRA can be merged here{hint}")
    for key in OTHER_FORMS:
        if config.get(key):
            raise UnsupportedError(f"{path}: a LoRA with {key} is not supported; it is {config[key]!r:.80}")
    beginning = config.get("init_lora_weights", True)
    if beginning not in BEGINNINGS:
        raise UnsupportedError(
            f"{path}: init_lora_weights is {beginning!r:.80}, which changed the base model too; save it as plain LoRA "
            "first (path_initial_model_for_weight_conversion of PEFT)"
        )
    known = ("use_rslora", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules")
    if strange := [key for key in config.not_asked(f"{HARMLESS_KEYS}|{'|'.join(known)}") if config[key]]:
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    return Adapter(folder, Folder(_base_of(folder, config, base)), config)


def _base_of(folder: Folder, config: JsonObject, base: Path | None) -> Path:
    """The base model's folder: the one given, or what the adapter names, here, beside the adapter, or on the Hub."""
    if base is not None:
        return base
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise CheckpointError(f"{folder / CONFIG_FILE}: names no base model; give its folder (--base)")
    beside = folder.path.resolve().parent
    places = (Path(named), folder.path / named, beside / named, beside / Path(named).name)
    for place in places:
        if (place / "config.json").is_file():
            return place
    if NAME.fullmatch(named) and name_of(folder.path):  # an adapter out of the Hub, as its user asked for
        return checkpoint_folder(named)
    raise CheckpointError(
        f"{folder / CONFIG_FILE}: the base model {named!r:.120} is no folder here, nor beside the adapter; give its "
        "folder, or its name on the Hub (--base)"
    )


def _number(path: Path, key: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1e6:
        raise CheckpointError(f"{path}: {key} is {value!r:.80}, not a number above 0")
    return value
