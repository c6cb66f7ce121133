"""What stands beside a vocabulary: tokenizer_config.json and the older files that say the same, put together.

The order in which one file overrules another is that of transformers 5.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer

from minibert.errors import CheckpointError, FormatError, UnsupportedError
from minibert.format.tokenizer import MAX_TOKENIZER_BYTES
from minibert.text.components import prove_tokenizer
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.refusal import refusing

#: The tokenizers library compares each with all others; the most that are known are some thousands.
MAX_ADDED_TOKENS = 8192
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
#: Keys of tokenizer_config.json that change no token: the rest that nobody asked for is told of.
HARMLESS_KEYS = (
    r"tokenizer_class|name_or_path|special_tokens_map_file|tokenizer_file|vocab_file|merges_file|processor_class|backend"
    r"|clean_up_tokenization_spaces.*|padding_side|pad_to_multiple_of|pad_token_type_id|max_length|stride|padding"
    r"|truncation|truncation_strategy|chat_template|errors|legacy|use_fast|is_local|local_files_only|device_map|init_inputs"
    r"|never_split|do_basic_tokenize|trim_offsets|return_.*|added_tokens_decoder|add_(bos|eos)_token|sp_model_kwargs"
    r"|unk_id|vocab_type|_.*|language|max_len|model_type|transformers_version|spaces_between_special_tokens"
    r"|from_slow|trust_remote_code|fix_mistral_regex|response_template|extra_ids|.*_token_id|revision|subfolder"
)


class Settings:
    """The settings of one tokenizer.

    Attributes:
        folder: where the files lie.
        config: tokenizer_config.json.
        stored: tokenizer.json, or None where there is none.
        notes: what is told to the user.
        additional: special tokens of special_tokens_map.json, where nothing else names any besides those with a role.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.config = JsonObject(folder.json_if_present("tokenizer_config.json"))
        self.notes: list[str] = []
        self.additional: list[AddedToken | str] = []
        self.stored: dict[str, Any] | None = None
        if folder.has("tokenizer.json"):
            text = folder.text("tokenizer.json", MAX_TOKENIZER_BYTES)
            with refusing(folder / "tokenizer.json"):
                try:
                    prove_tokenizer(text)
                except FormatError as error:
                    raise CheckpointError(f"{folder / 'tokenizer.json'}: {error}") from error
                self.stored = json.loads(text)
        if self.config.get("split_special_tokens"):
            raise UnsupportedError(
                f"{folder / 'tokenizer_config.json'}: split_special_tokens is true; only false is supported"
            )
        self._added: dict[int, AddedToken] = {}
        self._special: dict[str, AddedToken | str] = {}
        self._extra: list[AddedToken | str] = []
        self._null: set[str] = set()
        with refusing(folder / "tokenizer_config.json"):
            self._read_tokens()

    def flag(self, key: str, default: bool | None) -> bool | None:
        """A key of tokenizer_config.json that is true, false or absent."""
        value = self.config.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise CheckpointError(
                f"{self.folder / 'tokenizer_config.json'}: {key} is {json.dumps(value)}, not true or false"
            )
        return value

    def token(self, role: str, default: AddedToken | str) -> str:
        """The special token of a role.

        Raises:
            CheckpointError: tokenizer_config.json says that there is none.
        """
        if role in self._null:
            raise CheckpointError(f"{self.folder / 'tokenizer_config.json'}: {role} is null")
        return str(getattr(token := self._special.get(role, default), "content", token))

    def add_tokens(
        self,
        tokenizer: Tokenizer,
        defaults: Mapping[str, AddedToken | str],
        extra: Iterable[AddedToken | str],
        vocab_size: int,
    ) -> None:
        """Add what is special, and what was added after training, where the tokenizer does not have it yet.

        Args:
            tokenizer: as its class makes it, or as it is stored.
            defaults: the special tokens of the class, by role.
            extra: further special tokens, where tokenizer_config.json names none.
            vocab_size: rows of the word embedding table. A special token that would lie behind it, as nothing gives it
                a number, is left out: a model could not read it.

        Raises:
            CheckpointError: a token does not get the number that the folder gives it.
        """
        there = tokenizer.get_added_tokens_decoder()
        known = {_flags(token) for token in there.values()}
        tokens = [token for _, token in sorted(self._added.items()) if _flags(token) not in known]
        contents = {token.content for token in (*there.values(), *tokens)}
        roles_in_order = dict.fromkeys((*ROLES, *self._special))
        named = {**defaults, **self._special}
        named = {role: named[role] for role in roles_in_order if role in named and role not in self._null}
        roles = {str(getattr(token, "content", token)) for token in named.values()}
        numbers = tokenizer.get_vocab_size() + sum(tokenizer.token_to_id(token.content) is None for token in tokens)
        missing = []
        for role, token in [*named.items(), *(("", token) for token in self._extra or extra)]:
            if isinstance(token, str):
                usual = defaults.get(role)
                lstrip = usual.lstrip if isinstance(usual, AddedToken) else False
                token = AddedToken(token, lstrip=lstrip, special=True)
            if token.content in contents:
                continue
            contents.add(token.content)
            if tokenizer.token_to_id(token.content) is None:
                if numbers >= vocab_size:
                    missing.append(token.content)
                    continue
                numbers += 1
            tokens.append(token)
        if missing:
            self.notes.append(
                f"no word embedding is there for the special tokens {', '.join(missing)}: they are left out"
            )
        for token in tokens:
            token.special = token.special or token.content in roles
        if len(tokens) > MAX_ADDED_TOKENS:
            raise CheckpointError(
                f"{self.folder}: adds {len(tokens)} tokens to the vocabulary; the limit is {MAX_ADDED_TOKENS}"
            )
        tokenizer.add_tokens(tokens)
        for index, token in sorted(self._added.items()):
            if tokenizer.token_to_id(token.content) != index:
                raise CheckpointError(
                    f"{self.folder}: added token {token.content!r} should have the id {index}, but the vocabulary "
                    f"makes it {tokenizer.token_to_id(token.content)}"
                )

    def _read_tokens(self) -> None:
        """Special tokens, and added ones by their numbers, from wherever they stand."""
        values = {key: self.config.get(key) for key in (*ROLES, "extra_special_tokens", "additional_special_tokens")}
        values["extra_special_tokens"] = values["extra_special_tokens"] or values["additional_special_tokens"]
        self._null = {role for role in ROLES if role in self.config and values[role] is None}
        by_number = self.config.get("added_tokens_decoder")
        if by_number is not None:
            for index, token in by_number.items():
                self._added[int(index)] = _added(token)
            older = self.folder.json_if_present("added_tokens.json")
            if left := sorted(set(older) - {token.content for token in self._added.values()}):
                self.notes.append(
                    "tokenizer_config.json has added_tokens_decoder, so added_tokens.json is not read, as in "
                    f"transformers: {', '.join(left[:8])}"
                )
        else:
            for key, value in self.folder.json_if_present("special_tokens_map.json").items():
                if key == "extra_special_tokens":
                    values[key] = [*(values[key] or ()), *value]
                elif key == "additional_special_tokens":
                    self.additional = [_token(token) for token in value]
                else:
                    values[key] = {**value, "special": True} if isinstance(value, dict) else value
        named = {**{key: value for key, value in self.config.items() if _is_own_role(key, value)}, **values}
        extra = named.pop("extra_special_tokens", None) or []
        named.pop("additional_special_tokens", None)
        if isinstance(extra, dict):
            named, extra = {**named, **extra}, []
        named = {key: _token(value) for key, value in named.items() if value is not None}
        if any(not token for token in named.values()):
            raise ValueError("an empty special token")
        self._extra = [_token(value) for value in extra]
        if by_number is None:
            self._read_older(named)
        by_content = {token.content: token for token in self._added.values()}
        self._special = {key: by_content.get(str(getattr(t, "content", t)), t) for key, t in named.items()}

    def _read_older(self, named: Mapping[str, AddedToken | str]) -> None:
        special = {str(getattr(token, "content", token)) for token in (*named.values(), *self._extra)}
        for content, index in self.folder.json_if_present("added_tokens.json").items():
            is_special = content in special
            self._added[int(index)] = AddedToken(content, normalized=not is_special, special=is_special)
        for token in (self.stored or {}).get("added_tokens") or ():
            self._added[token["id"]] = _added(token)


def _is_own_role(key: str, value: Any) -> bool:
    """Whether a key of tokenizer_config.json names a special token of a model's own."""
    return key.endswith("_token") and not key.startswith("add_") and isinstance(value, str) and key not in ROLES


def _token(value: Any) -> AddedToken | str:
    """A token as JSON has it: a string, or an object of its content and its flags."""
    return value if isinstance(value, str) else _added(value)


def _added(value: Any) -> AddedToken:
    flags = {
        key: bool(value[key]) for key in ("single_word", "lstrip", "rstrip", "normalized", "special") if key in value
    }
    if not isinstance(value["content"], str):
        raise TypeError(f"a token {value['content']!r:.80}")
    return AddedToken(value["content"], **flags)


def _flags(token: AddedToken) -> tuple[object, ...]:
    return (token.content, token.single_word, token.lstrip, token.rstrip, token.normalized, token.special)
