"""The modules of sentence-transformers' folders, each by its own config: see sentence_transformers.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import MAX_HEAD_LAYERS, Pooling
from minibert.format.schema import HeadLayer
from minibert_converter.checkpoints.config_file import ACTIVATIONS_OF_TORCH
from minibert_converter.checkpoints.folder import Folder, JsonObject

#: Keys of a SpladePooling, and what they may be; the second logarithm is that of its second activation.
SPLADE = {"pooling_strategy": ("max", "sum"), "activation_function": ("relu", "log1p_relu")}
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
#: The modules that become layers of the head, and those that only choose others.
CHAIN_MODULES = ("Dense", "LayerNorm", "Normalize")
ROUTERS = ("Router", "Asym")
SUPPORTED_MODULES = (
    *("Transformer", "MLMTransformer", "StaticEmbedding", "WeightedLayerPooling", "Pooling", "SpladePooling"),
    *(*CHAIN_MODULES, "Dropout", *ROUTERS),
)


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


def routed(kind: str, folder: Folder, route: str | None, notes: list[str]) -> list[tuple[str, Folder]]:
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


def _entries(entries: list[Any], where: PurePath) -> list[Any]:
    if len(entries) > MAX_MODULES:
        raise UnsupportedError(f"{where}: {len(entries)} modules; the limit is {MAX_MODULES}")
    return entries


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


def read_pooling(folder: Folder) -> tuple[str, bool]:
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
    config.refuse_unknown(path, "(word_)?embedding_dimension")
    return "+".join(POOLINGS[mode] for mode in modes), prompt


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
    config.refuse_unknown(path)
    linear = ACTIVATIONS_OF_TORCH[activation] == "none"
    if residual and not linear and sizes[0] != sizes[1]:
        raise UnsupportedError(
            f"{path}: a projection of what came in is added behind {activation} (use_residual); it is supported where "
            "as many numbers go out as come in, or without an activation"
        )
    layer = HeadLayer(name, ACTIVATIONS_OF_TORCH[activation], residual=residual and not linear)
    return ChainModule(layer, folder, sizes, bias, residual and linear)


def check_normalize(folder: Folder, rows: str, usual: str = "sentence_embedding") -> None:
    """Checks that a Normalize works on the rows called `rows`; `usual` is what it works on where it does not say."""
    path, config = folder / "config.json", JsonObject(folder.json_if_present("config.json"))
    refuse_other_features(path, config, rows, rows, usual)
    config.refuse_unknown(path)


def read_layer_norm(folder: Folder, name: str, rows: str) -> ChainModule:
    """A LayerNorm, which works on the rows called `rows`."""
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    size = config.get("dimension")
    if type(size) is not int or size < 1:
        raise CheckpointError(f"{path}: dimension must be a whole number")
    config.refuse_unknown(path)
    if rows != "sentence_embedding":
        raise UnsupportedError(f"{path}: LayerNorm before Pooling is not supported: there is no sentence_embedding yet")
    return ChainModule(HeadLayer(name, kind="norm", eps=NORM_EPS), folder, (size, size))


def read_layer_pooling(folder: Folder, every_layer: bool, notes: list[str]) -> LayerWeights | None:
    """Where the weights of layers lie; None where the encoder is not told to keep the rows of all its layers."""
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    start = config.get("layer_start", 4)
    if type(start) is not int or start < 0:
        raise CheckpointError(f"{path}: layer_start is {start!r:.80}, not a layer's number")
    config.refuse_unknown(path, "(word_)?embedding_dimension|num_hidden_layers")
    if every_layer:
        return LayerWeights(folder, start)
    notes.append("WeightedLayerPooling does nothing, as output_hidden_states is not set in config.json")
    return None


def read_splade(folder: Folder) -> tuple[str, int]:
    """How weights at tokens become one, and how often their logarithm is taken."""
    path, config = folder / "config.json", JsonObject(folder.json_if_present("config.json"))
    read = [config.get(key, known[0]) for key, known in SPLADE.items()]
    for value, (key, known) in zip(read, SPLADE.items(), strict=True):
        if value not in known:
            raise UnsupportedError(
                f"{path}: {key} is {value!r:.40}; only {' and '.join(map(repr, known))} are supported"
            )
    config.refuse_unknown(path, "(word_)?embedding_dimension|chunk_size")
    return read[0], 1 + SPLADE["activation_function"].index(read[1])


def refuse_other_features(
    path: PurePath, config: JsonObject, rows: str, made: str, usual: str = "sentence_embedding"
) -> None:
    """Checks that a module takes what the one before it gave, and what it makes: as of `read_dense`."""
    taken = config.get("module_input_name") or usual
    given = config.get("module_output_name") or taken
    for key, value, due in (("module_input_name", taken, rows), ("module_output_name", given, made)):
        if value != due:
            raise UnsupportedError(f"{path}: {key} is {value!r:.80}; where it stands only {due!r} is supported")
