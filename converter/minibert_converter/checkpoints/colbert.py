"""Models of one vector a token (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832), as three libraries save them.

PyLate (a `Dense` of its own behind the Transformer, all else in config_sentence_transformers.json), its successor in
sentence-transformers (`MultiVectorEncoder`: modules for all of it), and Stanford's ColBERT (one file of weights with
`linear.weight`, and artifact.metadata).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import TOKEN_SIMILARITIES
from minibert.format.schema import HeadLayer
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.sentence_modules import (
    MODULES_FILE,
    ChainModule,
    check_normalize,
    read_dense,
    read_modules,
)
from minibert_converter.checkpoints.sentence_settings import SETTINGS_FILES, read_prompts, read_settings
from minibert_converter.checkpoints.sentence_transformers import SentenceModules
from minibert_converter.checkpoints.sides import NamedSide, Sides

CONFIG_FILE, METADATA_FILE = "config_sentence_transformers.json", "artifact.metadata"
#: The class in config.json of Stanford's, and what it calls its projection in the encoder's own file.
STANFORD, STANFORD_LINEAR = "HF_ColBERT", "linear"
#: What all modules take and make: PyLate's say nothing of it.
ROWS = "token_embeddings"
#: What the libraries take where a folder says nothing.
QUERY_LENGTH, DOCUMENT_LENGTH = 32, 180
PUNCTUATION = tuple(string.punctuation)
LAYOUT = "Transformer, any number of Dense, at most one MultiVectorMask and one Normalize"
#: Keys of sentence_bert_config.json that a MultiVectorEncoder has besides.
SIDE_SETTINGS = ("query_length", "document_length", "query_expansion")


def read_colbert(folder: Folder) -> SentenceModules | None:
    """What a folder of a model of one vector a token says; None where it is none.

    Raises:
        CheckpointError: a file is missing or broken.
        UnsupportedError: a module or a setting is none of those that minibert computes.
    """
    if not folder.has(MODULES_FILE):
        config = folder.json_if_present("config.json")
        return _stanford(folder) if STANFORD in (config.get("architectures") or []) else None
    config = JsonObject(folder.json_if_present(CONFIG_FILE))
    modules = folder.json(MODULES_FILE, list)
    by_pylate = any(isinstance(one, dict) and str(one.get("type")).startswith("pylate.") for one in modules)
    if not by_pylate and config.get("model_type") not in ("ColBERT", "MultiVectorEncoder"):
        return None
    return _of_modules(folder, config)


def _of_modules(folder: Folder, config: JsonObject) -> SentenceModules:
    """PyLate's folders, and those of sentence-transformers."""
    where = folder / CONFIG_FILE
    native = config.get("model_type") == "MultiVectorEncoder"
    modules = read_modules(folder, ("Transformer", "Dense", "MultiVectorMask", "Normalize"), ("pylate",))
    kinds = [kind for kind, _ in modules]
    dense = [*enumerate(path for kind, path in modules if kind == "Dense")]
    optional = ["MultiVectorMask"] * ("MultiVectorMask" in kinds), ["Normalize"] * ("Normalize" in kinds)
    if kinds != ["Transformer", *["Dense"] * len(dense), *optional[0], *optional[1]]:
        raise UnsupportedError(
            f"{folder / MODULES_FILE}: the modules are {', '.join(kinds)}; a model of one vector a token may be "
            f"{LAYOUT}, in this order"
        )
    paths = dict(modules)
    if "Normalize" in paths:
        check_normalize(paths["Normalize"], ROWS, ROWS)
    settings, max_length, lowercase = _settings(paths["Transformer"])
    mask = paths.get("MultiVectorMask")
    sides = _native_sides(folder, settings, mask) if native else _pylate_sides(folder, config)
    similarity = config.get("similarity_fn_name")
    if native and similarity not in (None, *TOKEN_SIMILARITIES):
        raise UnsupportedError(f"{where}: similarity_fn_name {similarity!r} is none of {', '.join(TOKEN_SIMILARITIES)}")
    prompts, default, _ = read_prompts(where, {**config, "similarity_fn_name": None})
    return SentenceModules(
        transformer_folder=paths["Transformer"],
        model_type="MultiVectorEncoder" if native else "ColBERT",
        pooling="none",
        chain=tuple(read_dense(path, f"head.projection.{number}", ROWS, ROWS, ROWS) for number, path in dense),
        normalize="Normalize" in kinds or not native,
        max_length=max_length,
        lowercase=lowercase,
        prompts=prompts,
        default_prompt=default,
        similarity=similarity if similarity in TOKEN_SIMILARITIES else "maxsim",
        sides=sides,
    )


def _settings(folder: Folder) -> tuple[Mapping[str, Any], int | None, bool]:
    """What sentence_bert_config.json says of queries and documents, the longest text, and whether texts are lowered."""
    length, lowercase, _ = read_settings(folder, besides="|".join(SIDE_SETTINGS))
    read = (folder.json_if_present(name) for name in SETTINGS_FILES)
    settings = next((values for values in read if values), {})
    return {key: settings.get(key) for key in SIDE_SETTINGS}, length, lowercase


def _pylate_sides(folder: Folder, config: JsonObject) -> Sides:
    """Of the keys that PyLate writes; what is not there is as PyLate has it."""
    where = str(folder / CONFIG_FILE)
    ask = _Asked(where, config)
    length = ask.length("query_length", QUERY_LENGTH) or 0
    expands = ask.flag("do_query_expansion", True)
    query = NamedSide(
        max_length=length,
        prefix=ask.text("query_prefix", "[Q] ") or None,
        fill_to=length if expands else 0,
        attend_to_fill=ask.flag("attend_to_expansion_tokens", False) and expands,
    )
    document = NamedSide(
        max_length=ask.length("document_length", DOCUMENT_LENGTH),
        prefix=ask.text("document_prefix", "[D] ") or None,
        skip=ask.words("skiplist_words", PUNCTUATION),
    )
    return Sides(where, query, document)


def _native_sides(folder: Folder, settings: Mapping[str, Any], mask: Folder | None) -> Sides:
    """Of the modules of sentence-transformers: lengths and expansion at the Transformer, the rest at the mask."""
    ask = _Asked(str(folder / "sentence_bert_config.json"), JsonObject(dict(settings)))
    expansion = settings.get("query_expansion")
    query = NamedSide(max_length=ask.length("query_length", None))
    if expansion is not None:
        query = _expanded(ask.where, query, expansion)
        if mask is None and not query.attend_to_fill:
            raise UnsupportedError(
                f"{ask.where}: query_expansion that is not attended to, and no MultiVectorMask: its tokens would have "
                "no vectors"
            )
    document = NamedSide(max_length=ask.length("document_length", None))
    if mask is not None:
        own = _Asked(str(mask / "config.json"), JsonObject(mask.json_if_present("config.json")))
        words, tasks = own.words("skiplist_words", ()), own.words("skiplist_tasks", ("document",))
        if own.values.get("keep_only_token_ids"):
            raise UnsupportedError(f"{own.where}: vectors of some tokens only (keep_only_token_ids) are not supported")
        own.values.refuse_unknown(own.where)
        query = replace(query, skip=words if "query" in tasks else ())
        document = replace(document, skip=words if "document" in tasks else ())
    return Sides(ask.where, query, document, unknown_counts=False)


def _expanded(where: str, query: NamedSide, expansion: Any) -> NamedSide:
    """How queries are read that are filled up as `query_expansion` says."""
    if not isinstance(expansion, dict) or expansion.get("strategy") not in ("fixed", "min"):
        raise UnsupportedError(f"{where}: query_expansion is {expansion!r:.80}; its strategy is fixed or min")
    ask = _Asked(where, JsonObject(expansion))
    length, token, fixed = ask.length("length", None), ask.text("token", ""), ask.text("strategy", "") == "fixed"
    if length is None or (query.max_length or length) < length:
        raise CheckpointError(f"{where}: query_expansion needs a length, up to query_length: {expansion!r:.80}")
    attends = ask.flag("attend", False)
    ask.values.refuse_unknown(f"{where}: query_expansion")
    return replace(
        query,
        max_length=length if fixed else query.max_length,
        fill_to=length,
        fill_token=token or None,
        attend_to_fill=attends,
    )


def _stanford(folder: Folder) -> SentenceModules:
    """A checkpoint of Stanford's ColBERT."""
    values = JsonObject(folder.json_if_present(METADATA_FILE))
    ask = _Asked(str(folder / METADATA_FILE), values)
    if values.get("similarity", "cosine") != "cosine":
        raise UnsupportedError(f"{ask.where}: similarity is {values['similarity']!r:.40}; only 'cosine' is supported")
    length = ask.length("query_maxlen", QUERY_LENGTH)
    query = NamedSide(
        max_length=length,
        prefix=ask.text("query_token_id", "[unused0]"),
        fill_to=length or 0,
        attend_to_fill=ask.flag("attend_to_mask_tokens", False),
    )
    document = NamedSide(
        max_length=ask.length("doc_maxlen", DOCUMENT_LENGTH),
        prefix=ask.text("doc_token_id", "[unused1]"),
        skip=PUNCTUATION if ask.flag("mask_punctuation", True) else (),
    )
    projection = ChainModule(HeadLayer("head.projection.0"), folder, source=STANFORD_LINEAR)
    return SentenceModules(
        transformer_folder=folder,
        model_type=STANFORD,
        pooling="none",
        chain=(projection,),
        normalize=True,
        similarity="maxsim",
        sides=Sides(ask.where, query, document),
    )


class _Asked:
    """Keys of a file, each of its type; what is null is as what is not there."""

    def __init__(self, where: str, values: JsonObject) -> None:
        self.where = where
        self.values = values

    def _value(self, key: str, default: Any, right: Callable[[Any], bool], expected: str) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not right(value):
            raise CheckpointError(f"{self.where}: {key} is {value!r:.80}, not {expected}")
        return value

    def length(self, key: str, default: int | None) -> int | None:
        return self._value(key, default, lambda value: type(value) is int and value > 0, "a number of tokens")

    def flag(self, key: str, default: bool) -> bool:
        return self._value(key, default, lambda value: type(value) is bool, "true or false")

    def text(self, key: str, default: str) -> str:
        return self._value(key, default, lambda value: isinstance(value, str), "a string")

    def words(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        right = lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value)  # noqa: E731
        return tuple(self._value(key, default, right, "an array of strings"))
