"""What sentence-transformers puts around an encoder (Reimers and Gurevych 2019, arXiv 1908.10084): modules.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import MAX_HEAD_LAYERS, Activation, Pooling, TaskKind
from minibert_converter.checkpoints.config_file import ACTIVATIONS_OF_TORCH
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.sides import Sides

MODULES_FILE = "modules.json"
#: As many linears as a head may have, and what may stand around them.
MAX_MODULES = MAX_HEAD_LAYERS + 8

POOLINGS: Mapping[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
#: Flags of older folders -> the names of newer ones.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
#: Where the limit on a text's length and lowercasing stand, in the order in which they are looked for.
SETTINGS_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: What those files may say besides, which changes no vector, and their groups of arguments for other libraries.
SETTINGS_HARMLESS = (
    "modality_config|module_output_name|unpad_inputs|transformer_task|backend|processing_kwargs|method_.*"
)
ARGUMENTS = ("model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs")
ARGUMENTS_HARMLESS = (
    "trust_remote_code|attn_implementation|torch_dtype|dtype|device_map|use_fast|padding_side|token|revision"
    "|cache_dir|local_files_only|low_cpu_mem_usage|use_safetensors|add_pooling_layer"
)
#: Keys of a SpladePooling, and what they may be; the second logarithm is that of its second activation.
SPLADE = {"pooling_strategy": ("max", "sum"), "activation_function": ("relu", "log1p_relu")}
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
SUPPORTED_MODULES = (
    "Transformer",
    "MLMTransformer",
    "StaticEmbedding",
    "Pooling",
    "SpladePooling",
    "Dense",
    "Normalize",
    "Dropout",
)
#: What a folder may be, as its config_sentence_transformers.json says, and how it is made of modules.
LAYOUTS = {
    "SentenceTransformer": "Transformer and Pooling, or StaticEmbedding; any number of Dense; at most one Normalize",
    "SparseEncoder": "Transformer and SpladePooling",
    "CrossEncoder": "Transformer alone",
}
#: The task of each; a CrossEncoder's is what its `architectures` say.
TASKS: Mapping[str, TaskKind | None] = {
    "SentenceTransformer": "sentence-embedding",
    "SparseEncoder": "fill-mask",
    "CrossEncoder": None,
    "ColBERT": "multi-vector",
    "MultiVectorEncoder": "multi-vector",
    "HF_ColBERT": "multi-vector",
}


@dataclass(frozen=True)
class DenseModule:
    """A projection of the sentence vector; its weights lie in `folder` as linear.weight and linear.bias."""

    folder: Folder
    in_features: int
    out_features: int
    bias: bool
    activation: Activation
    #: Whether what came in is added, by residual.weight where it has another width.
    residual: bool = False


@dataclass(frozen=True)
class SentenceModules:
    """A sentence-transformers folder, without its weights; `static`: its encoder is a table of tokens' vectors."""

    transformer_folder: Folder
    static: bool = False
    model_type: str = "SentenceTransformer"
    pooling: Pooling = "mean"
    dense: tuple[DenseModule, ...] = ()
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"
    score_function: str | None = None
    sides: Sides | None = None
    #: How weights of a word at tokens become one, and how often their logarithm is taken.
    sparse: tuple[str, int] | None = None

    @property
    def task(self) -> TaskKind | None:
        """What the folder is for; None where the encoder's own config says it."""
        return TASKS[self.model_type]


def read_sentence_modules(folder: Folder) -> SentenceModules | None:
    """Reads modules.json and the config of each module; None where this is no sentence-transformers folder.

    Raises:
        CheckpointError: a file is missing or broken, or the modules do not follow one another.
        UnsupportedError: a module, a pooling or an activation is none of those that minibert computes.
    """
    if not folder.has(MODULES_FILE):
        return None
    modules = read_modules(folder)
    modules = [(kind, path) for kind, path in modules if kind != "Dropout"]  # does nothing outside training
    config_path = folder / "config_sentence_transformers.json"
    config = folder.json_if_present(config_path.name)
    model_type = config.get("model_type", "SentenceTransformer")
    if model_type not in tuple(LAYOUTS):
        raise UnsupportedError(f"{config_path}: model_type {model_type} is not supported; {', '.join(LAYOUTS)} are")
    kinds = [kind for kind, _ in modules]
    if kinds != _expected(model_type, kinds):
        raise UnsupportedError(
            f"{folder / MODULES_FILE}: the modules are {', '.join(kinds)}; a {model_type} may be "
            f"{LAYOUTS[model_type]}, in this order"
        )
    paths = dict(modules)
    if "Normalize" in kinds:
        _refuse_other_values(paths["Normalize"] / "config.json", paths["Normalize"].json_if_present("config.json"))
    static = "StaticEmbedding" in paths
    max_length, lowercase = (None, False) if static else read_settings(paths["Transformer"])
    prompts, default_prompt, similarity = read_prompts(config_path, config)
    if default_prompt is not None and prompts[default_prompt] and model_type != "SentenceTransformer":
        raise UnsupportedError(f"{config_path}: a {model_type} that puts a prompt before each text is not supported")
    return SentenceModules(
        transformer_folder=paths["StaticEmbedding" if static else "Transformer"],
        static=static,
        model_type=model_type,
        pooling=_read_pooling(paths["Pooling"]) if "Pooling" in paths else "mean",
        dense=tuple(_read_dense(path) for kind, path in modules if kind == "Dense"),
        normalize="Normalize" in kinds,
        max_length=max_length,
        lowercase=lowercase,
        prompts=prompts,
        default_prompt=default_prompt,
        similarity=similarity,
        score_function=config.get("activation_fn"),
        sparse=_read_splade(paths["SpladePooling"]) if model_type == "SparseEncoder" else None,
    )


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
    entries = folder.json(MODULES_FILE, list)
    if len(entries) > MAX_MODULES:
        raise UnsupportedError(f"{folder / MODULES_FILE}: {len(entries)} modules; the limit is {MAX_MODULES}")
    return [_module(folder, entry, supported, ("sentence_transformers", *packages)) for entry in entries]


def _expected(model_type: str, kinds: list[str]) -> list[str]:
    """The modules that a folder must have, given how often those come that are free to."""
    if model_type == "CrossEncoder":
        return ["Transformer"]
    if model_type == "SparseEncoder":
        return ["Transformer", "SpladePooling"]
    first = ["StaticEmbedding"] if kinds[:1] == ["StaticEmbedding"] else ["Transformer", "Pooling"]
    return [*first, *["Dense"] * kinds.count("Dense"), *["Normalize"] * ("Normalize" in kinds)]


def read_settings(folder: Folder, besides: str = "") -> tuple[int | None, bool]:
    """The longest text in tokens, or None where nothing is said, and whether texts are lowered first.

    `besides` are keys that somebody else reads, as a regular expression.
    """
    read = ((name, folder.json_if_present(name)) for name in SETTINGS_FILES)
    name, values = next(((name, values) for name, values in read if values), ("", {}))
    path, settings = folder / name, JsonObject(values)
    length, lowercase = settings.get("max_seq_length"), settings.get("do_lower_case")
    for group in ARGUMENTS:
        arguments = settings.get(group) or {}
        if not isinstance(arguments, dict):
            raise CheckpointError(f"{path}: {group} is {arguments!r:.80}, not an object")
        arguments = JsonObject(arguments)
        length = arguments.get("model_max_length", length)
        if strange := arguments.not_asked(ARGUMENTS_HARMLESS):
            raise UnsupportedError(f"{path}: {group} sets {', '.join(strange)}, which is not understood here")
    if strange := settings.not_asked(f"{SETTINGS_HARMLESS}|{besides}"):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    if length is not None and (type(length) is not int or length < 1):
        raise CheckpointError(f"{path}: max_seq_length is {length!r}")
    return length, bool(lowercase)


def _module(folder: Folder, entry: Any, supported: Sequence[str], packages: Sequence[str]) -> tuple[str, Folder]:
    """The module's class name and folder."""
    where = folder / MODULES_FILE
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str) or not isinstance(entry.get("path"), str):
        raise CheckpointError(f"{where}: a module has no type and path")
    package, _, kind = entry["type"].rpartition(".")
    if package.split(".")[0] not in packages or kind not in supported:
        raise UnsupportedError(
            f"{where}: module {entry['type']} is not supported; supported are {', '.join(supported)}"
        )
    path = PurePath(entry["path"])
    if path.is_absolute() or ".." in path.parts:
        raise CheckpointError(f"{where}: the path {entry['path']!r} leads out of the folder")
    # The older name of a Transformer with the head for masked words.
    return "Transformer" if kind == "MLMTransformer" else kind, folder.within(entry["path"])


def _read_pooling(folder: Folder) -> Pooling:
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    modes = config.get("pooling_mode")
    flags = [mode for flag, mode in POOLING_FLAGS.items() if config.get(flag)]
    if modes is None:
        modes = flags or ["mean"]
    elif isinstance(modes, str):
        modes = [modes]
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in tuple(POOLINGS):
        raise UnsupportedError(f"{path}: pooling {modes!r} is not supported; supported is one of {', '.join(POOLINGS)}")
    if config.get("include_prompt", True) is not True:
        raise UnsupportedError(f"{path}: pooling that leaves the prompt out (include_prompt false) is not supported")
    if strange := config.not_asked("(word_)?embedding_dimension"):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    return POOLINGS[modes[0]]


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


def _read_dense(folder: Folder) -> DenseModule:
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    sizes = config.get("in_features"), config.get("out_features")
    if any(type(size) is not int or size < 1 for size in sizes):
        raise CheckpointError(f"{path}: in_features and out_features must be whole numbers")
    _refuse_other_values(path, config)
    if config.get("use_residual"):
        raise UnsupportedError(f"{path}: a projection with a residual connection (use_residual) is not supported")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, activation = name.rpartition(".")
    if not package.startswith("torch.nn") or activation not in ACTIVATIONS_OF_TORCH:
        raise UnsupportedError(
            f"{path}: activation_function {name} is not supported; supported are "
            f"{', '.join(ACTIVATIONS_OF_TORCH)} of torch.nn"
        )
    bias = bool(config.get("bias", True))
    if strange := config.not_asked(""):
        raise UnsupportedError(f"{path}: sets {', '.join(strange)}, which is not understood here")
    return DenseModule(folder, *sizes, bias, ACTIVATIONS_OF_TORCH[activation])


def _refuse_other_values(path: PurePath, config: Mapping[str, Any]) -> None:
    """Checks that a module takes the sentence vector and gives the sentence vector."""
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise UnsupportedError(f"{path}: {key} is {config[key]!r}; only sentence_embedding is supported")


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
