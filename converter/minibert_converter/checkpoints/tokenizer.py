"""The tokenizer of a checkpoint, as one tokenizer.json: the checkpoint's own, or built from its vocabulary."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, processors

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES
from minibert.text.components import prove_tokenizer
from minibert_converter.checkpoints.family import TokenizerStyle
from minibert_converter.checkpoints.json_file import read_json_if_present, read_text
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.vocabulary import build_byte_level, build_word_piece, flag

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
        json: ready for Tokenizer.from_str; does not pad, and truncates only to say that it is the beginning of a text
            that is cut off.
        max_length: most tokens, special ones included, that the checkpoint says a text may have; None if it says
            nothing.
        notes: what was found otherwise than expected, for the user.
    """

    json: str
    max_length: int | None
    notes: tuple[str, ...] = ()


def read_tokenizer(
    folder: Path, vocab_size: int, *, lowercase: bool = False, style: TokenizerStyle = "bert"
) -> TokenizerFile:
    """Reads tokenizer.json, or builds the same from vocab.txt, vocab.json and merges.txt, tokenizer_config.json.

    Args:
        folder: the checkpoint.
        vocab_size: rows of the word embedding table; every id must lie below it.
        lowercase: lower the text first, whatever the tokenizer itself does.
        style: how special tokens stand around a text, where the tokenizer has to be built.

    Raises:
        CheckpointError: there is no tokenizer, it is broken, or it gives ids that have no embedding.
        UnsupportedError: the tokenizer is there, but only as a SentencePiece model.
    """
    config = read_json_if_present(folder / "tokenizer_config.json")
    notes: list[str] = []
    if (folder / "tokenizer.json").is_file():
        tokenizer = _load(folder / "tokenizer.json", config, notes)
    elif (folder / "vocab.txt").is_file():
        tokenizer = build_word_piece(folder, config, style, vocab_size)
        notes.append("built the tokenizer from vocab.txt, as there is no tokenizer.json")
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = build_byte_level(folder, config)
        notes.append("built the tokenizer from vocab.json and merges.txt, as there is no tokenizer.json")
    else:
        raise _no_tokenizer(folder)
    if lowercase:
        steps = [normalizers.Lowercase()] + ([tokenizer.normalizer] if tokenizer.normalizer else [])
        tokenizer.normalizer = normalizers.Sequence(steps)  # type: ignore[assignment]
    names = config.get("model_input_names")
    if isinstance(names, list) and "token_type_ids" not in names:
        tokenizer = _without_types(tokenizer)
    _set_side(folder, config, tokenizer)
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


def _no_tokenizer(folder: Path) -> CheckpointError | UnsupportedError:
    """The error for a folder without a tokenizer that can be read."""
    pieces = sorted(path.name for path in folder.glob("*.model"))
    save = "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) of transformers"
    if pieces:
        return UnsupportedError(
            f"{folder}: the tokenizer is there only as a SentencePiece model ({', '.join(pieces)}); {save} makes a "
            "tokenizer.json of it"
        )
    return CheckpointError(
        f"{folder}: no tokenizer; looked for tokenizer.json, for vocab.txt and for vocab.json with merges.txt "
        f"(with tokenizer_config.json). {save} writes it there"
    )


def _load(path: Path, config: dict[str, Any], notes: list[str]) -> Tokenizer:
    text = read_text(path, MAX_TOKENIZER_BYTES)
    with refusing(path):
        try:
            prove_tokenizer(text)
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises plain Exception
            raise CheckpointError(f"{path}: not a tokenizer that the tokenizers library can read ({error})") from error
    # transformers lets tokenizer_config.json overrule how tokenizer.json's BERT normalizer treats the text.
    normalizer = tokenizer.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        for key, attribute in NORMALIZER_KEYS.items():
            value = flag(path.parent, config, key, getattr(normalizer, attribute))
            if value != getattr(normalizer, attribute) and (value is not None or key == "strip_accents"):
                setattr(normalizer, attribute, value)
                notes.append(f"tokenizer_config.json overrules tokenizer.json: {key} is {json.dumps(value)}")
        tokenizer.normalizer = normalizer  # type: ignore[assignment]
    return tokenizer


def _set_side(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Keeps where a text is cut, which tokenizer_config.json may overrule, and forgets how long it may be."""
    side = config.get("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
    if side not in ("left", "right"):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: truncation_side is {side!r}, not left or right")
    tokenizer.no_truncation()
    if side == "left":
        tokenizer.enable_truncation(_max_length(folder, config) or 512, direction="left")


def _without_types(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokens, all of type 0: transformers gives a model no types if its inputs do not name them."""
    value = json.loads(tokenizer.to_str())
    step = value["post_processor"] or {}
    for each in step.get("processors", [step]):
        if each.get("type") == "BertProcessing":
            (cls, cls_id), (sep, sep_id) = each["cls"], each["sep"]
            made = processors.TemplateProcessing(
                f"{cls} $A {sep}", f"{cls} $A {sep} $B {sep}", [(cls, cls_id), (sep, sep_id)]
            )
            each.clear()
            each.update(json.loads(made.__getstate__()))
        for part in [*each.get("single", []), *each.get("pair", [])]:
            next(iter(part.values()))["type_id"] = 0
    return Tokenizer.from_str(json.dumps(value))


def _max_length(folder: Path, config: dict[str, Any]) -> int | None:
    """model_max_length; transformers writes 1e30 where nobody set one, which is no limit."""
    value = config.get("model_max_length")
    if value is None:
        return None
    if type(value) not in (int, float) or not value >= 1:
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: model_max_length is {value!r}, not a length")
    return int(value) if value < 1 << 31 else None
