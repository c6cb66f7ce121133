"""What sentence-transformers puts around an encoder (Reimers and Gurevych 2019, arXiv 1908.10084): modules.json.

Its modules hand a text's features on, one after another: the encoder makes a row for each token, Pooling makes one of
them, and what stands before and behind it changes these rows. That is the chain which a minibert file has behind its
encoder: each module becomes a layer of the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import MAX_HEAD_LAYERS, Pooling, TaskKind
from minibert.format.schema import HeadLayer
from minibert_converter.checkpoints.config_file import ACTIVATIONS_OF_TORCH
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.sides import Sides

MODULES_FILE = "modules.json"
#: As many layers as a head may have, and what may stand around them.
MAX_MODULES = MAX_HEAD_LAYERS + 8

#: In the order in which older folders, which only have a flag for each, lay several side by side.
POOLINGS: Mapping[str, Pooling] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_length",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
#: Flags of older folders -> the names of newer ones.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: What torch.nn.LayerNorm adds to the variance.
NORM_EPS = 1e-5
#: Where the limit on a text's length and lowercasing stand, in the order in which they are looked for.
SETTINGS_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: What those files may say besides, which changes no vector, and their groups of arguments for other libraries.
SETTINGS_HARMLESS = "modality_config|unpad_inputs|backend|method_.*"
ARGUMENTS = ("model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs")
ARGUMENTS_HARMLESS = (
    "trust_remote_code|attn_implementation|torch_dtype|dtype|device_map|use_fast|padding_side|token|revision"
    "|cache_dir|local_files_only|low_cpu_mem_usage|use_safetensors|add_pooling_layer"
)
#: Keys of a SpladePooling, and what they may be; the second logarithm is that of its second activation.
SPLADE = {"pooling_strategy": ("max", "sum"), "activation_function": ("relu", "log1p_relu")}
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
#: What the encoder of each type is asked for: its task, its output, and the feature that it becomes. (A CrossEncoder
#: with more than a Transformer asks for what a SentenceTransformer does.)
OUTPUTS = {
    "SentenceTransformer": ("feature-extraction", "last_hidden_state", "token_embeddings"),
    "SparseEncoder": ("fill-mask", "logits", "token_embeddings"),
    "CrossEncoder": ("sequence-classification", "logits", "scores"),
}
#: The modules that become layers of the head, and those that only choose others.
CHAIN_MODULES = ("Dense", "LayerNorm", "Normalize")
ROUTERS = ("Router", "Asym")
SUPPORTED_MODULES = (
    *("Transformer", "MLMTransformer", "StaticEmbedding", "WeightedLayerPooling", "Pooling", "SpladePooling"),
    *(*CHAIN_MODULES, "Dropout", *ROUTERS),
)
#: What a folder may be, as its config_sentence_transformers.json says, and how it is made of modules.
LAYOUTS = {
    "SentenceTransformer": "Transformer, perhaps WeightedLayerPooling, any number of Dense and Normalize of tokens, "
    "and Pooling, or StaticEmbedding; then any number of Dense, LayerNorm and Normalize",
    "SparseEncoder": "Transformer and SpladePooling",
    "CrossEncoder": "Transformer alone, or as a SentenceTransformer, with a Dense at the end that makes scores",
}
#: The task of each; that of a CrossEncoder that is a Transformer alone is what its `architectures` say.
TASKS: Mapping[str, TaskKind | None] = {
    "SentenceTransformer": "sentence-embedding",
    "SparseEncoder": "fill-mask",
    "CrossEncoder": None,
    "ColBERT": "multi-vector",
    "MultiVectorEncoder": "multi-vector",
    "HF_ColBERT": "multi-vector",
}


@dataclass(frozen=True)
class ChainModule:
    """A module behind the encoder, and the layer of the head that it becomes.

    Attributes:
        layer: of the head.
        folder: where its weights lie: linear.weight, linear.bias and residual.weight, or norm.weight and norm.bias.
        sizes: the columns that come in and go out, as its config says; None where it says nothing.
        bias: whether a linear has one.
        residual: whether what came in is added to what a linear makes without an activation, by residual.weight where
            it has another width.
        source: what the linear is called among the encoder's own tensors, if it lies there.
    """

    layer: HeadLayer
    folder: Folder
    sizes: tuple[int, int] | None = None
    bias: bool = True
    residual: bool = False
    source: str | None = None


@dataclass(frozen=True)
class LayerWeights:
    """Weights of all layers' rows from `start` on, which lie in `folder` as layer_weights."""

    folder: Folder
    start: int


@dataclass(frozen=True)
class SentenceModules:
    """A sentence-transformers folder, without its weights.

    Attributes:
        static: whether its encoder is a table of tokens' vectors.
        chain: what stands behind the encoder beside pooling, but for a Normalize at the end.
        pool_after: how many of these come before pooling.
        pool_prompt: whether the tokens of prompts are pooled as well.
        normalize: whether rows are divided by their length at the end.
        layer_weights: where the rows of all layers are added up for pooling.
        scores: how many scores of a cross-encoder the chain ends with; 0 where it ends with a vector, or is none.
        notes: what the user should know.
    """

    transformer_folder: Folder
    static: bool = False
    model_type: str = "SentenceTransformer"
    pooling: str = "mean"
    chain: tuple[ChainModule, ...] = ()
    pool_after: int = 0
    pool_prompt: bool = True
    normalize: bool = False
    layer_weights: LayerWeights | None = None
    scores: int = 0
    max_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"
    score_function: str | None = None
    sides: Sides | None = None
    #: How weights of a word at tokens become one, and how often their logarithm is taken.
    sparse: tuple[str, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> TaskKind | None:
        """What the folder is for; None where the encoder's own config says it."""
        return "text-classification" if self.scores else TASKS[self.model_type]


def read_sentence_modules(folder: Folder, route: str | None = None) -> SentenceModules | None:
    """Reads modules.json and the config of each module; None where this is no sentence-transformers folder.

    Args:
        folder: the checkpoint.
        route: which modules of a Router are meant, if it has several routes.

    Raises:
        CheckpointError: a file is missing or broken, or the modules do not follow one another.
        UnsupportedError: a module, a pooling or an activation is none of those that minibert computes; or of several
            routes none is chosen, or one that there is not.
    """
    where, notes = folder / MODULES_FILE, []
    if not folder.has(MODULES_FILE):
        if route is not None:
            raise UnsupportedError(f"{folder}: has no {MODULES_FILE}, and so no route {route!r:.80}")
        return None
    modules = read_modules(folder)
    routers = [kind for kind, _ in modules if kind in ROUTERS]
    if route is not None and not routers:
        raise UnsupportedError(f"{where}: there is no Router, and so no route {route!r:.80}")
    modules = [each for module in modules for each in _routed(*module, route, notes)]
    modules = [(kind, home) for kind, home in modules if kind != "Dropout"]  # does nothing outside training
    config_path = folder / "config_sentence_transformers.json"
    config = folder.json_if_present(config_path.name)
    model_type = config.get("model_type", "SentenceTransformer")
    if model_type not in tuple(LAYOUTS):
        raise UnsupportedError(f"{config_path}: model_type {model_type} is not supported; {', '.join(LAYOUTS)} are")
    if not _is_laid_out(model_type, [kind for kind, _ in modules]):
        raise UnsupportedError(
            f"{where}: the modules are {', '.join(kind for kind, _ in modules)}; a {model_type} may be "
            f"{LAYOUTS[model_type]}, in this order"
        )
    (first, encoder), chained = modules[0], len(modules) > 1 and model_type != "SparseEncoder"
    static = first == "StaticEmbedding"
    outputs = OUTPUTS["SentenceTransformer" if chained else model_type]
    max_length, lowercase, every_layer = (None, False, False) if static else read_settings(encoder, outputs)
    prompts, default_prompt, similarity = read_prompts(config_path, config)
    if default_prompt is not None and prompts[default_prompt] and model_type != "SentenceTransformer":
        raise UnsupportedError(f"{config_path}: a {model_type} that puts a prompt before each text is not supported")
    behind: dict[str, Any] = {"pooling": "mean", "pool_after": 0} if static else {}
    if chained:
        behind = _read_chain(modules[1:], behind, every_layer, model_type == "CrossEncoder", notes)
    return SentenceModules(
        transformer_folder=encoder,
        static=static,
        model_type=model_type,
        max_length=max_length,
        lowercase=lowercase,
        prompts=prompts,
        default_prompt=default_prompt,
        similarity=similarity,
        score_function=config.get("activation_fn"),
        sparse=_read_splade(modules[1][1]) if model_type == "SparseEncoder" else None,
        notes=tuple(notes),
        **behind,
    )


def _is_laid_out(model_type: str, kinds: list[str]) -> bool:
    """Whether the modules follow one another as a folder of that type may have them."""
    if model_type == "SparseEncoder":
        return kinds == ["Transformer", "SpladePooling"]
    if model_type == "CrossEncoder" and kinds[-1:] != ["Dense"]:
        return kinds == ["Transformer"]
    if kinds[:1] == ["StaticEmbedding"]:
        return model_type == "SentenceTransformer" and all(kind in CHAIN_MODULES for kind in kinds[1:])
    start = 2 if kinds[1:2] == ["WeightedLayerPooling"] else 1
    free = [kind for kind in kinds[start:] if kind not in CHAIN_MODULES]
    return kinds[:1] == ["Transformer"] and free == ["Pooling"]


def read_modules(
    folder: Folder, supported: Sequence[str] = SUPPORTED_MODULES, packages: Sequence[str] = ()
) -> list[tuple[str, Folder]]:
    """The class name and folder of each module, in their order.

    Args:
        folder: what holds modules.json.
        supported: names of classes.
        packages: where they may come from besides sentence_transformers.

    Raises:
        CheckpointError: the file is broken.
        UnsupportedError: there are too many, or one is of another class.
    """
    where = folder / MODULES_FILE
    entries = _entries(folder.json(MODULES_FILE, list), where)
    return [_module(where, folder, entry, supported, packages) for entry in entries]


def _entries(entries: list[Any], where: PurePath) -> list[Any]:
    if len(entries) > MAX_MODULES:
        raise UnsupportedError(f"{where}: {len(entries)} modules; the limit is {MAX_MODULES}")
    return entries


def _read_chain(
    modules: Sequence[tuple[str, Folder]], behind: dict[str, Any], every_layer: bool, scores: bool, notes: list[str]
) -> dict[str, Any]:
    """What stands behind the encoder, module by module: the fields of SentenceModules that tell of it.

    Args:
        modules: their kinds and folders.
        behind: the fields so far: pooling where a text has one row from the start.
        every_layer: whether the encoder keeps the rows of all its layers.
        scores: whether the last module makes scores of the vector.
        notes: receives what the user should know.
    """
    chain: list[ChainModule] = []
    for place, (kind, folder) in enumerate(modules):
        rows = "sentence_embedding" if "pooling" in behind else "token_embeddings"
        made = "scores" if scores and place == len(modules) - 1 else rows
        numbers = {of: sum(module.layer.kind == of for module in chain) for of in ("linear", "norm", "normalize")}
        if kind == "WeightedLayerPooling":
            behind["layer_weights"] = _read_layer_weights(folder, every_layer, notes)
        elif kind == "Pooling":
            behind["pooling"], behind["pool_prompt"] = _read_pooling(folder)
            behind["pool_after"] = len(chain)
        elif kind == "Dense":
            chain.append(read_dense(folder, f"head.projection.{numbers['linear']}", rows, made))
        elif kind == "LayerNorm":
            chain.append(_read_layer_norm(folder, f"head.layer_norm.{numbers['norm']}", rows))
        else:
            config = JsonObject(folder.json_if_present("config.json"))
            refuse_other_features(folder / "config.json", config, rows, rows)
            layer = HeadLayer(f"head.normalize.{numbers['normalize']}", kind="normalize")
            chain.append(ChainModule(layer, folder))
    if len(chain) > behind["pool_after"] and chain[-1].layer.kind == "normalize":
        behind["normalize"] = bool(chain.pop())
    if scores and (last := chain[-1].sizes):
        behind["scores"] = last[1]
    if len(chain) > MAX_HEAD_LAYERS:
        raise UnsupportedError(f"{modules[-1][1]}: behind {len(chain)} other modules; the limit is {MAX_HEAD_LAYERS}")
    return behind | {"chain": tuple(chain)}


def _routed(kind: str, folder: Folder, route: str | None, notes: list[str]) -> list[tuple[str, Folder]]:
    """The modules that a text meets where this one stands: itself, or those of a Router's route."""
    if kind not in ROUTERS:
        return [(kind, folder)]
    name = "router_config.json" if folder.has("router_config.json") else "config.json"
    where, config = folder / name, folder.json(name)
    types, routes = config.get("types"), config.get("structure")
    if not isinstance(types, dict) or not isinstance(routes, dict) or not routes:
        raise CheckpointError(f"{where}: has no types and structure, which say what its routes are made of")
    others = [each for each in routes if each != route]
    if route is None and len(routes) == 1:
        route, others = next(iter(routes)), []
    elif route not in routes:
        asked = "none is chosen" if route is None else f"none is called {route!r:.80}"
        raise UnsupportedError(
            f"{where}: texts take one of the routes {', '.join(map(str, routes))}, and {asked}; a file has one of "
            f"them: --route {next(iter(routes))}, for instance"
        )
    if not isinstance(routes[route], list) or not all(isinstance(each, str) for each in routes[route]):
        raise CheckpointError(f"{where}: the route {route} is not an array of names")
    if others:
        notes.append(f"took the route {route} of a {kind}, and left out {', '.join(others)}")
    for name in types:
        folder.file(str(name))  # accounted for, also where it is left out
    modules = [
        _module(where, folder, {"type": types.get(each), "path": each}) for each in _entries(routes[route], where)
    ]
    if any(kind in ROUTERS for kind, _ in modules):
        raise UnsupportedError(f"{where}: the route {route} leads to another Router, which is not supported")
    return modules


def read_settings(
    folder: Folder, outputs: tuple[str, str, str] = OUTPUTS["SentenceTransformer"], besides: str = ""
) -> tuple[int | None, bool, bool]:
    """The longest text in tokens, or None where nothing is said; whether texts are lowered first, and layers kept.

    Args:
        folder: of the Transformer.
        outputs: what it is asked for.
        besides: keys that somebody else reads, as a regular expression.
    """
    read = ((name, folder.json_if_present(name)) for name in SETTINGS_FILES)
    name, values = next(((name, values) for name, values in read if values), ("", {}))
    path, settings = folder / name, JsonObject(values)
    length, lowercase = settings.get("max_seq_length"), settings.get("do_lower_case")
    every_layer = folder.json_if_present("config.json").get("output_hidden_states")
    for group in ARGUMENTS:
        arguments = settings.get(group) or {}
        if not isinstance(arguments, dict):
            raise CheckpointError(f"{path}: {group} is {arguments!r:.80}, not an object")
        arguments = JsonObject(arguments)
        length = arguments.get("model_max_length", length)
        every_layer = arguments.get("output_hidden_states", every_layer)
        if strange := arguments.not_asked(ARGUMENTS_HARMLESS):
            raise UnsupportedError(f"{path}: {group} sets {', '.join(strange)}, which is not understood here")
    _refuse_other_outputs(path, settings, *outputs)
    length = _read_processing(path, settings, length)
    if strange := settings.not_asked(f"{SETTINGS_HARMLESS}|{besides}"):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    if length is not None and (type(length) is not int or length < 1):
        raise CheckpointError(f"{path}: max_seq_length is {length!r}")
    return length, bool(lowercase), bool(every_layer)


def _read_processing(path: PurePath, settings: JsonObject, length: Any) -> Any:
    """What the tokenizer is called with: the longest text, if it says another than `length`."""
    groups = settings.get("processing_kwargs") or {}
    texts = [groups.get(group) or {} for group in ("common", "text")] if isinstance(groups, dict) else [groups]
    if not all(isinstance(group, dict) for group in texts) or set(groups) - {"common", "text"}:
        raise UnsupportedError(f"{path}: processing_kwargs is {groups!r:.80}, which is not understood here")
    for arguments in map(JsonObject, texts):
        length = arguments.get("max_length", length)
        strange = arguments.not_asked("padding|padding_side|pad_to_multiple_of|return_.*|truncation")
        strange += ["truncation"] * (arguments.get("truncation", True) is not True)
        if strange:
            raise UnsupportedError(f"{path}: processing_kwargs sets {', '.join(strange)}, which is not understood here")
    return length


def _refuse_other_outputs(path: PurePath, settings: JsonObject, task: str, made: str, features: str) -> None:
    """Checks that the encoder has the task, the output and the feature that its type of model is made of."""
    modalities = settings.get("modality_config") or {}
    text = modalities.get("text") if isinstance(modalities, dict) else None
    output = text.get("method_output_name", made) if isinstance(text, dict) else made
    said = {
        "transformer_task": (settings.get("transformer_task", task), task),
        "method_output_name": (output, made),
        "module_output_name": (settings.get("module_output_name", features), features),
    }
    for key, (value, due) in said.items():
        if value not in (due, [due]):
            raise UnsupportedError(f"{path}: {key} is {value!r:.80}; only {due!r} is supported here")
    if isinstance(modalities, dict) and "message" in modalities:
        raise UnsupportedError(f"{path}: texts that go through a chat template (modality message) are not supported")


def _module(
    where: PurePath,
    folder: Folder,
    entry: Any,
    supported: Sequence[str] = SUPPORTED_MODULES,
    packages: Sequence[str] = (),
) -> tuple[str, Folder]:
    """The class name and folder of a module that the file `where` names."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str) or not isinstance(entry.get("path"), str):
        raise CheckpointError(f"{where}: a module has no type and path")
    package, _, kind = entry["type"].rpartition(".")
    if package.split(".")[0] not in ("sentence_transformers", *packages) or kind not in supported:
        raise UnsupportedError(
            f"{where}: module {entry['type']} is not supported; supported are {', '.join(supported)}"
        )
    path = PurePath(entry["path"])
    if path.is_absolute() or ".." in path.parts:
        raise CheckpointError(f"{where}: the path {entry['path']!r} leads out of the folder")
    # The older name of a Transformer with the head for masked words.
    return "Transformer" if kind == "MLMTransformer" else kind, folder.within(entry["path"])


def _read_pooling(folder: Folder) -> tuple[str, bool]:
    """The pooling as the file has it, and whether prompts are pooled as well."""
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    modes = config.get("pooling_mode")
    flags = [mode for flag, mode in POOLING_FLAGS.items() if config.get(flag)]
    if modes is None:
        modes = flags or ["mean"]
    elif isinstance(modes, str):
        modes = [modes]
    known = isinstance(modes, list) and modes and all(mode in tuple(POOLINGS) for mode in modes)
    if not known or len(set(modes)) < len(modes):
        raise UnsupportedError(
            f"{path}: pooling {modes!r:.200} is not supported; supported are {', '.join(POOLINGS)}, each once"
        )
    prompt = config.get("include_prompt", True)
    if type(prompt) is not bool:
        raise CheckpointError(f"{path}: include_prompt is {prompt!r:.80}, not true or false")
    if strange := config.not_asked("(word_)?embedding_dimension"):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    return "+".join(POOLINGS[mode] for mode in modes), prompt


def _read_layer_weights(folder: Folder, every_layer: bool, notes: list[str]) -> LayerWeights | None:
    """Where the weights of layers lie; None where the encoder is not told to keep the rows of all its layers."""
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    start = config.get("layer_start", 4)
    if type(start) is not int or start < 0:
        raise CheckpointError(f"{path}: layer_start is {start!r:.80}, not a layer's number")
    if strange := config.not_asked("(word_)?embedding_dimension|num_hidden_layers"):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    if every_layer:
        return LayerWeights(folder, start)
    notes.append("WeightedLayerPooling does nothing, as output_hidden_states is not set in config.json")
    return None


def _read_splade(folder: Folder) -> tuple[str, int]:
    """How weights at tokens become one, and how often their logarithm is taken."""
    path, config = folder / "config.json", folder.json_if_present("config.json")
    read = [config.get(key, known[0]) for key, known in SPLADE.items()]
    for value, (key, known) in zip(read, SPLADE.items(), strict=True):
        if value not in known:
            raise UnsupportedError(
                f"{path}: {key} is {value!r:.40}; only {' and '.join(map(repr, known))} are supported"
            )
    return read[0], 1 + SPLADE["activation_function"].index(read[1])


def read_dense(folder: Folder, name: str, rows: str, made: str, usual: str = "sentence_embedding") -> ChainModule:
    """A linear, from what its config says.

    Args:
        folder: of the module.
        name: of the layer of the head.
        rows: the feature that the module before it gave.
        made: the one that it must make.
        usual: the one that it takes and makes where its config does not say.

    Raises:
        CheckpointError: sizes are missing or make no sense.
        UnsupportedError: it takes or makes another feature, or its activation is not supported.
    """
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    sizes = config.get("in_features"), config.get("out_features")
    if any(type(size) is not int or size < 1 for size in sizes):
        raise CheckpointError(f"{path}: in_features and out_features must be whole numbers")
    refuse_other_features(path, config, rows, made, usual)
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, activation = function.rpartition(".")
    if not package.startswith("torch.nn") or activation not in ACTIVATIONS_OF_TORCH:
        raise UnsupportedError(
            f"{path}: activation_function {function} is not supported; supported are "
            f"{', '.join(ACTIVATIONS_OF_TORCH)} of torch.nn"
        )
    bias, residual = bool(config.get("bias", True)), bool(config.get("use_residual"))
    if strange := config.not_asked(""):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    linear = ACTIVATIONS_OF_TORCH[activation] == "none"
    if residual and not linear and sizes[0] != sizes[1]:
        raise UnsupportedError(
            f"{path}: a projection of what came in is added behind {activation} (use_residual); it is supported where "
            "as many numbers go out as come in, or without an activation"
        )
    layer = HeadLayer(name, ACTIVATIONS_OF_TORCH[activation], residual=residual and not linear)
    return ChainModule(layer, folder, sizes, bias, residual and linear)


def _read_layer_norm(folder: Folder, name: str, rows: str) -> ChainModule:
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    size = config.get("dimension")
    if type(size) is not int or size < 1:
        raise CheckpointError(f"{path}: dimension must be a whole number")
    if strange := config.not_asked(""):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    if rows != "sentence_embedding":
        raise UnsupportedError(f"{path}: LayerNorm before Pooling is not supported: there is no sentence_embedding yet")
    return ChainModule(HeadLayer(name, kind="norm", eps=NORM_EPS), folder, (size, size))


def refuse_other_features(
    path: PurePath, config: JsonObject, rows: str, made: str, usual: str = "sentence_embedding"
) -> None:
    """Checks that a module takes what the one before it gave, and what it makes: as of `read_dense`."""
    taken = config.get("module_input_name") or usual
    given = config.get("module_output_name") or taken
    for key, value, due in (("module_input_name", taken, rows), ("module_output_name", given, made)):
        if value != due:
            raise UnsupportedError(f"{path}: {key} is {value!r:.80}; where it stands only {due!r} is supported")


def read_prompts(path: PurePath, config: Mapping[str, Any]) -> tuple[dict[str, str], str | None, str]:
    """Prompts by name, the name of the one that is put before texts where nobody chooses, and the similarity."""
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise CheckpointError(f"{path}: prompts must be an object of strings")
    default = config.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise CheckpointError(f"{path}: default_prompt_name is {default!r}, which is none of its prompts")
    similarity = config.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise UnsupportedError(f"{path}: similarity_fn_name {similarity!r} is none of {', '.join(SIMILARITIES)}")
    return prompts, default, similarity
