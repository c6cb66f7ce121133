"""Static models: a vector for each token, and a text's vector is the mean of its tokens'.

Two libraries write the same folders and read them differently. sentence-transformers (`StaticEmbedding`) takes the mean
over all tokens; model2vec leaves unknown ones out, and looks at so many characters of a text only as its longest text
would have with tokens of middling length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from minibert.errors import CheckpointError, FormatError
from minibert.format.constants import MAX_HIDDEN_SIZE, MAX_POSITIONS, MAX_VOCAB_SIZE, padded
from minibert.format.schema import Architecture, TextConfig
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES
from minibert.text.components import prove_tokenizer
from minibert_converter.checkpoints.chain import read_behind
from minibert_converter.checkpoints.described import layers_behind, task_behind
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.opening import FROM_SETFIT, static_kind
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.sentence_transformers import SentenceModules
from minibert_converter.checkpoints.stored import StoredTensor
from minibert_converter.checkpoints.tokenizer.vocabularies import unknown_id
from minibert_converter.checkpoints.weights import read_weights
from minibert_converter.matrices import widened
from minibert_converter.network import AnyTable, Network, Origin, QuantizedTable

#: The table's name in folders of sentence-transformers and of model2vec; what the latter may have besides: for each
#: token a factor, and the number of its row, where tokens share rows.
TABLE, TABLE_OF_MODEL2VEC, WEIGHTS, MAPPING = "embedding.weight", "embeddings", "weights", "mapping"
#: model2vec's own limit where config.json says none.
USUAL_LENGTH = 512
#: Keys of config.json that tell how a model was made.
HARMLESS_KEYS = (
    "model_type|architectures|tokenizer_name|apply_pca|apply_zipf|sif_coefficient|hidden_dim|seq_length|pooling"
    "|embedding_dtype|vocabulary_quantization|head_config|transformers_version"
)


@dataclass(frozen=True)
class Static:
    """A static model: its table, whose last row is that of a text without tokens, and how texts become rows of it."""

    table: AnyTable
    hidden_size: int
    tokenizer_json: str
    text: TextConfig
    normalize: bool
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...]
    notes: tuple[str, ...]


def is_static(folder: Folder) -> bool:
    """Whether a folder without modules.json is one of model2vec."""
    if not folder.has("config.json"):
        return False
    config = folder.json("config.json")
    return config.get("model_type") == "model2vec" or config.get("architectures") == ["StaticModel"]


def read_static(folder: Folder, normalize: bool | None, *, behind: bool) -> Static:
    """Reads the table, the tokenizer and, of model2vec, config.json.

    Args:
        folder: holds model.safetensors and tokenizer.json.
        normalize: whether modules.json has vectors normalized; None where there is none.
        behind: whether something stands behind the vectors, which only sentence-transformers would put there.

    Raises:
        CheckpointError: a file or tensor is missing or broken, or two files contradict one another.
    """
    stored = read_weights(folder)
    tensors = NamedTensors(folder.path, stored)
    own = TABLE_OF_MODEL2VEC in stored
    table, last, hidden_size = _read_table(tensors, stored, TABLE_OF_MODEL2VEC if own else TABLE)
    tensors.refuse_strangers()
    value, tokenizer = _read_tokenizer(folder, last)
    truncation = value.pop("truncation") or {}
    if own and folder.has("config.json") and not behind:
        said, length, notes = _read_config(folder, normalize)
        median = int(np.median([len(token) for token in tokenizer.get_vocab()]))
        unknown = unknown_id(value["model"], tokenizer)
        text = TextConfig(min(length or MAX_POSITIONS, MAX_POSITIONS), median, -1 if unknown is None else unknown, last)
        notes.append("texts are read as model2vec reads them: tokens that the vocabulary doesn't have don't count")
    else:
        length = truncation.get("max_length", MAX_POSITIONS)
        text = TextConfig(min(length, MAX_POSITIONS), empty_id=last)
        said, notes = bool(normalize), []
        if str(truncation.get("direction", "right")).lower() == "left":
            tokenizer.enable_truncation(text.max_length, direction="left")
    return Static(
        table=table,
        hidden_size=hidden_size,
        tokenizer_json=tokenizer.to_str(),
        text=text,
        normalize=said,
        parameters=sum(tensor.parameters for tensor in stored.values()),
        nbytes=sum(tensor.nbytes for tensor in stored.values()),
        dtypes=tuple(sorted({tensor.dtype for tensor in stored.values()})),
        notes=tuple(notes),
    )


def _read_table(tensors: NamedTensors, stored: dict[str, StoredTensor], name: str) -> tuple[AnyTable, int, int]:
    """The row of each token, a row of zeros behind them, columns padded; the tokens, and the columns that count.

    Codes of int8 stay what they are: model2vec gives them no scale, but perhaps each token a factor.
    """
    tensors.refuse_missing([name])
    shape = stored[name].shape
    if len(shape) != 2 or not (0 < shape[0] < MAX_VOCAB_SIZE and 0 < shape[1] <= MAX_HIDDEN_SIZE):
        raise CheckpointError(f"{stored[name].file}: tensor {name!r} has shape {list(shape)}, not that of a table")
    codes = stored[name].dtype == "I8"
    table: Any = tensors.integers(name, shape).astype(np.int8) if codes else tensors.read(name, shape)
    if MAPPING in tensors:
        tokens = tensors.rows(MAPPING)
        mapping = tensors.integers(MAPPING, (tokens,))
        if not (0 < tokens < MAX_VOCAB_SIZE and mapping.min() >= 0 and mapping.max() < len(table)):
            raise CheckpointError(f"{stored[MAPPING].file}: tensor {MAPPING!r} leads to rows that are not there")
        table = table[mapping]
    factors = tensors.read(WEIGHTS, (len(table),)) if WEIGHTS in tensors else None
    table = np.pad(widened(table, padded(shape[1])), [(0, 1), (0, 0)])
    if codes and table.min() > -128:
        ones = np.ones(len(table) - 1, np.float32)
        scale = np.append(ones if factors is None else factors, np.float32(0))
        return QuantizedTable(table, scale), len(table) - 1, shape[1]
    table = table.astype(np.float32)
    if factors is not None:
        table[:-1] *= factors[:, None]
    return table, len(table) - 1, shape[1]


def _read_tokenizer(folder: Folder, tokens: int) -> tuple[dict[str, Any], Tokenizer]:
    """tokenizer.json, and the tokenizer without what it would put around a text."""
    path = folder / "tokenizer.json"
    if not folder.has("tokenizer.json"):
        raise CheckpointError(f"{folder}: no tokenizer.json")
    text = folder.text("tokenizer.json", MAX_TOKENIZER_BYTES)
    with refusing(path):
        try:
            prove_tokenizer(text)
        except FormatError as error:
            raise CheckpointError(f"{path}: {error}") from error
        value = json.loads(text)
        tokenizer = Tokenizer.from_str(
            json.dumps(value | {"post_processor": None, "padding": None, "truncation": None})
        )
        last = max(tokenizer.get_vocab().values(), default=tokens)
        if last >= tokens:
            raise CheckpointError(f"{path}: gives a token the id {last}, but the table has only {tokens} rows")
    return value, tokenizer


def _read_config(folder: Folder, normalize: bool | None) -> tuple[bool, int | None, list[str]]:
    """Whether vectors are normalized, and the longest text in tokens or None for none, as model2vec has them."""
    path, config = folder / "config.json", JsonObject(folder.json("config.json"))
    said, length = config.get("normalize", False), config.get("max_length", USUAL_LENGTH)
    if type(said) is not bool or (length is not None and (type(length) is not int or length < 1)):
        raise CheckpointError(
            f"{path}: normalize is {said!r:.40} and max_length {length!r:.40}: not a flag and a length"
        )
    if normalize is not None and said != normalize:
        raise CheckpointError(
            f"{path}: normalize is {said}, but modules.json {'has' if normalize else 'lacks'} a module Normalize: "
            "model2vec goes by the one, sentence-transformers by the other"
        )
    unknown = config.not_asked(HARMLESS_KEYS)
    return said, length, [f"config.json: not known here, and not read: {', '.join(unknown)}"] if unknown else []


def read_static_model(
    whole: Folder, modules: SentenceModules | None, task: str | None, route: str | None, base: str | Path | None
) -> Network:
    """A static model, whose encoder is a table of tokens' vectors, and what stands behind it."""
    setfit, kind = static_kind(whole, modules, task, base)
    behind = setfit is not None or bool(modules and modules.chain)
    home = modules.transformer_folder if modules else whole
    static = read_static(home, modules.normalize if modules else None, behind=behind)
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
            head=tuple(layers_behind(modules, setfit)),
            normalize=static.normalize and not setfit,
            position_table=False,
        ),
        task=task_behind(kind, modules, setfit),
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
    read_behind(network, static.hidden_size, modules, setfit)
    network.notes.extend(whole.account())
    return network
