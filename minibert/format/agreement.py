"""Proof that the keys of a config, each right by itself, agree with one another and ask for no more than any model."""

from __future__ import annotations

from dataclasses import fields

from minibert.errors import FormatError
from minibert.format.constants import (
    LABELED_TASKS,
    MAX_ROTARIES,
    TOKEN_SIMILARITIES,
    padded,
)
from minibert.format.schema import Architecture, Config, Task
from minibert.format.values import shown

#: Multiply-adds of all linears for one token, shared ones counted each time: the largest BERT (XLM-RoBERTa XXL) has
#: 10.7 billion. Matrices without blocks, and shared ones, would otherwise ask for hours of work in a file of megabytes.
MAX_MULTIPLICATIONS = 1 << 34
#: Numbers that one linear may return for one text, 8 GiB: 8,192 tokens and a vocabulary of 262,144.
MAX_ACTIVATIONS = 1 << 31
#: Tasks whose answer is made of one row a token.
_TOKEN_TASKS = ("multi-vector", "token-classification", "question-answering", "fill-mask")
#: Keys of the architecture that mean something without layers; what all others are then.
_OF_ROWS = ("model_type", "hidden_size", "head_size", "vocab_size", "max_positions", "layer_norm_eps", "activation")
_OF_ROWS += ("layers", "pooling", "head", "normalize")
_NO_LAYERS = {key.name: key.default for key in fields(Architecture) if key.name not in _OF_ROWS}
_NO_LAYERS |= {"token_types": 0, "position_table": False}


def prove_agreement(config: Config, out_features: int) -> None:
    """Checks what keys say together, of a model whose rows are `out_features` wide at the end.

    Raises:
        FormatError: naming the key that does not agree with the others, or asks for too much.
    """
    architecture = config.architecture
    if architecture.sum_of_embeddings and (architecture.embedding_size or not architecture.pre_norm):
        raise FormatError(
            "config.architecture.sum_of_embeddings is true, but it goes with pre_norm and without embedding_size"
        )
    _check_work(config)
    _check_task(config, out_features)
    _check_adaptive(config)
    _check_layer_weights(architecture)


def _check_work(config: Config) -> None:
    """That no small file asks for more memory or time than any model takes."""
    multiplications = sum(linear.in_features * linear.out_features for linear in config.linears.values())
    if multiplications > MAX_MULTIPLICATIONS:
        raise FormatError(
            f"config.linears multiply {multiplications} numbers for each token; the limit is {MAX_MULTIPLICATIONS}"
        )
    for name, linear in config.linears.items():
        numbers = config.architecture.max_positions * padded(linear.out_features)
        if numbers > MAX_ACTIVATIONS:
            raise FormatError(
                f"config.linears[{shown(name)}] returns {numbers} numbers for a text of max_positions tokens; "
                f"the limit is {MAX_ACTIVATIONS}"
            )
    architecture = config.architecture
    rotations = {architecture.rotation(layer) for layer in architecture.layers} - {0.0}
    if len(rotations) > MAX_ROTARIES:
        raise FormatError(
            f"config.architecture.layers have {len(rotations)} values of rotary_base and rotary; the limit is "
            f"{MAX_ROTARIES}"
        )


def _check_task(config: Config, out_features: int) -> None:
    task, architecture = config.task, config.architecture
    if task.kind in LABELED_TASKS:
        if not architecture.head or len(task.labels) != out_features:
            raise FormatError(
                f"config.task.labels has {len(task.labels)} labels, the last layer of the head has "
                f"{out_features if architecture.head else 'no'} outputs: a classifier has one label for each output"
            )
    elif task.labels:
        raise FormatError(f"config.task.labels has {len(task.labels)} labels, but {task.kind} has none")
    outputs = {"question-answering": 2, "fill-mask": architecture.vocab_size}.get(task.kind)
    if outputs is not None and (not architecture.head or out_features != outputs):
        raise FormatError(
            f"config.architecture.head has {out_features if architecture.head else 'no'} outputs, "
            f"but {task.kind} needs {outputs}"
        )
    if task.kind == "text-classification" and architecture.pooling == "none":
        raise FormatError("config.architecture.pooling is 'none', but text-classification needs one row a text")
    if task.kind in _TOKEN_TASKS and architecture.pooling != "none":
        raise FormatError(
            f"config.architecture.pooling is {shown(architecture.pooling)}, but {task.kind} needs a row for each token"
        )
    if (task.other_below > 0) != bool(task.other):
        raise FormatError("config.task.other and config.task.other_below go together")
    if task.other and (task.kind != "text-classification" or task.problem_type == "regression"):
        raise FormatError("config.task.other is for text-classification, and not for regression")
    _check_sides(task, architecture)
    if config.text.max_length > architecture.max_positions:
        raise FormatError(
            f"config.text.max_length is {config.text.max_length}, the model has {architecture.max_positions} positions"
        )


def _check_layer_weights(architecture: Architecture) -> None:
    """That the weights of layers, if there are any, are as many as the rows that they multiply."""
    weights, due = architecture.layer_weights, len(architecture.layers) + 1
    if not weights:
        return
    where = "config.architecture.layer_weights"
    if len(weights) != due or not any(weights):
        raise FormatError(f"{where} has {len(weights)} numbers; it must have {due}, which are not all 0")
    if architecture.exits or architecture.pooling == "none":
        raise FormatError(f"{where} are for models that pool what all layers made: without exits, with a pooling")


def _check_sides(task: Task, architecture: Architecture) -> None:
    """That queries and documents of a model of one vector a token are within its vocabulary and positions."""
    several = task.kind == "multi-vector"
    if (task.similarity in TOKEN_SIMILARITIES) != several:
        raise FormatError(f"config.task.similarity is {shown(task.similarity)}, which is none of {task.kind}")
    for name, side in (("query", task.query), ("document", task.document)):
        where = f"config.task.{name}"
        if (side is not None) != several:
            raise FormatError(f"{where} is {'missing' if several else 'there'}, but the task is {task.kind}")
        if side is None:
            continue
        if max(side.max_length, side.fill_to) > architecture.max_positions:
            raise FormatError(f"{where} has more tokens than the model has positions, {architecture.max_positions}")
        if max((side.prefix or 0, side.fill_token, *side.skip)) >= architecture.vocab_size:
            raise FormatError(f"{where} names a token beyond the vocabulary, {architecture.vocab_size}")
        window = min((layer.window for layer in architecture.layers if layer.window), default=side.fill_to)
        if side.fill_to and not side.attend_to_fill and architecture.relative_rows:
            raise FormatError(
                f"{where}.attend_to_fill is false, but attention has tables for distances (relative_rows)"
            )
        if side.fill_to > window + 1 and not side.attend_to_fill:
            raise FormatError(f"{where}.fill_to is {side.fill_to}: filling would see no token within {window}")


def _check_adaptive(config: Config) -> None:
    """That texts and tokens may leave early: nothing after it counts on where a token stood."""
    task, architecture = config.task, config.architecture
    for number, layer in enumerate(architecture.layers):
        if layer.keep_tokens == 1:
            continue
        where = f"config.architecture.layers[{number}].keep_tokens"
        if architecture.pooling == "none":
            raise FormatError(f"{where} is {layer.keep_tokens}, but {task.kind} needs a row for each token")
        if architecture.layer_weights or not architecture.pool_prompt or "weighted_mean" in architecture.poolings:
            raise FormatError(f"{where} is {layer.keep_tokens}, but pooling asks which tokens there were")
        if architecture.goes_by_places:
            raise FormatError(f"{where} is {layer.keep_tokens}, but attention goes by the places of tokens here")
    layers = [early.after for early in architecture.exits]
    if not layers:
        return
    where = "config.architecture.exits"
    if task.kind != "text-classification" or task.problem_type != "single_label":
        raise FormatError(f"{where} are for text-classification with one label a text")
    if architecture.pre_norm:
        raise FormatError(f"{where} are not for models whose LayerNorms stand before what they are for")
    if layers != sorted(set(layers)) or layers[-1] > len(architecture.layers) - 2:
        raise FormatError(f"{where} are after the layers {layers}; they must rise, and end before the last layer")


def prove_static(config: Config) -> None:
    """That a model without layers has nothing that only layers have, and that only it has texts without tokens."""
    architecture, text = config.architecture, config.text
    if architecture.layers:
        for key, none in (("characters_per_token", 0), ("ignored_id", -1), ("empty_id", -1)):
            if getattr(text, key) != none:
                raise FormatError(f"config.text.{key} is {getattr(text, key)}, which is for models without layers")
        return
    for key, none in _NO_LAYERS.items():
        if getattr(architecture, key) != none:
            raise FormatError(f"config.architecture.{key} is {getattr(architecture, key)}, but there are no layers")
    if architecture.pooling == "none":
        raise FormatError("config.architecture.pooling is 'none', but without layers a text has no other row")
    for key in ("ignored_id", "empty_id"):
        if getattr(text, key) >= architecture.vocab_size:
            raise FormatError(
                f"config.text.{key} is {getattr(text, key)}, but there are {architecture.vocab_size} words"
            )
