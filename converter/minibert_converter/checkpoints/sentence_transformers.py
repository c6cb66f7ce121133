"""What sentence-transformers puts around an encoder (Reimers and Gurevych 2019, arXiv 1908.10084): modules.json.

Its modules hand a text's features on, one after another: the encoder makes a row for each token, Pooling makes one of
them, and what stands before and behind it changes these rows. That is the chain which a minibert file has behind its
encoder: each module becomes a layer of the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minibert.errors import UnsupportedError
from minibert.format.constants import MAX_HEAD_LAYERS, TaskKind
from minibert.format.schema import HeadLayer
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.sentence_modules import (
    CHAIN_MODULES,
    MODULES_FILE,
    ROUTERS,
    ChainModule,
    LayerWeights,
    check_normalize,
    read_dense,
    read_layer_norm,
    read_layer_pooling,
    read_modules,
    read_pooling,
    read_splade,
    routed,
)
from minibert_converter.checkpoints.sentence_settings import OUTPUTS, read_prompts, read_settings
from minibert_converter.checkpoints.sides import Sides

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
    def library(self) -> str:
        """Who writes such folders."""
        return {"ColBERT": "PyLate", "HF_ColBERT": "Stanford"}.get(self.model_type, "sentence-transformers")

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
    modules = [each for module in modules for each in routed(*module, route, notes)]
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
        sparse=read_splade(modules[1][1]) if model_type == "SparseEncoder" else None,
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
            behind["layer_weights"] = read_layer_pooling(folder, every_layer, notes)
        elif kind == "Pooling":
            behind["pooling"], behind["pool_prompt"] = read_pooling(folder)
            behind["pool_after"] = len(chain)
        elif kind == "Dense":
            chain.append(read_dense(folder, f"head.projection.{numbers['linear']}", rows, made))
        elif kind == "LayerNorm":
            chain.append(read_layer_norm(folder, f"head.layer_norm.{numbers['norm']}", rows))
        else:
            check_normalize(folder, rows)
            layer = HeadLayer(f"head.normalize.{numbers['normalize']}", kind="normalize")
            chain.append(ChainModule(layer, folder))
    if len(chain) > behind["pool_after"] and chain[-1].layer.kind == "normalize":
        behind["normalize"] = bool(chain.pop())
    if scores and (last := chain[-1].sizes):
        behind["scores"] = last[1]
    if len(chain) > MAX_HEAD_LAYERS:
        raise UnsupportedError(f"{modules[-1][1]}: behind {len(chain)} other modules; the limit is {MAX_HEAD_LAYERS}")
    return behind | {"chain": tuple(chain)}
