"""The tokenizer of a checkpoint, as one tokenizer.json: the checkpoint's own, or built from vocab.txt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from minibert.errors import CheckpointError

from .json_file import read_json_if_present, read_text

SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}

#: Keys of tokenizer_config.json -> what the tokenizers library calls them; a strip_accents of null means "as lowercase"
NORMALIZER_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer in the tokenizers library's own JSON.

    Attributes:
        json: ready for Tokenizer.from_str; neither truncates nor pads.
        max_length: most tokens, special ones included, that the checkpoint says a text may have; None if it says
            nothing.
        notes: what was found otherwise than expected, for the user.
    """

    json: str
    max_length: int | None
    notes: tuple[str, ...] = ()


def read_tokenizer(folder: Path, vocab_size: int, *, lowercase: bool = False) -> TokenizerFile:
    """Reads tokenizer.json, or builds the same from vocab.txt, tokenizer_config.json and the like.

    Args:
        folder: the checkpoint.
        vocab_size: rows of the word embedding table; every id must lie below it.
        lowercase: lower the text first, whatever the tokenizer itself does.

    Raises:
        CheckpointError: there is no tokenizer, it is broken, or it gives ids that have no embedding.
    """
    config = read_json_if_present(folder / "tokenizer_config.json")
    notes: list[str] = []
    if (folder / "tokenizer.json").is_file():
        tokenizer = _load(folder / "tokenizer.json", config, notes)
    elif (folder / "vocab.txt").is_file():
        tokenizer = _build_word_piece(folder, config)
        notes.append("built the tokenizer from vocab.txt, as there is no tokenizer.json")
    else:
        raise CheckpointError(
            f"{folder}: no tokenizer; looked for tokenizer.json and for vocab.txt (with tokenizer_config.json). "
            "Save it there with tokenizer.save_pretrained(folder)"
        )
    if lowercase:
        steps = [normalizers.Lowercase()] + ([tokenizer.normalizer] if tokenizer.normalizer else [])
        tokenizer.normalizer = normalizers.Sequence(steps)  # type: ignore[assignment]
    tokenizer.no_truncation()
    tokenizer.no_padding()
    last, token = max(((id, token) for token, id in tokenizer.get_vocab().items()), default=(-1, ""))
    if last >= vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer gives token {token!r} the id {last}, but the word embeddings have only "
            f"{vocab_size} rows"
        )
    if last < 0:
        raise CheckpointError(f"{folder}: the tokenizer has an empty vocabulary")
    return TokenizerFile(tokenizer.to_str(), _max_length(folder, config), tuple(notes))


def _load(path: Path, config: dict[str, Any], notes: list[str]) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(read_text(path))
    except CheckpointError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{path}: not a tokenizer that the tokenizers library can read ({error})") from error
    # transformers lets tokenizer_config.json overrule how tokenizer.json's BERT normalizer treats the text.
    normalizer = tokenizer.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        for key, attribute in NORMALIZER_KEYS.items():
            value = _flag(path.parent, config, key, getattr(normalizer, attribute))
            if value != getattr(normalizer, attribute) and (value is not None or key == "strip_accents"):
                setattr(normalizer, attribute, value)
                notes.append(f"tokenizer_config.json overrules tokenizer.json: {key} is {json.dumps(value)}")
        tokenizer.normalizer = normalizer  # type: ignore[assignment]
    return tokenizer


def _build_word_piece(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """BERT's tokenizer from its vocabulary, one token a line, the line's number being the id."""
    path = folder / "vocab.txt"
    lines = read_text(path).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    vocabulary = {token.removesuffix("\r"): index for index, token in enumerate(lines)}
    special = _special_tokens(folder, config)
    missing = [token for name, token in special.items() if name != "mask_token" and token not in vocabulary]
    if missing:
        raise CheckpointError(f"{path}: lacks the special tokens {', '.join(missing)}")
    unk, sep, cls = special["unk_token"], special["sep_token"], special["cls_token"]
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=unk, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(  # type: ignore[assignment]
        clean_text=True,
        handle_chinese_chars=bool(_flag(folder, config, "tokenize_chinese_chars", True)),
        strip_accents=_flag(folder, config, "strip_accents", None),
        lowercase=bool(_flag(folder, config, "do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")  # type: ignore[assignment]
    tokenizer.add_special_tokens([token for token in special.values() if token in vocabulary])
    _add_tokens(folder, config, tokenizer)
    return tokenizer


def _special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """The special tokens by role; tokenizer_config.json overrules special_tokens_map.json."""
    values = {**SPECIAL_TOKENS, **read_json_if_present(folder / "special_tokens_map.json"), **config}
    special = {}
    for role in SPECIAL_TOKENS:
        value = values[role]
        token = value.get("content") if isinstance(value, dict) else value
        if not isinstance(token, str) or not token or any(char in token for char in " :$"):
            raise CheckpointError(f"{folder}: the tokenizer's {role} is {value!r}, not a token")
        special[role] = token
    return special


def _add_tokens(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Tokens that were added after training, from tokenizer_config.json or the older added_tokens.json."""
    added: dict[int, AddedToken] = {}
    try:
        for token, index in read_json_if_present(folder / "added_tokens.json").items():
            added[int(index)] = AddedToken(token, normalized=True)
        for index, entry in config.get("added_tokens_decoder", {}).items():
            flags = {key: bool(entry[key]) for key in ("single_word", "lstrip", "rstrip", "normalized") if key in entry}
            added[int(index)] = AddedToken(entry["content"], special=bool(entry.get("special", False)), **flags)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder}: the list of added tokens is malformed ({error!r})") from error
    for index in sorted(added):
        token = added[index]
        if token.special:
            tokenizer.add_special_tokens([token])
        else:
            tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != index:
            raise CheckpointError(
                f"{folder}: added token {token.content!r} should have the id {index}, but vocab.txt makes it "
                f"{tokenizer.token_to_id(token.content)}"
            )


def _flag(folder: Path, config: dict[str, Any], key: str, default: bool | None) -> bool | None:
    value = config.get(key, default)
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: {key} is {json.dumps(value)}, not true or false")
    return value


def _max_length(folder: Path, config: dict[str, Any]) -> int | None:
    """model_max_length; transformers writes 1e30 where nobody set one, which is no limit."""
    value = config.get("model_max_length")
    if value is None:
        return None
    if type(value) not in (int, float) or not value >= 1:
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: model_max_length is {value!r}, not a length")
    return int(value) if value < 1 << 31 else None
