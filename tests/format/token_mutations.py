"""Seeded ways to damage the tables of a tokenizer inside a model file, most of which keep the sizes that it says."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any, get_args

import numpy as np

from minibert.errors import FormatError
from minibert.format import token_tables as tt
from minibert.format.reader import DTYPES
from minibert.format.token_tables import Tokenization, expanded, pack_characters, token_tensors
from tests.format.forge import Forge
from tests.format.mutations import NASTY, spoil_json

_TEXTS = ("", "a", "##", "▁", " ", "é電", "x" * 64, "\0")
_NUMBERS = ([], [0], [1, 2], [399], [7] * 16)
_TRIES = (None, {"nodes": 3, "keys": 2})
#: What keys of the config may hold, beside flags and whole numbers.
_VALUES: dict[str, tuple[Any, ...]] = {
    **{"model": get_args(tt.TokenModel), "kind": get_args(tt.PassKind), "where": get_args(tt.Prefixed)},
    **{"prefix": _TEXTS, "pattern": _TEXTS, "content": _TEXTS, "unless": _TEXTS, "direction": ("left", "right")},
    **{"cuts": _NUMBERS, "before": _NUMBERS, "between": _NUMBERS, "after": _NUMBERS, "types": _NUMBERS},
    **{"text_types": _NUMBERS, "column": (-1, 0, 1, 2, 3), "classes": (-1, 0, 1, 2, 3)},
    **{"compositions": _TRIES, "clusters": _TRIES, "added": _TRIES, "added_normalized": _TRIES},
}


def mutate_tokens(forge: Forge, rng: random.Random) -> bytes:
    """The bytes of a file with something wrong about its tokenizer; `forge` is spoiled."""
    rng.choice(_KINDS)(forge, rng)
    return forge.bytes()


def _config(forge: Forge) -> dict[str, Any]:
    return forge.config["text"]["tables"]


def spoil_numbers(values: np.ndarray, rng: random.Random) -> None:
    """Numbers replaced, nudged, flipped, exchanged, copied, shifted, or as noise, in place."""
    flat = values.reshape(-1)
    if not flat.size:
        return
    first, second = rng.randrange(flat.size), rng.randrange(flat.size)
    if flat.dtype.kind == "f":
        flat[first] = rng.choice([np.nan, np.inf, -np.inf, 0, 3e38, -3e38, 1e-45])
        return
    limits = np.iinfo(flat.dtype)
    nasty = [value for value in NASTY if type(value) is int and limits.min <= value <= limits.max]
    nasty += [limits.min, limits.max, 0xD800 & limits.max, tt.LAST & limits.max]
    change = rng.randrange(8)
    if change == 0:
        flat[first] = rng.choice(nasty)
    elif change == 1:
        with np.errstate(over="ignore"):
            flat[first] += rng.choice([1, 1, 2, limits.max])
    elif change == 2:
        flat[first] ^= 1 << rng.randrange(8 * flat.itemsize - (flat.dtype.kind == "i"))
    elif change == 3:
        flat[[first, second]] = flat[[second, first]]
    elif change == 4:
        flat[first] = flat[second]
    elif change == 5:
        flat[:] = np.roll(flat, rng.choice([-1, 1, first]))
    elif change == 6:
        flat[first:] = np.frombuffer(rng.randbytes(flat[first:].nbytes), flat.dtype)
    else:
        flat[first:] = rng.choice([*nasty, int(flat[first])])


def _numbers(forge: Forge, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 1, 3])):
        name = rng.choice([name for name in forge.header if name.startswith(tt.PREFIX) and "padding" not in name])
        spoil_numbers(forge.tensor(name), rng)


def _characters(forge: Forge, rng: random.Random) -> None:
    """Other numbers in the table of characters."""
    if tt.CHARACTERS not in forge.header:
        return
    try:
        tables = Tokenization.from_json(_config(forge), "tables")
        parts = expanded(tables, {tt.CHARACTERS: forge.tensor(tt.CHARACTERS)})
    except FormatError:  # changed before, with something else of the model
        return
    parts = {name: part.copy() for name, part in parts.items() if name != tt.CHARACTERS}
    for _ in range(rng.choice([1, 1, 3])):
        part = parts[rng.choice(list(parts))]
        # Texts have characters of the first pages most often, and records of the first rows.
        spoil_numbers(part[..., : rng.choice([4, 64, part.shape[-1]])], rng)
    _put_stream(forge, pack_characters(parts))


def _stream(forge: Forge, rng: random.Random) -> None:
    """A zlib stream that is cut short, goes on, holds more or less, or is none."""
    if tt.CHARACTERS not in forge.header:
        return
    data = forge.tensor(tt.CHARACTERS).tobytes()
    whole = zlib.decompress(data)
    damaged = [
        data[: rng.randrange(1, len(data))],
        data + rng.choice([b"\0", b"x" * 64, data]),
        zlib.compress(whole[: rng.randrange(len(whole))]),
        zlib.compress(whole + bytes(rng.choice([1, 2, 1 << 20]))),
        zlib.compress(bytes(1 << 24)),
        zlib.compress(whole)[2:],
        rng.randbytes(len(data)),
    ]
    _put_stream(forge, np.frombuffer(rng.choice(damaged), np.uint8))


def _put_stream(forge: Forge, packed: np.ndarray) -> None:
    _config(forge)["packed"] = len(packed)
    forge.put({tt.CHARACTERS: packed})


def _settings(forge: Forge, rng: random.Random) -> None:
    """Values of the config alone: what they say of sizes is no longer so."""
    for _ in range(rng.choice([1, 1, 2])):
        spoil_json(_config(forge), rng)


def _key(forge: Forge, rng: random.Random) -> None:
    """One key of the config, or of one of its passes, frames and tries, has a value of its own type."""
    tables = _config(forge)
    part = rng.choice([tables, *tables["passes"], *(value for value in tables.values() if type(value) is dict)])
    fields = [*part, *rng.sample([*vars(Tokenization.from_json(tables, "")), *_VALUES], 2)]
    key = rng.choice(fields)
    if type(part.get(key)) is bool or key in ("byte_level", "byte_pieces", "fuse_unknown", "whole_words", "hangul"):
        part[key] = not part.get(key)
    elif key in _VALUES:
        part[key] = rng.choice(_VALUES[key])
    elif type(part.get(key)) is int or key in ("unknown_id", "max_word", "trim", "merges", "drops", "least"):
        part[key] = rng.choice([part.get(key, 0) + rng.choice([-1, 1, 64]), -1, 0, 1, 2, 255, 256, 400, 65535, 1 << 24])
    _fit(forge, rng)


def _passes(forge: Forge, rng: random.Random) -> None:
    """Passes more, fewer, doubled, in another order, or of any kind."""
    tables = _config(forge)
    passes = tables["passes"]
    for _ in range(rng.choice([1, 1, 2, 30])):
        change = rng.randrange(4)
        if change == 0 and passes:
            passes.pop(rng.randrange(len(passes)))
        elif change == 1 and passes:
            passes.insert(rng.randint(0, len(passes)), dict(rng.choice(passes)))
        elif change == 2:
            rng.shuffle(passes)
        else:
            passes.insert(rng.randint(0, len(passes)), _any_pass(tables["columns"], rng))


def _any_pass(columns: int, rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(get_args(tt.PassKind))
    column = rng.randrange(max(columns, 1))
    reads = kind in ("map", "normal-form", "clusters", "strip", "split", "words")
    made: dict[str, Any] = {"kind": kind, "column": column if reads or (kind == "added" and rng.random() < 0.5) else -1}
    if kind in ("normal-form", "clusters"):
        made |= {"classes": rng.randrange(max(columns, 1)), "compose": rng.random() < 0.5, "hangul": rng.random() < 0.5}
    made["pattern"] = rng.choice(["a", "▁", " ", "\0"])
    made |= {"content": rng.choice(["a", " ", "é", "x" * 64]), "unless": rng.choice(["", " "])}
    made |= {
        "least": rng.choice([0, 1, 2]),
        "where": rng.choice(get_args(tt.Prefixed)),
        "drops": rng.choice([0, 1, 65535]),
    }
    made |= {"left": True, "right": rng.random() < 0.5, "number": rng.randrange(2)}
    made["cuts"] = [rng.choice([0, 1, 7, 65535]) for _ in range(rng.choice([1, 3, 16]))]
    return made


def _fit(forge: Forge, rng: random.Random) -> None:
    """The tensors take the shapes that the config now calls for, whatever they then hold."""
    try:
        specs = token_tensors(Tokenization.from_json(_config(forge), ""), forge.config["architecture"]["vocab_size"])
    except FormatError:
        return
    changes: dict[str, np.ndarray | None] = {
        name: None for name in forge.header if name.startswith(tt.PREFIX) and not name.endswith(".padding")
    }
    for name, spec in specs.items():
        count = int(np.prod(spec.shape))
        if count > 1 << 22:
            return
        kind = DTYPES[spec.dtype]
        made = np.frombuffer(rng.randbytes(count * kind.itemsize), kind)
        if name in changes and (old := forge.tensor(name)).size:
            made = np.resize(old, count).astype(kind)
        changes[name] = made.reshape(spec.shape)
    forge.put(changes)


def _rest(forge: Forge, rng: random.Random) -> None:
    """What is left of tokenizer.json is something else."""
    tokenizer = json.loads(zlib.decompress(forge.tensor("tokenizer.json").tobytes()))
    change = rng.randrange(3)
    if change == 0:
        for _ in range(rng.choice([1, 2, 5])):
            spoil_json(tokenizer, rng)
    elif change == 1:
        tokenizer["model"] = rng.choice([*NASTY, {"vocab": rng.choice(NASTY)}, {"vocab": {"a": rng.choice(NASTY)}}])
    else:
        tokenizer = rng.choice(NASTY)
    text = json.dumps(tokenizer, ensure_ascii=False).encode("utf-8", "replace")
    forge.put({"tokenizer.json": np.frombuffer(zlib.compress(text, 1), np.uint8)})


_KINDS = [
    _numbers,
    _numbers,
    _numbers,
    _characters,
    _characters,
    _stream,
    _settings,
    _key,
    _key,
    _passes,
    _passes,
    _rest,
]
