"""A Hugging Face folder becomes a Network: which family, which task, which files; then the tensors, one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from minibert.format.constants import LABELED_TASKS, MAX_POSITIONS, TaskKind
from minibert.format.schema import TextConfig
from minibert_converter.checkpoints.bge_m3 import read_token_heads
from minibert_converter.checkpoints.chain import read_behind
from minibert_converter.checkpoints.described import (
    Parts,
    architecture_of,
    provenance_of,
    refuse_other_biases,
    refuse_untied,
    task_behind,
    task_of,
)
from minibert_converter.checkpoints.encoder import EncoderReader, as_stored
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.opening import modules_of, opened, refuse_wrong_path, static_kind
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.rotary import Rotary
from minibert_converter.checkpoints.size_reader import read_sizes
from minibert_converter.checkpoints.static import is_static, read_static_model
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from minibert_converter.checkpoints.weights import read_weights
from minibert_converter.network import Network
from minibert_converter.progress import OnProgress, no_progress


def read_checkpoint(
    folder: str | Path,
    task: str | None = None,
    progress: OnProgress = no_progress,
    *,
    route: str | None = None,
    base: str | Path | None = None,
) -> Network:
    """Reads a Hugging Face checkpoint folder, or one of sentence-transformers.

    Args:
        folder: holds config.json, weights and a tokenizer; nothing in it is ever executed.
        task: what the model is for, if not what its `architectures` say: one of `minibert.format.constants.TASK_KINDS`.
        progress: told of every layer.
        route: of a folder of sentence-transformers with a Router, which of its routes texts take.
        base: of an adapter of PEFT, the folder of its base model, if not the one that it names.

    Returns:
        The model in float32, names and padding as in a minibert file. Its `notes` say what was guessed.

    Raises:
        CheckpointError: a file or tensor is missing or broken, and which.
        UnsupportedError: the checkpoint is well formed, but not of a family or for a task that minibert has.
    """
    path = Path(folder)
    refuse_wrong_path(path)
    with refusing(path):
        whole = Folder(path)
        modules = modules_of(whole, route)
        if modules.static if modules else is_static(whole):
            return read_static_model(whole, modules, task, route, base)
        home, adapter, config, family, setfit, kind, notes = opened(whole, modules, task, base)
        sentence = modules if modules and (setfit or (kind == modules.task and not modules.sparse)) else None
        if sentence is None and kind == "sentence-embedding":
            rows = {"cls": "those of the first token", "mean": "the mean over tokens"}
            said = rows[config.pooling(family.heads[kind].pooling)]
            notes.append(f"no sentence-transformers files: vectors are {said}, not normalized")
        prompts = [name for name, prompt in modules.prompts.items() if prompt] if modules and not sentence else []
        if prompts:
            left_out = ", ".join(prompts)
            notes.append(f"left out the prompts {left_out}: where they are wanted, texts must begin with them")

        model = adapter.base if adapter else home
        stored = read_weights(model)
        tensors = NamedTensors(
            model.path, stored, prefixes=family.prefixes, renamed=family.renamed, unused=family.unused
        )
        if adapter:
            adapter.merge(tensors)
        family = as_stored(family, tensors)
        sizes = read_sizes(config, family, tensors)
        refuse_other_biases(config, family, tensors)
        if sizes.token_types == 0 and "token_types" in family.sizes and config.size(family.sizes["token_types"], 0) > 0:
            notes.append("the weights have no table of token types: both texts of a pair are treated alike")
        scores = sentence.scores if sentence else 0
        head = family.heads["sentence-embedding" if setfit or scores or kind == "multi-vector" else kind]
        config.refuse_other_networks(head.must_be)
        refuse_untied(config, head, tensors)
        relative = family.relative(config, sizes) if family.relative else None
        tokenizer = read_tokenizer(
            adapter.tokenizer if adapter else home,
            sizes.vocab_size,
            lowercase=bool(modules and modules.lowercase),
            class_name=config.text("tokenizer_class"),
            usual=family.tokenizer,
        )
        # sentence-transformers sets its own limit in the place of the tokenizer's, be it lower or higher.
        longest = (modules and modules.max_length) or tokenizer.max_length
        if family.any_length and longest:
            sizes = replace(sizes, max_positions=min(max(sizes.max_positions, longest), MAX_POSITIONS))
        limits = [sizes.max_positions, longest]
        if setfit:
            task_of_file, score = task_behind(kind, modules, setfit), "none"
        else:
            outputs = scores or (tensors.rows(f"{head.linears[-1].source}.weight") if kind in LABELED_TASKS else 0)
            if adapter and kind in LABELED_TASKS:
                adapter.fit_labels(config, outputs, notes)
            task_of_file, score = task_of(config, kind, outputs, modules, notes)
        max_length = min(limit for limit in limits if limit)
        if modules and modules.sides and kind == modules.task:
            task_of_file = modules.sides.resolved(task_of_file, tokenizer.json, max_length, sizes.max_positions)
        everywhere = [(0, Rotary(0.0))] * sizes.num_layers
        attention = family.attention(config, sizes) if family.attention else everywhere
        alone = sentence is None or kind != "sentence-embedding"
        token_heads = None if alone else read_token_heads(home, family.model_type)
        parts = Parts(family, sizes, attention, relative, head, sentence, setfit, token_heads)
        architecture = architecture_of(config, parts, score)
        if token_heads:
            architecture, task_of_file = token_heads.added_to(architecture, task_of_file, tokenizer.json)
        network = Network(
            architecture=architecture,
            task=task_of_file,
            text=TextConfig(max_length=max_length),
            tokenizer_json=tokenizer.json,
            provenance=provenance_of(path, config, stored) | ({} if route is None else {"route": route}),
            notes=[*notes, *tokenizer.notes],
        )
    _read_tensors(network, tensors, parts, progress)
    with refusing(path):
        if unknown := config.not_read():
            network.notes.append(f"config.json: not known here, and not read: {', '.join(unknown)}")
        for each in (whole, adapter.base) if adapter else (whole,):
            network.notes.extend(each.account())
    return network


def task_of_checkpoint(
    folder: str | Path, task: str | None = None, route: str | None = None, base: str | Path | None = None
) -> TaskKind:
    """What `read_checkpoint` would read a checkpoint for; no weights are looked at, and the errors are the same."""
    refuse_wrong_path(Path(folder))
    with refusing(Path(folder)):
        whole = Folder(Path(folder))
        modules = modules_of(whole, route)
        if modules.static if modules else is_static(whole):
            return static_kind(whole, modules, task, base)[1]
        return opened(whole, modules, task, base).kind


def _read_tensors(network: Network, tensors: NamedTensors, parts: Parts, progress: OnProgress) -> None:
    sizes, layers = parts.sizes, parts.sizes.num_layers
    stage, steps = "reading weights", layers + 2
    progress(stage, 0, steps)
    # Both queries and keys are multiplied by the factor of rotary positions.
    unscaled = math.sqrt(sizes.head_size) if parts.family.unscaled else 1.0
    query_factors = [rotary.factor**2 * unscaled for _, rotary in parts.attention]
    reader = EncoderReader(tensors, parts.family, sizes, network, query_factors)
    with refusing(tensors.folder):
        reader.check_names(parts.head, parts.relative)
        reader.read_embeddings()
        reader.read_position_bias()
        if parts.relative:
            reader.read_relative_positions(parts.relative)
    for layer in range(layers):
        progress(stage, layer + 1, steps)
        with refusing(tensors.folder):
            reader.read_layer(layer)
    progress(stage, layers + 1, steps)
    with refusing(tensors.folder):
        reader.read_head(parts.head)
        read_behind(network, sizes.hidden_size, parts.modules, parts.setfit, tensors)
        if left := tensors.refuse_strangers():
            network.notes.append(f"left out, as this task does not need them: {', '.join(left)}")
        if parts.token_heads:
            parts.token_heads.read(network, sizes.hidden_size)
    progress(stage, steps, steps)
