"""Tokenizers built from a vocabulary: what transformers would make of vocab.txt, or of vocab.json and merges.txt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece

from minibert.errors import CheckpointError
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES
from minibert_converter.checkpoints.family import TokenizerStyle
from minibert_converter.checkpoints.json_file import read_json, read_json_if_present, read_text

#: The tokenizers library compares each with all others; the most that are known are some thousands.
MAX_ADDED_TOKENS = 8192
ROLES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
SPECIAL_TOKENS: Mapping[TokenizerStyle, Mapping[str, str]] = {
    "bert": dict(zip(ROLES, ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"), strict=True)),
    "mpnet": dict(zip(ROLES, ("[UNK]", "</s>", "<pad>", "<s>", "<mask>"), strict=True)),
    "roberta": dict(zip(ROLES, ("<unk>", "</s>", "<pad>", "<s>", "<mask>"), strict=True)),
}


def build_word_piece(folder: Path, config: dict[str, Any], style: TokenizerStyle, vocab_size: int) -> Tokenizer:
    """BERT's tokenizer from its vocabulary, one token a line, the line's number being the id, below `vocab_size`."""
    path = folder / "vocab.txt"
    lines = _lines(path, 2 * vocab_size)
    vocabulary = {token.removesuffix("\r"): index for index, token in enumerate(lines)}
    special = _special_tokens(folder, config, style)
    _refuse_missing(path, special, vocabulary)
    unk, sep, cls = special["unk_token"], special["sep_token"], special["cls_token"]
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=unk, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(  # type: ignore[assignment]
        clean_text=True,
        handle_chinese_chars=bool(flag(folder, config, "tokenize_chinese_chars", True)),
        strip_accents=flag(folder, config, "strip_accents", None),
        lowercase=bool(flag(folder, config, "do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    pair = f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1" if style == "bert" else f"{cls}:0 $A:0 {sep}:0 {sep}:0 $B:0 {sep}:0"
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=pair,
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")  # type: ignore[assignment]
    _add_special_tokens(tokenizer, special, mask_strips=_mask_strips(folder, config, style))
    _add_tokens(folder, config, tokenizer)
    return tokenizer


def build_byte_level(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """RoBERTa's tokenizer, byte-level BPE, from its vocabulary and its merges in order."""
    path = folder / "vocab.json"
    vocabulary = read_json(path, most=MAX_TOKENIZER_BYTES)
    if not all(type(index) is int and index >= 0 for index in vocabulary.values()):
        raise CheckpointError(f"{path}: must map tokens to their ids")
    special = _special_tokens(folder, config, "roberta")
    _refuse_missing(path, special, vocabulary)
    merges = []
    # Each merge makes a token, and hardly any token is made in two ways.
    for number, line in enumerate(_lines(folder / "merges.txt", 2 * len(vocabulary) + 1), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise CheckpointError(f"{folder / 'merges.txt'}: line {number} is not two tokens")
        merges.append((pair[0], pair[1]))
    sep, cls = special["sep_token"], special["cls_token"]
    try:
        tokenizer = Tokenizer(BPE(vocabulary, merges))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{folder}: vocab.json and merges.txt do not go together ({error})") from error
    prefix = bool(flag(folder, config, "add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)  # type: ignore[assignment]
    tokenizer.post_processor = processors.RobertaProcessing(  # type: ignore[assignment]
        (sep, vocabulary[sep]), (cls, vocabulary[cls]), trim_offsets=True, add_prefix_space=prefix
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    _add_special_tokens(tokenizer, special, mask_strips=_mask_strips(folder, config, "roberta"))
    _add_tokens(folder, config, tokenizer)
    return tokenizer


def _lines(path: Path, most: int) -> list[str]:
    """The lines of a file, at most so many: each takes far more memory than its bytes on the disk."""
    text = read_text(path, MAX_TOKENIZER_BYTES).removesuffix("\n")
    if text.count("\n") >= most:
        raise CheckpointError(f"{path}: has {text.count(chr(10)) + 1} lines, but at most {most} can be of use")
    return text.split("\n") if text else []


def _refuse_missing(path: Path, special: Mapping[str, str], vocabulary: Mapping[str, int]) -> None:
    missing = [token for name, token in special.items() if name != "mask_token" and token not in vocabulary]
    if missing:
        raise CheckpointError(f"{path}: lacks the special tokens {', '.join(missing)}")


def _mask_strips(folder: Path, config: dict[str, Any], style: TokenizerStyle) -> bool:
    """Whether a space before the mask token belongs to it: what the checkpoint says, or else the family's habit."""
    value = {**read_json_if_present(folder / "special_tokens_map.json"), **config}.get("mask_token")
    return bool(value.get("lstrip", False)) if isinstance(value, dict) else style != "bert"


def _add_special_tokens(tokenizer: Tokenizer, special: Mapping[str, str], *, mask_strips: bool) -> None:
    """Marks the special tokens that the vocabulary has."""
    for role, token in special.items():
        if tokenizer.token_to_id(token) is not None:
            strips = role == "mask_token" and mask_strips
            tokenizer.add_special_tokens([AddedToken(token, lstrip=strips, normalized=False, special=True)])


def _special_tokens(folder: Path, config: dict[str, Any], style: TokenizerStyle) -> dict[str, str]:
    """The special tokens by role; tokenizer_config.json overrules special_tokens_map.json."""
    values = {**SPECIAL_TOKENS[style], **read_json_if_present(folder / "special_tokens_map.json"), **config}
    special = {}
    for role in ROLES:
        value = values[role]
        token = value.get("content") if isinstance(value, dict) else value
        if not isinstance(token, str) or not token or any(char in token for char in " :$"):
            raise CheckpointError(f"{folder}: the tokenizer's {role} is {value!r}, not a token")
        special[role] = token
    return special


def _add_tokens(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Tokens that were added after training, from tokenizer_config.json or the older added_tokens.json."""
    added: dict[int, AddedToken] = {}
    lists = read_json_if_present(folder / "added_tokens.json"), config.get("added_tokens_decoder", {})
    count = sum(len(each) for each in lists if isinstance(each, dict))
    if count > MAX_ADDED_TOKENS:
        raise CheckpointError(f"{folder}: adds {count} tokens to the vocabulary; the limit is {MAX_ADDED_TOKENS}")
    try:
        for token, index in lists[0].items():
            added[int(index)] = AddedToken(token, normalized=True)
        for index, entry in lists[1].items():
            flags = {key: bool(entry[key]) for key in ("single_word", "lstrip", "rstrip", "normalized") if key in entry}
            added[int(index)] = AddedToken(entry["content"], special=bool(entry.get("special", False)), **flags)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder}: the list of added tokens is malformed ({error!r})") from error
    # In as few calls as may be: the library sorts all that was ever added in each.
    for special, indices in groupby(sorted(added), key=lambda index: added[index].special):
        add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
        add([added[index] for index in indices])
    for index, token in sorted(added.items()):
        if tokenizer.token_to_id(token.content) != index:
            raise CheckpointError(
                f"{folder}: added token {token.content!r} should have the id {index}, but the vocabulary makes it "
                f"{tokenizer.token_to_id(token.content)}"
            )


def flag(folder: Path, config: dict[str, Any], key: str, default: bool | None) -> bool | None:
    """A key of tokenizer_config.json that is true, false or absent."""
    value = config.get(key, default)
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: {key} is {json.dumps(value)}, not true or false")
    return value
