"""Which class a checkpoint's tokenizer has, and the tokenizer that it makes, ready for the device."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer, normalizers, processors

from minibert.errors import CheckpointError, UnsupportedError
from minibert.text.components import prove_tokenizer
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.refusal import refusing
from minibert_converter.checkpoints.tokenizer.classes import AS_STORED, CLASSES, MORE_THAN_A_FILE, TokenizerClass
from minibert_converter.checkpoints.tokenizer.settings import HARMLESS_KEYS, Settings
from minibert_converter.checkpoints.tokenizer.vocabularies import no_tokenizer, read_vocabulary

#: Parts of a tokenizer.json, and what they are called in notes.
PARTS = {"normalizer": "normalizing", "pre_tokenizer": "splitting", "post_processor": "tokens around a text"}


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
    folder: Folder,
    vocab_size: int,
    *,
    lowercase: bool = False,
    class_name: str | None = None,
    usual: str = "BertTokenizer",
) -> TokenizerFile:
    """Makes of a folder what transformers would make of it.

    Args:
        folder: the checkpoint.
        vocab_size: rows of the word embedding table; every id must lie below it.
        lowercase: lower the text first, whatever the tokenizer itself does.
        class_name: the class, where tokenizer_config.json says none.
        usual: the class that checkpoints of this family have.

    Raises:
        CheckpointError: there is no tokenizer, it is broken, or it gives ids that have no embedding.
        UnsupportedError: its class does what no tokenizer.json can say, or is not known.
    """
    settings = Settings(folder)
    name = _class_name(settings, class_name, usual)
    with refusing(folder / ("tokenizer.json" if settings.stored is not None else "tokenizer_config.json")):
        if name in AS_STORED:
            tokenizer, types = _as_stored(settings, name, vocab_size), False
        else:
            known = CLASSES[name]
            tokenizer, types = _of_class(settings, name, known, vocab_size), known.types
        if lowercase:
            steps = [normalizers.Lowercase()] + ([tokenizer.normalizer] if tokenizer.normalizer else [])
            tokenizer.normalizer = normalizers.Sequence(steps)  # type: ignore[assignment]
        names = settings.config.get("model_input_names")
        if not (("token_type_ids" in names) if isinstance(names, list) else types):
            tokenizer = _without_types(tokenizer, settings, name)
        _set_side(settings, tokenizer)
        tokenizer.no_padding()
        _prove_ids(folder, tokenizer, vocab_size)
        text = tokenizer.to_str()
        prove_tokenizer(text)
    max_length = _max_length(settings)
    if unknown := settings.config.not_asked(HARMLESS_KEYS):
        settings.notes.append(f"tokenizer_config.json: not read, as {name} looks at none of it: {', '.join(unknown)}")
    return TokenizerFile(text, max_length, tuple(settings.notes))


def _class_name(settings: Settings, class_name: str | None, usual: str) -> str:
    """The class, as AutoTokenizer finds it."""
    where = settings.folder / "tokenizer_config.json"
    code = settings.config.get("auto_map")
    if code and (not isinstance(code, dict) or "AutoTokenizer" in code):
        raise UnsupportedError(
            f"{where}: the tokenizer is code of the checkpoint (auto_map), which is never run; if tokenizer.json says "
            'all that it does, remove auto_map and let "tokenizer_class" be "PreTrainedTokenizerFast"'
        )
    named = settings.config.get("tokenizer_class") or class_name
    if named is not None and not isinstance(named, str):
        raise CheckpointError(f"{where}: tokenizer_class is {named!r:.80}, not a name")
    if usual == "TokenizersBackend" or named is None:  # the one class that transformers doesn't let a folder overrule
        return usual
    if named in AS_STORED:
        return named
    name = named.removesuffix("Fast")
    if name in CLASSES:
        return name
    reason = f": {MORE_THAN_A_FILE[name]}" if name in MORE_THAN_A_FILE else ""
    raise UnsupportedError(
        f"{where}: the tokenizer class {named} is not supported{reason}. Supported are PreTrainedTokenizerFast "
        f"(tokenizer.json as it is: right, if that says all that the class does), {', '.join(CLASSES)}"
    )


def _as_stored(settings: Settings, name: str, vocab_size: int) -> Tokenizer:
    """tokenizer.json as it is, and the tokens that the files beside it add."""
    if settings.stored is None:
        raise no_tokenizer(settings.folder, name)
    tokenizer = Tokenizer.from_str(json.dumps(settings.stored))
    settings.add_tokens(tokenizer, {}, settings.additional, vocab_size)
    return tokenizer


def _of_class(settings: Settings, name: str, known: TokenizerClass, vocab_size: int) -> Tokenizer:
    """What a class makes of the vocabulary."""
    vocabulary = read_vocabulary(settings, known.kind, name, vocab_size, known.model_file)
    if settings.stored is None and known.pieces:
        vocabulary = replace(vocabulary, scores=known.pieces(vocabulary.scores, settings))
    if not (vocabulary.ids or vocabulary.scores):
        raise CheckpointError(f"{vocabulary.source}: the tokenizer has an empty vocabulary")
    if settings.stored is None:
        there = set(vocabulary.ids) | {piece for piece, _ in vocabulary.scores}
        roles = ("unk_token", "sep_token", "cls_token", "pad_token")
        needed = [settings.token(role, known.roles[role]) for role in roles if role in known.roles]
        if missing := [token for token in dict.fromkeys(needed) if token not in there]:
            raise CheckpointError(f"{vocabulary.source}: lacks the special tokens {', '.join(missing)}")
    tokenizer = known.build(vocabulary, settings, known.roles)
    extra = vocabulary.special or settings.additional or known.extra
    settings.add_tokens(tokenizer, known.roles, extra, vocab_size)
    stored = settings.stored or {}
    if known.stored_ends and stored.get("post_processor"):
        tokenizer.post_processor = _without_vocabulary(stored).post_processor  # type: ignore[assignment]
    else:
        tokenizer.post_processor = known.ends.processor(tokenizer, settings, known.roles)
    _note_what_changed(settings, name, tokenizer)
    return tokenizer


def _note_what_changed(settings: Settings, name: str, tokenizer: Tokenizer) -> None:
    """Tells where the class overrules tokenizer.json."""
    if settings.stored is None:
        return
    stored = _without_vocabulary(settings.stored)
    changed = [
        what for part, what in PARTS.items() if _written(getattr(stored, part)) != _written(getattr(tokenizer, part))
    ]
    if changed:
        settings.notes.append(
            f"{name} overrules tokenizer.json, as it does in transformers: {', '.join(changed)} (to take that file as "
            'it is, let tokenizer_config.json say "tokenizer_class": "PreTrainedTokenizerFast")'
        )


def _without_vocabulary(stored: dict[str, Any]) -> Tokenizer:
    """The parts of a tokenizer.json, without the pieces that take the time."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    return Tokenizer.from_str(
        json.dumps({**stored, "model": model, "added_tokens": [], "truncation": None, "padding": None})
    )


def _written(part: Any) -> Any:
    """A part as the library writes it, which it does for the same thing in one way only."""
    return None if part is None else json.loads(part.__getstate__())


def _prove_ids(folder: Folder, tokenizer: Tokenizer, vocab_size: int) -> None:
    last, token = max(((id, token) for token, id in tokenizer.get_vocab().items()), default=(-1, ""))
    if last >= vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer gives token {token!r} the id {last}, but the word embeddings have only "
            f"{vocab_size} rows"
        )
    if last < 0:
        raise CheckpointError(f"{folder}: the tokenizer has an empty vocabulary")


def _set_side(settings: Settings, tokenizer: Tokenizer) -> None:
    """Keeps where a text is cut, which tokenizer_config.json may overrule, and forgets how long it may be."""
    stored = (settings.stored or {}).get("truncation") or {}
    side = settings.config.get("truncation_side") or str(stored.get("direction", "right")).lower()
    if side not in ("left", "right"):
        raise CheckpointError(
            f"{settings.folder / 'tokenizer_config.json'}: truncation_side is {side!r}, not left or right"
        )
    tokenizer.no_truncation()
    if side == "left":
        tokenizer.enable_truncation(_max_length(settings) or 512, direction="left")


def _without_types(tokenizer: Tokenizer, settings: Settings, name: str) -> Tokenizer:
    """The same tokens, all of type 0: transformers gives a model no types if its inputs do not name them."""
    value = json.loads(tokenizer.to_str())
    step = value["post_processor"] or {}
    changed = False
    for each in step.get("processors", [step]):
        if each.get("type") == "BertProcessing":
            (cls, cls_id), (sep, sep_id) = each["cls"], each["sep"]
            made = processors.TemplateProcessing(
                f"{cls} $A {sep}", f"{cls} $A {sep} $B {sep}", [(cls, cls_id), (sep, sep_id)]
            )
            each.clear()
            each.update(json.loads(made.__getstate__()))
            changed = True
        for part in [*each.get("single", []), *each.get("pair", [])]:
            inner = next(iter(part.values()))
            changed = changed or inner["type_id"] != 0
            inner["type_id"] = 0
    if changed and name in AS_STORED and not settings.config.get("model_input_names"):
        settings.notes.append(
            f"{name} gives a model no token types, so both texts of a pair are treated alike, as in transformers 5 (if "
            'the model was trained with them, let tokenizer_config.json say "model_input_names": ["input_ids", '
            '"token_type_ids", "attention_mask"])'
        )
    return Tokenizer.from_str(json.dumps(value))


def _max_length(settings: Settings) -> int | None:
    """model_max_length; transformers writes 1e30 where nobody set one, which is no limit."""
    value = settings.config.get("model_max_length")
    value = settings.config.get("max_len") if value is None else value
    if value is None:
        return None
    if type(value) not in (int, float) or not value >= 1:
        raise CheckpointError(
            f"{settings.folder / 'tokenizer_config.json'}: model_max_length is {value!r}, not a length"
        )
    return int(value) if value < 1 << 31 else None
