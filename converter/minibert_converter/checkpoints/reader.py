"""A Hugging Face folder becomes a Network: which family, which task, which files; then the tensors, one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from minibert.errors import CheckpointError, InputError, UnsupportedError
from minibert.format.constants import LABELED_TASKS, MAX_POSITIONS, TASK_KINDS, Activation, TaskKind
from minibert.format.schema import Architecture, HeadLayer, Layer, Task, TextConfig
from minibert_converter.checkpoints.adapter import Adapter, read_adapter
from minibert_converter.checkpoints.bge_m3 import TokenHeads, read_token_heads
from minibert_converter.checkpoints.chain import read_chain, read_layer_weights
from minibert_converter.checkpoints.colbert import read_colbert
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.encoder import EncoderReader, as_stored
from minibert_converter.checkpoints.families import FAMILIES, NOT_READ, VARIANTS
from minibert_converter.checkpoints.family import Attention, Family, Head, RelativePositions
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.foreign import no_config
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.rotary import Rotary
from minibert_converter.checkpoints.sentence_transformers import SentenceModules, read_sentence_modules
from minibert_converter.checkpoints.setfit import NAME, SetFit, read_setfit
from minibert_converter.checkpoints.sizes import Sizes
from minibert_converter.checkpoints.sizing import read_sizes
from minibert_converter.checkpoints.static import is_static, read_static
from minibert_converter.checkpoints.stored import StoredTensor
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from minibert_converter.checkpoints.weights import read_weights
from minibert_converter.network import Network, Origin
from minibert_converter.progress import OnProgress, no_progress

FROM_SETFIT = "task text-classification, from the classifier of SetFit"
#: Tasks that are made of the modules of sentence-transformers and PyLate, and not of a head in the encoder's file.
OF_MODULES: tuple[TaskKind, ...] = ("sentence-embedding", "multi-vector")


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
    _refuse_wrong_path(path)
    with refusing(path):
        whole = Folder(path)
        modules = _modules(whole, route)
        if modules.static if modules else is_static(whole):
            return _read_static(whole, modules, task, route, base)
        home, adapter, config, family, setfit, kind, notes = _opened(whole, modules, task, base)
        sentence = modules if modules and (setfit or (kind == modules.task and kind != "fill-mask")) else None
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
        _refuse_other_biases(config, family, tensors)
        if sizes.token_types == 0 and "token_types" in family.sizes and config.size(family.sizes["token_types"], 0) > 0:
            notes.append("the weights have no table of token types: both texts of a pair are treated alike")
        scores = sentence.scores if sentence else 0
        head = family.heads["sentence-embedding" if setfit or scores or kind == "multi-vector" else kind]
        config.refuse_other_networks(head.must_be)
        _refuse_untied(config, head, tensors)
        relative = family.relative(config, sizes.max_positions) if family.relative else None
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
            task_of_file, score = Task(kind, labels=setfit.labels, problem_type="single_label"), "none"
        else:
            outputs = scores or (tensors.rows(f"{head.linears[-1].source}.weight") if kind in LABELED_TASKS else 0)
            if adapter and kind in LABELED_TASKS:
                adapter.fit_labels(config, outputs, notes)
            task_of_file, score = _task(config, kind, outputs, modules, notes)
        max_length = min(limit for limit in limits if limit)
        if modules and modules.sides and kind == modules.task:
            task_of_file = modules.sides.resolved(task_of_file, tokenizer.json, max_length, sizes.max_positions)
        everywhere = [(0, Rotary(0.0))] * sizes.num_layers
        attention = family.attention(config, sizes) if family.attention else everywhere
        architecture = _architecture(config, family, sizes, attention, head, sentence, score, setfit, relative)
        alone = sentence is None or kind != "sentence-embedding"
        token_heads = None if alone else read_token_heads(home, family.model_type)
        if token_heads:
            architecture, task_of_file = token_heads.added_to(architecture, task_of_file, tokenizer.json)
        network = Network(
            architecture=architecture,
            task=task_of_file,
            text=TextConfig(max_length=max_length),
            tokenizer_json=tokenizer.json,
            provenance=_provenance(path, config, stored) | ({} if route is None else {"route": route}),
            notes=[*notes, *tokenizer.notes],
        )
    # Both queries and keys are multiplied by the factor.
    unscaled = math.sqrt(sizes.head_size) if family.unscaled else 1.0
    query_factors = [rotary.factor**2 * unscaled for _, rotary in attention]
    _read_tensors(
        network, family, sizes, query_factors, tensors, head, sentence, setfit, relative, token_heads, progress
    )
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
    _refuse_wrong_path(Path(folder))
    with refusing(Path(folder)):
        whole = Folder(Path(folder))
        modules = _modules(whole, route)
        if modules.static if modules else is_static(whole):
            return _static_kind(whole, modules, task, base)[1]
        return _opened(whole, modules, task, base).kind


def _modules(whole: Folder, route: str | None) -> SentenceModules | None:
    """What a folder says of modules around its encoder; None where it says nothing."""
    modules = read_colbert(whole)
    if modules is None:
        return read_sentence_modules(whole, route)
    if route is not None:
        raise UnsupportedError(f"{whole}: a model of one vector a token has no Router, and so no route {route!r:.80}")
    return modules


class _Opened(NamedTuple):
    """What a folder says of itself: see `read_checkpoint`."""

    home: Folder
    adapter: Adapter | None
    config: ConfigFile
    family: Family
    setfit: SetFit | None
    kind: TaskKind
    notes: list[str]


def _opened(whole: Folder, modules: SentenceModules | None, task: str | None, base: str | Path | None) -> _Opened:
    """Which family a folder is of and what for."""
    home = modules.transformer_folder if modules else whole
    adapter = read_adapter(home, None if base is None else Path(base))
    if adapter is None:
        _refuse_base(home, base)
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
    return _Opened(home, adapter, config, family, setfit, kind, notes)


def _static_kind(
    whole: Folder, modules: SentenceModules | None, task: str | None, base: str | Path | None
) -> tuple[SetFit | None, TaskKind]:
    """What a static model is for."""
    _refuse_base(whole, base)
    setfit = read_setfit(whole, modules) if task in (None, "text-classification") else None
    if setfit:
        return setfit, "text-classification"
    if task not in (None, "sentence-embedding"):
        raise UnsupportedError(f"{whole}: a static model has vectors of texts only; task {task!r} is not supported")
    return None, "sentence-embedding"


def _read_static(
    whole: Folder, modules: SentenceModules | None, task: str | None, route: str | None, base: str | Path | None
) -> Network:
    """A static model, whose encoder is a table of tokens' vectors, and what stands behind it."""
    setfit, kind = _static_kind(whole, modules, task, base)
    behind = setfit is not None or bool(modules and modules.chain)
    home = modules.transformer_folder if modules else whole
    static = read_static(home, modules.normalize if modules else None, behind=behind)
    if setfit:
        task_of_file = Task(kind, labels=setfit.labels, problem_type="single_label")
    elif modules:
        prompts, default = modules.prompts, modules.default_prompt
        task_of_file = Task(kind, prompts=prompts, default_prompt=default, similarity=modules.similarity)
    else:
        task_of_file = Task(kind)
    words = "embeddings.word"
    network = Network(
        architecture=Architecture(
            model_type="static",
            hidden_size=static.hidden_size,
            head_size=1,
            vocab_size=static.text.empty_id + 1,
            max_positions=MAX_POSITIONS,
            token_types=0,
            layer_norm_eps=1e-12,
            activation="none",
            layers=(),
            pooling="mean",
            head=tuple(_layers_behind(modules, setfit)),
            normalize=static.normalize and not setfit,
            position_table=False,
        ),
        task=task_of_file,
        text=static.text,
        tokenizer_json=static.tokenizer_json,
        tables={words: static.table},
        origins={words: Origin(static.parameters, static.nbytes)},
        provenance={"checkpoint": whole.path.resolve().name, "dtypes": list(static.dtypes)}
        | ({} if route is None else {"route": route}),
        notes=[
            FROM_SETFIT if setfit else f"task {kind}: a static model",
            *(modules.notes if modules else ()),
            *static.notes,
        ],
    )
    _read_behind(network, static.hidden_size, modules, setfit)
    network.notes.extend(whole.account())
    return network


def _refuse_base(folder: Folder, base: str | Path | None) -> None:
    if base is not None:
        raise InputError(f"{folder}: no adapter of PEFT, so there is no base model to be given")


def _read_tensors(
    network: Network,
    family: Family,
    sizes: Sizes,
    query_factors: Sequence[float],
    tensors: NamedTensors,
    head: Head,
    modules: SentenceModules | None,
    setfit: SetFit | None,
    relative: RelativePositions | None,
    token_heads: TokenHeads | None,
    progress: OnProgress,
) -> None:
    stage, steps = "reading weights", sizes.num_layers + 2
    progress(stage, 0, steps)
    reader = EncoderReader(tensors, family, sizes, network, query_factors)
    with refusing(tensors.folder):
        reader.check_names(head, relative)
        reader.read_embeddings()
        reader.read_position_bias()
        if relative:
            reader.read_relative_positions(relative)
    for layer in range(sizes.num_layers):
        progress(stage, layer + 1, steps)
        with refusing(tensors.folder):
            reader.read_layer(layer)
    progress(stage, sizes.num_layers + 1, steps)
    with refusing(tensors.folder):
        _read_heads(network, reader, sizes, tensors, head, modules, setfit)
        if token_heads:
            token_heads.read(network, sizes.hidden_size)
    progress(stage, steps, steps)


def _read_heads(
    network: Network,
    reader: EncoderReader,
    sizes: Sizes,
    tensors: NamedTensors,
    head: Head,
    modules: SentenceModules | None,
    setfit: SetFit | None,
) -> None:
    """The linears of the task, what sentence-transformers and SetFit put behind them, and what is left over."""
    reader.read_head(head)
    _read_behind(network, sizes.hidden_size, modules, setfit, tensors)
    left = tensors.refuse_strangers()
    if left:
        network.notes.append(f"left out, as this task does not need them: {', '.join(left)}")


def _read_behind(
    network: Network,
    width: int,
    modules: SentenceModules | None,
    setfit: SetFit | None,
    tensors: NamedTensors | None = None,
) -> None:
    """What sentence-transformers and SetFit put behind vectors that are `width` wide; `tensors` are the encoder's."""
    if modules:
        width = read_chain(network, modules, width, tensors)
    if setfit:
        setfit.read_head(network, width)


def _refuse_wrong_path(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.is_file():
        raise CheckpointError(
            f"{folder}: a file; give the folder that holds config.json, the weights and the tokenizer"
        )
    hint = ""
    if len(folder.parts) == 2 and not folder.is_absolute():
        hint = f"; to fetch a model of that name from the Hub: hf download {folder} --local-dir {folder.name}"
    raise CheckpointError(f"{folder}: no such folder{hint}")


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


def _refuse_other_biases(config: ConfigFile, family: Family, tensors: NamedTensors) -> None:
    """Checks that biases are there where config.json says so, and nowhere else: transformers would leave them out."""
    for pattern, key in family.bias_keys.items():
        for name in tensors.matching(rf"{pattern}\.weight"):
            bias = name.removesuffix(".weight") + ".bias"
            if (bias in tensors) != bool(config.value(key)):
                there = "there is" if bias in tensors else "there is no"
                said = f"{key.name} is {config.value(key)!r:.40}, but " if key.name else "of the weights, "
                raise CheckpointError(f"{config.path}: {said}{there} {bias!r}")


def _refuse_untied(config: ConfigFile, head: Head, tensors: NamedTensors) -> None:
    """Checks that a matrix that is the words' own isn't said to be another: transformers would draw one."""
    if not config.values.get("tie_word_embeddings", True):
        tensors.refuse_missing([f"{linear.source}.weight" for linear in head.linears if linear.tied])


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
        return modules.task, [f"task {modules.task}, from the {modules.model_type} of sentence-transformers"]
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


def _layers_behind(modules: SentenceModules | None, setfit: SetFit | None) -> list[HeadLayer]:
    """The layers of the head that sentence-transformers and SetFit put behind vectors."""
    layers = [module.layer for module in (modules.chain if modules else ())]
    if setfit:
        layers += [HeadLayer("head.normalize", kind="normalize")] * setfit.normalized
        layers.append(HeadLayer(NAME))
    return layers


def _architecture(
    config: ConfigFile,
    family: Family,
    sizes: Sizes,
    attention: Attention,
    head: Head,
    modules: SentenceModules | None,
    score: Activation,
    setfit: SetFit | None,
    relative: RelativePositions | None,
) -> Architecture:
    layers = [HeadLayer(one.name, config.activation(one.activation), one.norm is not None) for one in head.linears]
    layers += _layers_behind(modules, setfit)
    if score != "none":
        if layers[-1].activation != "none":
            raise UnsupportedError(f"{config.path}: the score is {score} of an output that has an activation already")
        layers[-1] = replace(layers[-1], activation=score)
    frequencies = tuple(dict.fromkeys(rotary.frequencies for _, rotary in attention if rotary.frequencies))
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
            for window, rotary in attention
        ),
        pooling=modules.pooling if modules else config.pooling(head.pooling),
        head=tuple(layers),
        normalize=bool(modules and modules.normalize and not setfit),
        embedding_size=sizes.embedding_size,
        position_table="embeddings.position" in family.tensors,
        position_bias=family.position_bias is not None,
        relative_rows=relative.rows if relative else 0,
        pre_norm=family.last_norm is not None,
        gated=family.gated,
        norm=family.norm,
        sum_of_embeddings=family.sum_of_embeddings,
        rotary_frequencies=frequencies,
        pool_after=modules.pool_after if modules else 0,
        pool_prompt=modules.pool_prompt if modules else True,
        layer_weights=read_layer_weights(modules, sizes.num_layers) if modules else (),
    )


def _task(
    config: ConfigFile,
    kind: TaskKind,
    outputs: int,
    modules: SentenceModules | None,
    notes: list[str],
) -> tuple[Task, Activation]:
    """The task, and what becomes of the outputs, of which a classifier has so many."""
    if kind in OF_MODULES:
        if modules is None or modules.task != kind:
            return Task(kind), "none"
        prompts, default = modules.prompts, modules.default_prompt
        return Task(kind, prompts=prompts, default_prompt=default, similarity=modules.similarity), "none"
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


def _provenance(folder: Path, config: ConfigFile, stored: dict[str, StoredTensor]) -> dict[str, object]:
    """Where the model came from; no dates and no paths, so that the same checkpoint makes the same bytes."""
    provenance: dict[str, object] = {
        "checkpoint": folder.resolve().name,
        "architectures": config.architectures(),
        "dtypes": sorted({tensor.dtype for tensor in stored.values()}),
    }
    for key in ("_name_or_path", "transformers_version"):
        if isinstance(value := config.values.get(key), str) and value:
            provenance[key.strip("_")] = value
    return provenance
