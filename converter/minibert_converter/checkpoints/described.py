"""What config.json and the modules around an encoder say of a network, before any weight is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import LABELED_TASKS, Activation, TaskKind
from minibert.format.schema import Architecture, HeadLayer, Layer, Task
from minibert_converter.checkpoints.bge_m3 import TokenHeads
from minibert_converter.checkpoints.chain import read_layer_weights
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.family import Attention, Family, Head, RelativePositions
from minibert_converter.checkpoints.hub import name_of
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.sentence_transformers import SentenceModules
from minibert_converter.checkpoints.setfit import NAME, SetFit
from minibert_converter.checkpoints.sizes import Sizes
from minibert_converter.checkpoints.stored import StoredTensor

#: Tasks that are made of the modules of sentence-transformers and PyLate, and not of a head in the encoder's file.
OF_MODULES: tuple[TaskKind, ...] = ("sentence-embedding", "multi-vector")


class Parts(NamedTuple):
    """What a network is made of.

    Attributes:
        family: the encoder's, with the table of names that the checkpoint has.
        sizes: the encoder's.
        attention: how far each layer's reaches, and its rotary positions.
        relative: what attention knows of distances besides, if anything.
        head: what the task adds to the encoder.
        modules: what sentence-transformers and PyLate put behind it, if that is wanted.
        setfit: the classifier of SetFit behind that.
        token_heads: what else is made of every token.
    """

    family: Family
    sizes: Sizes
    attention: Attention
    relative: RelativePositions | None
    head: Head
    modules: SentenceModules | None
    setfit: SetFit | None
    token_heads: TokenHeads | None = None


def architecture_of(config: ConfigFile, parts: Parts, score: Activation) -> Architecture:
    """The shape of the network; `score` is what becomes of its last output.

    Raises:
        CheckpointError: a key is missing, or says what it cannot.
        UnsupportedError: it says what minibert does not compute.
    """
    family, sizes, head, modules = parts.family, parts.sizes, parts.head, parts.modules
    layers = [HeadLayer(one.name, config.activation(one.activation), one.norm is not None) for one in head.linears]
    layers += layers_behind(modules, parts.setfit)
    if score != "none":
        if layers[-1].activation != "none":
            raise UnsupportedError(f"{config.path}: the score is {score} of an output that has an activation already")
        layers[-1] = replace(layers[-1], activation=score)
    rotations = (rotary.frequencies for _, rotary in parts.attention if rotary.frequencies)
    frequencies = tuple(dict.fromkeys(rotations))
    return Architecture(
        model_type=family.model_type,
        hidden_size=sizes.hidden_size,
        head_size=sizes.head_size,
        vocab_size=sizes.vocab_size,
        max_positions=sizes.max_positions,
        token_types=sizes.token_types,
        layer_norm_eps=config.layer_norm_eps(family.layer_norm_eps),
        activation=config.activation(family.activation),
        layers=tuple(
            Layer(
                sizes.num_heads,
                sizes.ffn_size,
                window,
                rotary.base,
                rotary=frequencies.index(rotary.frequencies) + 1 if rotary.frequencies else 0,
            )
            for window, rotary in parts.attention
        ),
        pooling=modules.pooling if modules else config.pooling(head.pooling),
        head=tuple(layers),
        normalize=bool(modules and modules.normalize and not parts.setfit),
        embedding_size=sizes.embedding_size,
        position_table="embeddings.position" in family.tensors,
        position_bias=family.position_bias is not None,
        relative_rows=parts.relative.rows if parts.relative else 0,
        pre_norm=family.last_norm is not None,
        gated=family.gated,
        norm=family.norm,
        sum_of_embeddings=family.sum_of_embeddings,
        rotary_frequencies=frequencies,
        pool_after=modules.pool_after if modules else head.pool_after(config),
        pool_prompt=modules.pool_prompt if modules else True,
        layer_weights=read_layer_weights(modules, sizes.num_layers) if modules else (),
    )


def layers_behind(modules: SentenceModules | None, setfit: SetFit | None) -> list[HeadLayer]:
    """The layers of the head that sentence-transformers and SetFit put behind vectors."""
    layers = [module.layer for module in (modules.chain if modules else ())]
    if setfit:
        layers += [HeadLayer("head.normalize", kind="normalize")] * setfit.normalized
        layers.append(HeadLayer(NAME))
    return layers


def task_behind(kind: TaskKind, modules: SentenceModules | None, setfit: SetFit | None) -> Task:
    """What vectors are for, or the classifier of SetFit behind them."""
    if setfit:
        return Task(kind, labels=setfit.labels, problem_type="single_label")
    if modules is None:
        return Task(kind)
    prompts, default = modules.prompts, modules.default_prompt
    return Task(kind, prompts=prompts, default_prompt=default, similarity=modules.similarity)


def task_of(
    config: ConfigFile,
    kind: TaskKind,
    outputs: int,
    modules: SentenceModules | None,
    notes: list[str],
) -> tuple[Task, Activation]:
    """The task, and what becomes of the outputs, of which a classifier has so many; `notes` hear what was guessed."""
    if kind in OF_MODULES:
        return task_behind(kind, modules if modules and modules.task == kind else None, None), "none"
    if kind not in LABELED_TASKS:
        pooling, logs = modules.sparse if modules and modules.sparse else ("max", 1)
        return Task(kind, sparse_pooling=pooling, sparse_logs=logs), "none"
    if kind == "token-classification":
        return Task(kind, labels=config.labels(outputs)), "none"
    problem_type, score = config.problem_type(), "none"
    named = config.score_of_one_output(modules.score_function if modules else None)
    if outputs == 1 and (named or problem_type is None):
        # transformers and sentence-transformers both take the sigmoid where nothing is said.
        problem_type, score = named or ("multi_label", "none")
        said = "the sigmoid of the output" if problem_type == "multi_label" else f"{score} of the output"
        said = "the output itself" if (problem_type, score) == ("regression", "none") else said
        notes.append(
            f"one output, {'as the cross-encoder says' if named else 'and no problem_type'}: the score is {said}"
        )
    elif named and named != ("regression", "none"):  # of several outputs, Identity leaves open what they mean
        if named[1] != "none":
            raise UnsupportedError(f"{config.path}: scores that are {named[1]} of several outputs are not supported")
        problem_type = named[0]
    if modules and modules.scores:  # what config.json names are outputs that the encoder is without
        labels = tuple(f"LABEL_{index}" for index in range(outputs))
    else:
        labels = config.labels(outputs)
    return Task(kind, labels=labels, problem_type=problem_type or "single_label"), score


def refuse_other_biases(config: ConfigFile, family: Family, tensors: NamedTensors) -> None:
    """Checks that biases are there where config.json says so, and nowhere else: transformers would leave them out."""
    for pattern, key in family.bias_keys.items():
        for name in tensors.matching(rf"{pattern}\.weight"):
            bias = name.removesuffix(".weight") + ".bias"
            if (bias in tensors) != bool(config.value(key)):
                there = "there is" if bias in tensors else "there is no"
                said = f"{key.name} is {config.value(key)!r:.40}, but " if key.name else "of the weights, "
                raise CheckpointError(f"{config.path}: {said}{there} {bias!r}")


def refuse_untied(config: ConfigFile, head: Head, tensors: NamedTensors) -> None:
    """Checks that a matrix that is the words' own isn't said to be another: transformers would draw one."""
    if not config.values.get("tie_word_embeddings", True):
        tensors.refuse_missing([f"{linear.source}.weight" for linear in head.linears if linear.tied])


def provenance_of(folder: Path, config: ConfigFile, stored: dict[str, StoredTensor]) -> dict[str, object]:
    """Where the model came from; no dates and no paths, so that the same checkpoint makes the same bytes."""
    name, revision = name_of(folder) or (folder.resolve().name, None)
    provenance: dict[str, object] = {
        "checkpoint": name,
        **({} if revision is None else {"revision": revision}),
        "architectures": config.architectures(),
        "dtypes": sorted({tensor.dtype for tensor in stored.values()}),
    }
    for key in ("_name_or_path", "transformers_version"):
        if isinstance(value := config.values.get(key), str) and value:
            provenance[key.strip("_")] = value
    return provenance
