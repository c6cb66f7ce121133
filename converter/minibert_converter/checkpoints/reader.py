"""A Hugging Face folder becomes a Network: which family, which task, which files; then the tensors, one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import LABELED_TASKS, TASK_KINDS, Activation, TaskKind
from minibert.format.schema import Architecture, HeadLayer, Layer, Task, TextConfig
from minibert_converter.checkpoints.chain import read_chain, read_layer_weights
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.encoder import EncoderReader, as_stored
from minibert_converter.checkpoints.families import FAMILIES, NOT_READ
from minibert_converter.checkpoints.family import Family, Head
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.foreign import no_config
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.sentence_transformers import SentenceModules, read_sentence_modules
from minibert_converter.checkpoints.setfit import NAME, SetFit, read_setfit
from minibert_converter.checkpoints.sizes import Sizes, read_sizes
from minibert_converter.checkpoints.stored import StoredTensor
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
) -> Network:
    """Reads a Hugging Face checkpoint folder, or one of sentence-transformers.

    Args:
        folder: holds config.json, weights and a tokenizer; nothing in it is ever executed.
        task: what the model is for, if not what its `architectures` say: one of `minibert.format.constants.TASK_KINDS`.
        progress: told of every layer.
        route: of a folder of sentence-transformers with a Router, which of its routes texts take.

    Returns:
        The model in float32, names and padding as in a minibert file. Its `notes` say what was guessed.

    Raises:
        CheckpointError: a file or tensor is missing or broken, and which.
        UnsupportedError: the checkpoint is well formed, but not of a family or for a task that minibert has.
    """
    path = Path(folder)
    _refuse_wrong_path(path)
    with refusing(path):
        whole, home, modules, config, family, setfit, kind, notes = _opened(path, task, route)
        sentence = modules if modules and (setfit or kind == modules.task != "fill-mask") else None
        if sentence is None and kind == "sentence-embedding":
            rows = {"cls": "those of the first token", "mean": "the mean over tokens"}
            said = rows[config.pooling(family.heads[kind].pooling)]
            notes.append(f"no sentence-transformers files: vectors are {said}, not normalized")
        prompts = [name for name, prompt in modules.prompts.items() if prompt] if modules and not sentence else []
        if prompts:
            left_out = ", ".join(prompts)
            notes.append(f"left out the prompts {left_out}: where they are wanted, texts must begin with them")

        stored = read_weights(home)
        tensors = NamedTensors(
            home.path, stored, prefixes=family.prefixes, renamed=family.renamed, unused=family.unused
        )
        family = as_stored(family, tensors)
        sizes = read_sizes(config, family, tensors)
        _refuse_other_biases(config, family, tensors)
        if sizes.token_types == 0 and "token_types" in family.sizes and config.size(family.sizes["token_types"], 0) > 0:
            notes.append("the weights have no table of token types: both texts of a pair are treated alike")
        scores = sentence.scores if sentence else 0
        head = family.heads["sentence-embedding" if setfit or scores else kind]
        tokenizer = read_tokenizer(
            home,
            sizes.vocab_size,
            lowercase=bool(modules and modules.lowercase),
            class_name=config.text("tokenizer_class"),
            usual=family.tokenizer,
        )
        # sentence-transformers sets its own limit in the place of the tokenizer's, be it lower or higher.
        limits = [sizes.max_positions, (modules and modules.max_length) or tokenizer.max_length]
        if setfit:
            task_of_file, score = Task(kind, labels=setfit.labels, problem_type="single_label"), "none"
        else:
            outputs = scores or (tensors.rows(f"{head.linears[-1].source}.weight") if kind in LABELED_TASKS else 0)
            task_of_file, score = _task(config, kind, outputs, modules, notes)
        network = Network(
            architecture=_architecture(config, family, sizes, head, sentence, score, setfit),
            task=task_of_file,
            text=TextConfig(max_length=min(limit for limit in limits if limit)),
            tokenizer_json=tokenizer.json,
            provenance=_provenance(path, config, stored, route),
            notes=[*notes, *tokenizer.notes],
        )
    _read_tensors(network, family, sizes, tensors, head, sentence, setfit, progress)
    with refusing(path):
        if unknown := config.not_read():
            network.notes.append(f"config.json: not known here, and not read: {', '.join(unknown)}")
        network.notes.extend(whole.account())
    return network


def task_of_checkpoint(folder: str | Path, task: str | None = None, route: str | None = None) -> TaskKind:
    """What `read_checkpoint` would read a checkpoint for; no weights are looked at, and the errors are the same."""
    _refuse_wrong_path(Path(folder))
    with refusing(Path(folder)):
        return _opened(Path(folder), task, route).kind


class _Opened(NamedTuple):
    """What a folder says of itself: see `read_checkpoint`."""

    whole: Folder
    home: Folder
    modules: SentenceModules | None
    config: ConfigFile
    family: Family
    setfit: SetFit | None
    kind: TaskKind
    notes: list[str]


def _opened(path: Path, task: str | None, route: str | None) -> _Opened:
    """Which family a folder is of and what for, and what other libraries put around its encoder."""
    whole = Folder(path)
    modules = read_sentence_modules(whole, route)
    home = modules.transformer_folder if modules else whole
    if not home.has("config.json"):
        raise no_config(home)
    config = ConfigFile(home)
    family = _family(config)
    config.refuse_code(family.code)
    config.refuse_other_networks(family.must_be)
    setfit = read_setfit(whole, modules) if task in (None, "text-classification") else None
    if setfit:
        kind, notes = "text-classification", ["task text-classification, from the classifier of SetFit"]
    else:
        kind, notes = _task_kind(config, family, task, modules)
    notes = [*notes, *(modules.notes if modules else ())]
    return _Opened(whole, home, modules, config, family, setfit, kind, notes)


def _read_tensors(
    network: Network,
    family: Family,
    sizes: Sizes,
    tensors: NamedTensors,
    head: Head,
    modules: SentenceModules | None,
    setfit: SetFit | None,
    progress: OnProgress,
) -> None:
    stage, steps = "reading weights", sizes.num_layers + 2
    progress(stage, 0, steps)
    reader = EncoderReader(tensors, family, sizes, network)
    with refusing(tensors.folder):
        reader.check_names(head)
        reader.read_embeddings()
        reader.read_position_bias()
    for layer in range(sizes.num_layers):
        progress(stage, layer + 1, steps)
        with refusing(tensors.folder):
            reader.read_layer(layer)
    progress(stage, sizes.num_layers + 1, steps)
    with refusing(tensors.folder):
        _read_heads(network, reader, sizes, tensors, head, modules, setfit)
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
    width = read_chain(network, modules, sizes.hidden_size) if modules else sizes.hidden_size
    if setfit:
        setfit.read_head(network, width)
    left = tensors.refuse_strangers()
    if left:
        network.notes.append(f"left out, as this task does not need them: {', '.join(left)}")


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
                raise CheckpointError(f"{config.path}: {key.name} is {config.value(key)!r:.40}, but {there} {bias!r}")


def _task_kind(
    config: ConfigFile, family: Family, asked: str | None, modules: SentenceModules | None
) -> tuple[TaskKind, list[str]]:
    """The task, and a note that says why it is this one."""
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


def _architecture(
    config: ConfigFile,
    family: Family,
    sizes: Sizes,
    head: Head,
    modules: SentenceModules | None,
    score: Activation,
    setfit: SetFit | None,
) -> Architecture:
    layers = [HeadLayer(one.name, config.activation(one.activation), one.norm is not None) for one in head.linears]
    layers += [module.layer for module in (modules.chain if modules else ())]
    if score != "none":
        if layers[-1].activation != "none":
            raise UnsupportedError(f"{config.path}: the score is {score} of an output that has an activation already")
        layers[-1] = replace(layers[-1], activation=score)
    if setfit:
        layers += [HeadLayer("head.normalize", kind="normalize")] * setfit.normalized
        layers.append(HeadLayer(NAME))
    everywhere = [(0, 0.0)] * sizes.num_layers
    attention = family.attention(config, sizes.num_layers) if family.attention else everywhere
    return Architecture(
        model_type=family.model_type,
        hidden_size=sizes.hidden_size,
        head_size=sizes.head_size,
        vocab_size=sizes.vocab_size,
        max_positions=sizes.max_positions,
        token_types=sizes.token_types,
        layer_norm_eps=config.layer_norm_eps(family.layer_norm_eps),
        activation=config.activation(family.activation),
        layers=tuple(Layer(sizes.num_heads, sizes.ffn_size, window, base) for window, base in attention),
        pooling=modules.pooling if modules else config.pooling(head.pooling),
        head=tuple(layers),
        normalize=bool(modules and modules.normalize and not setfit),
        embedding_size=sizes.embedding_size,
        position_table="embeddings.position" in family.tensors,
        position_bias=family.position_bias is not None,
        pre_norm=family.last_norm is not None,
        gated=family.gated,
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
    if kind == "sentence-embedding":
        if modules is None or modules.task != kind:
            return Task(kind), "none"
        prompts, default = modules.prompts, modules.default_prompt
        return Task(kind, prompts=prompts, default_prompt=default, similarity=modules.similarity), "none"
    if kind not in LABELED_TASKS:
        return Task(kind), "none"
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


def _provenance(
    folder: Path, config: ConfigFile, stored: dict[str, StoredTensor], route: str | None
) -> dict[str, object]:
    """Where the model came from; no dates and no paths, so that the same checkpoint makes the same bytes."""
    provenance: dict[str, object] = {
        "checkpoint": folder.resolve().name,
        "architectures": config.architectures(),
        "dtypes": sorted({tensor.dtype for tensor in stored.values()}),
    }
    if route is not None:
        provenance["route"] = route
    for key in ("_name_or_path", "transformers_version"):
        if isinstance(value := config.values.get(key), str) and value:
            provenance[key.strip("_")] = value
    return provenance
