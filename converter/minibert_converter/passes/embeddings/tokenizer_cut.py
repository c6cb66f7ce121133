"""A tokenizer with fewer tokens: what must stay beside the tokens wanted, and its JSON rewritten.

Of every kind of tokenizer this holds: a text whose tokens all stay is cut into the very same tokens.

* WordPiece takes the longest token at each place. Where that one stays, no longer one can have come up.
* BPE joins the pair of the lowest rank, again and again. All tokens on the way to one that stays, stay as well, and so
  do the merges between tokens that stay: what was the lowest rank is so still.
* Unigram takes the most likely path. Where that one stays, none of the paths left is likelier; the least likely piece
  stays too, because the price of an unknown character is counted from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any

from minibert.errors import UnsupportedError

#: A byte as a token, of tokenizers that fall back to bytes.
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
#: Kinds for which a character may be unknown. BPE has an unknown token too, but most spell by bytes, which all stay.
_HAVE_UNKNOWN_CHARACTERS = ("WordPiece", "Unigram")
#: What stands for a space ahead of a word.
_SPACE = "▁"


def cut_tokenizer(
    tokenizer_json: str, wanted: Collection[int], seen: Collection[int] | None = None
) -> tuple[str, list[int]]:
    """The tokenizer with the wanted tokens, those it needs, and those that spell anything: single characters, bytes.

    Args:
        tokenizer_json: the tokenizer, as the tokenizers library writes it.
        wanted: ids of tokens to keep.
        seen: ids of tokens that are made of all characters worth spelling, beside those of ASCII: others become the
            unknown token, where the tokenizer has one for characters. None keeps every character.

    Returns:
        The new tokenizer.json, and the old ids of what was kept, rising: their places are the new ids.

    Raises:
        UnsupportedError: the tokenizer is of a kind that cannot be cut.
    """
    tokenizer = json.loads(tokenizer_json)
    model = tokenizer["model"]
    kind = model.get("type")
    if kind not in _CUTS:
        raise UnsupportedError(f"the vocabulary of a {kind or 'nameless'} tokenizer cannot be cut")
    ids = _ids(model)
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    names = {id: token for token, id in {**ids, **added}.items()}
    spelled = {id for token, id in ids.items() if _spells(token, model)}
    if seen is not None and kind in _HAVE_UNKNOWN_CHARACTERS:
        characters = {*map(chr, range(128)), *"".join(names[id] for id in seen if id in names)}
        spelled = {id for id in spelled if names[id][-1] in characters or _BYTE.fullmatch(names[id])}
    unknown = {ids[token] for token in [model.get("unk_token")] if token in ids}
    keep = spelled | unknown | set(added.values()) | _special_ids(tokenizer) | (set(wanted) & names.keys())
    keep |= _NEEDS[kind](model, ids, {names[id] for id in keep})
    kept = sorted(keep)
    new = {old: place for place, old in enumerate(kept)}
    _CUTS[kind](model, new)
    for token in tokenizer["added_tokens"]:
        token["id"] = new[token["id"]]
    _renumber(tokenizer, new)
    return json.dumps(tokenizer, ensure_ascii=False), kept


def _ids(model: dict[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {piece: id for id, (piece, _score) in enumerate(model["vocab"])}
    return model["vocab"]


def _spells(token: str, model: dict[str, Any]) -> bool:
    """Whether a token is one character or byte, or one that goes on with a word or begins it."""
    prefix = model.get("continuing_subword_prefix") or _SPACE
    return len(token) == 1 or len(token.removeprefix(prefix)) == 1 or _BYTE.fullmatch(token) is not None


# What else must stay, as ids, for the tokens that stay.


def _nothing(model: dict[str, Any], ids: dict[str, int], tokens: set[str]) -> set[int]:
    return set()


def _on_the_way(model: dict[str, Any], ids: dict[str, int], tokens: set[str]) -> set[int]:
    """Tokens that the merges make before they make these."""
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UnsupportedError("the vocabulary of a BPE tokenizer that marks parts of words cannot be cut")
    ranks = {pair: rank for rank, pair in enumerate(map(_pair, model["merges"]))}
    return {ids[part] for token in tokens if token in ids for part in _joined(token, ranks)}


def _joined(token: str, ranks: dict[tuple[str, str], int]) -> set[str]:
    """All tokens that come up while the characters of one are joined."""
    parts = list(token)
    seen = set()
    while True:
        pairs = [(ranks[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not pairs:
            return seen
        _rank, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        seen.add(parts[at])


def _least_likely(model: dict[str, Any], ids: dict[str, int], tokens: set[str]) -> set[int]:
    scores = [score for _piece, score in model["vocab"]]
    return {scores.index(min(scores)), *(() if model.get("unk_id") is None else (model["unk_id"],))}


# The model itself, given new ids by old ones.


def _cut_vocabulary(model: dict[str, Any], new: dict[int, int]) -> None:
    model["vocab"] = {token: new[id] for token, id in model["vocab"].items() if id in new}


def _cut_merges(model: dict[str, Any], new: dict[int, int]) -> None:
    _cut_vocabulary(model, new)
    vocabulary = model["vocab"]
    model["merges"] = [
        merge for merge in model["merges"] if all(part in vocabulary for part in (*_pair(merge), "".join(_pair(merge))))
    ]


def _cut_pieces(model: dict[str, Any], new: dict[int, int]) -> None:
    model["vocab"] = [piece for id, piece in enumerate(model["vocab"]) if id in new]
    if model.get("unk_id") is not None:
        model["unk_id"] = new[model["unk_id"]]


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """A merge, which older files write as two tokens with a space between."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


_NEEDS: dict[str, Callable[[dict[str, Any], dict[str, int], set[str]], set[int]]] = {
    "WordPiece": _nothing,
    "WordLevel": _nothing,
    "BPE": _on_the_way,
    "Unigram": _least_likely,
}
_CUTS: dict[str, Callable[[dict[str, Any], dict[int, int]], None]] = {
    "WordPiece": _cut_vocabulary,
    "WordLevel": _cut_vocabulary,
    "BPE": _cut_merges,
    "Unigram": _cut_pieces,
}


# Ids beside the model: in what puts special tokens around a text, and in padding.


def _special_ids(tokenizer: dict[str, Any]) -> set[int]:
    found: set[int] = set()

    def note(id: int) -> int:
        found.add(id)
        return id

    _each_id(tokenizer, note)
    return found


def _renumber(tokenizer: dict[str, Any], new: dict[int, int]) -> None:
    _each_id(tokenizer, new.__getitem__)


def _each_id(tokenizer: dict[str, Any], change: Callable[[int], int]) -> None:
    """Puts `change(id)` in place of each of these ids."""
    if tokenizer.get("padding"):
        tokenizer["padding"]["pad_id"] = change(tokenizer["padding"]["pad_id"])
    outer = tokenizer.get("post_processor")
    for processor in () if outer is None else outer.get("processors", [outer]):
        for token in processor.get("special_tokens", {}).values():
            token["ids"] = [change(id) for id in token["ids"]]
        for end in ("sep", "cls"):
            if end in processor:
                processor[end] = [processor[end][0], change(processor[end][1])]
