"""Seeded ways to damage a model file: from a flipped bit to a config that lies consistently."""

from __future__ import annotations

import copy
import json
import random

import numpy as np

from minibert.format.relative import DISTANCE_ROWS
from tests.format.forge import Forge

#: Values that break the assumptions of a parser, a size computation or a loop.
NASTY = [
    *(0, 1, -1, 2, 3, 15, 16, 17, 63, 64, 255, 256, 257, 65535, 65536, 65537),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**38),
    *(0.0, -0.0, 0.5, 1.0, 16.0, 1e-320, 1e308, True, False, None, "", "0", "16", "I8", "F32", "U8", "int8", "float32"),
    *(4, 8, "int4", "codebook", "int4-4x4"),
    *([], [0], [1, 1], [16, 4], {}, {"dtype": "I8"}, "\x00", "\u202e", "🤗", "x" * 5000, "tokenizer.json", ".padding"),
]


def mutate(forge: Forge, rng: random.Random) -> bytes:
    """The bytes of a damaged file; `forge` is spoiled."""
    sparse = any(name.endswith(".index") for name in forge.header)
    small = any(linear["group_size"] for linear in forge.config["linears"].values())
    blocks = any(linear["kind"] == "int4-4x4" for linear in forge.config["linears"].values())
    places = (sparse or DISTANCE_ROWS in forge.header) * [_places] * 6
    kind = rng.choice(_KINDS + places + sparse * [_block_counts] * 2 + small * _SMALL_KINDS + blocks * _SMALL_BLOCKS)
    return kind(forge, rng)


def _leaves(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))


def _parent(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


def spoil_json(root, rng: random.Random) -> None:
    """One change somewhere in a JSON object: a value replaced, nudged, removed, doubled, moved or renamed."""
    path = rng.choice([path for path in _leaves(root) if path])
    parent, key = _parent(root, path), path[-1]
    value = parent[key]
    change = rng.randrange(7)
    if change == 0 and type(value) is int:
        parent[key] = value + rng.choice([-64, -16, -4, -1, 1, 4, 16, 64, value])
    elif change == 1:
        del parent[key]
    elif change == 2 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(value))
    elif change == 2:
        parent[rng.choice([str(key) + "x", str(key).upper(), "layers.9.ffn.up", "head.x"])] = copy.deepcopy(value)
    elif change == 3:
        other = rng.choice([path for path in _leaves(root) if path])
        parent[key] = copy.deepcopy(_parent(root, other)[other[-1]])
    elif change == 4 and isinstance(value, list):
        rng.shuffle(value)
    elif change == 5 and isinstance(parent, dict):
        name = rng.choice(list(parent))
        parent[name] = parent.pop(key)
    else:
        parent[key] = copy.deepcopy(rng.choice(NASTY))


def _header_values(forge: Forge, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 5])):
        spoil_json(forge.header, rng)
    return forge.bytes()


def _config_values(forge: Forge, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 5])):
        spoil_json(forge.config, rng)
    return forge.bytes()


def _metadata_values(forge: Forge, rng: random.Random) -> bytes:
    forge.metadata["config"] = json.dumps(forge.config)
    forge.config = None
    spoil_json(forge.metadata, rng)
    return forge.bytes()


def _sizes(forge: Forge, rng: random.Random) -> bytes:
    """A size changed everywhere that it occurs in the config, and in the shapes too: a lie that agrees with itself."""
    size = rng.choice([40, 48, 12, 52, 64, 144, 23, 17, 3, 20, 32])
    other = rng.choice([size * 2, size * 16, size + 16, max(1, size - 16), size // 2, 2**31, 2**33, 1])
    roots = [forge.config, *([forge.header] if rng.random() < 0.5 else [])]
    for root in roots:
        for path in [path for path in _leaves(root) if path and "data_offsets" not in path]:
            parent = _parent(root, path)
            if type(parent[path[-1]]) is int and parent[path[-1]] == size:
                parent[path[-1]] = other
    return forge.bytes()


def _shapes(forge: Forge, rng: random.Random) -> bytes:
    """Another shape of the same number of elements."""
    entry = rng.choice(list(forge.header.values()))
    shape = entry["shape"]
    change = rng.randrange(4)
    if change == 0:
        shape.append(1)
    elif change == 1:
        rng.shuffle(shape)
    elif change == 2:
        shape[0] *= -1
        shape.insert(0, -1)
    else:
        index = rng.randrange(len(shape))
        shape[index] += 2**64
    return forge.bytes()


def _offsets(forge: Forge, rng: random.Random) -> bytes:
    """Ranges swapped, shifted, stretched, or laid on one another."""
    first, second = rng.sample(list(forge.header.values()), 2)
    change = rng.randrange(5)
    if change == 0:
        first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]
    elif change == 1:
        first["data_offsets"] = list(second["data_offsets"])
    elif change == 2:
        distance = rng.choice([-(2**63), -64, -1, 1, 64, 2**32, 2**63, 2**64, len(forge.data)])
        first["data_offsets"] = [offset + distance for offset in first["data_offsets"]]
    elif change == 3:
        distance = rng.choice([1, 16, 64, 128])
        for entry in forge.header.values():
            entry["data_offsets"] = [offset + distance for offset in entry["data_offsets"]]
        forge.data[:0] = bytes(distance)
    else:
        first["data_offsets"][rng.randrange(2)] += rng.choice([-64, -1, 1, 64])
    return forge.bytes()


def _dtypes(forge: Forge, rng: random.Random) -> bytes:
    entry = rng.choice(list(forge.header.values()))
    entry["dtype"] = rng.choice(["I8", "U8", "F32", "I32", "U32", "F16", "BF16", "I64", "F64", "BOOL", "F4", "I9", ""])
    if rng.random() < 0.5 and entry["shape"]:
        entry["shape"][-1] //= rng.choice([1, 2, 4])
    return forge.bytes()


def _aliases(forge: Forge, rng: random.Random) -> bytes:
    """Tensors removed, moved or kept, and aliased to others: chains, cycles, wrong shapes, and now and then right."""
    names = list(forge.header)
    for _ in range(rng.choice([1, 2, 3])):
        name = rng.choice([*names, *forge.config["aliases"], "evil"])
        forge.config["aliases"][name] = rng.choice([*names, *forge.config["aliases"], "evil", name])
        if rng.random() < 0.5:
            forge.header.pop(name, None)
    return forge.bytes()


def _header_text(forge: Forge, rng: random.Random) -> bytes:
    """Characters of the header's text removed, doubled or replaced."""
    text = forge.header_text()
    for _ in range(rng.choice([1, 1, 2, 8])):
        begin = rng.randrange(len(text))
        end = min(len(text), begin + rng.choice([0, 1, 1, 2, 10, 200]))
        insert = rng.choice(
            ["", text[begin:end] * 2, *'{}[],:"\\09e-. \0é', "null", "1e999", "NaN", "\\ud800", "[[[[[["]
        )
        text = text[:begin] + insert + text[end:]
    return forge.bytes(text)


def _header_bits(forge: Forge, rng: random.Random) -> bytes:
    content = bytearray(forge.bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.randrange(len(content) - len(forge.data))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _any_bits(forge: Forge, rng: random.Random) -> bytes:
    content = bytearray(forge.bytes())
    for _ in range(rng.choice([1, 8, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _length(forge: Forge, rng: random.Random) -> bytes:
    content = forge.bytes()
    length = int.from_bytes(content[:8], "little")
    lie = rng.choice([length + rng.randrange(-100, 100), rng.randrange(2 * len(content)), rng.randrange(2**64)])
    return max(0, lie).to_bytes(8, "little") + content[8:]


def _truncated(forge: Forge, rng: random.Random) -> bytes:
    content = forge.bytes()
    return content[
        : rng.choice([rng.randrange(len(content)), len(content) - rng.randrange(1, 100), rng.randrange(100)])
    ]


def _spliced(forge: Forge, rng: random.Random) -> bytes:
    """A stretch of the file removed, doubled, or written over with another."""
    content = forge.bytes()
    begin, source = rng.randrange(len(content)), rng.randrange(len(content))
    size = rng.choice([1, 8, 64, 4096])
    keep = rng.choice([0, size])
    return content[:begin] + rng.choice([b"", content[source : source + size]]) + content[begin + keep :]


def _tensor_of(forge: Forge, rng: random.Random, parts: list[str]) -> np.ndarray:
    """The contents of one of the tensors that are called so and have any."""
    names = [name for name in forge.header if name.rpartition(".")[2] in parts and forge.header[name]["shape"] != [0]]
    return forge.tensor(rng.choice(names))


def _places(forge: Forge, rng: random.Random) -> bytes:
    """Numbers of index, starts or distance_rows replaced, nudged, exchanged, copied, shifted, sorted, or as noise."""
    for _ in range(rng.choice([1, 1, 1, 3])):
        values = _tensor_of(forge, rng, ["index", "starts", "distance_rows"])
        first, second = rng.randrange(values.size), rng.randrange(values.size)
        limits = np.iinfo(values.dtype)
        nasty = [value for value in NASTY if type(value) is int and limits.min <= value <= limits.max]
        change = rng.randrange(8)
        if change == 0:
            values[first] = rng.choice([*nasty, limits.min, limits.max])
        elif change == 1:
            with np.errstate(over="ignore"):
                values[first] += rng.choice([1, 1, limits.max])
        elif change == 2:
            values[[first, second]] = values[[second, first]]
        elif change == 3:
            values[first] = values[second]
        elif change == 4:
            values[:] = np.roll(values, rng.choice([-1, 1, first]))
        elif change == 5:
            values[min(first, second) : max(first, second)].sort()
        elif change == 6:
            values[first:] = np.frombuffer(rng.randbytes(values[first:].nbytes), values.dtype)
        else:
            values[first:] = rng.choice([*nasty, int(values[first])])
    return forge.bytes()


def _block_counts(forge: Forge, rng: random.Random) -> bytes:
    """Another number of blocks, in the config alone or in the shapes and ranges too, with the rest as padding."""
    names = [name for name, linear in forge.config["linears"].items() if f"{name}.index" in forge.header]
    name = rng.choice(names)
    linear = forge.config["linears"][name]
    linear["blocks"] = max(0, linear["blocks"] + rng.choice([-64, -32, -4, -1, 1, 4, 32, 2**16, 2**31, 2**32]))
    if rng.random() < 0.7:
        runs = -(-linear["blocks"] // 8)
        of_four_bits = ("codes", 8, 8 * runs), ("multiplier", 4, runs)
        own = (("blocks", 16, linear["blocks"]),) if linear["kind"] == "int8-4x4" else of_four_bits
        for part, size, count in (*own, ("index", 2, linear["blocks"])):
            entry = forge.header[f"{name}.{part}"]
            begin, end = entry["data_offsets"]
            end += -end % 64 if f"{name}.{part}.padding" in forge.header else 0
            split = begin + size * count
            entry["shape"][0], entry["data_offsets"] = count, [begin, split]
            if split != end:
                padding = forge.header.setdefault(f"{name}.{part}.padding", {"dtype": entry["dtype"]})
                padding |= {"shape": [(end - split) // (2 if part == "index" else 1)], "data_offsets": [split, end]}
            else:
                forge.header.pop(f"{name}.{part}.padding", None)
    return forge.bytes()


def _group_sizes(forge: Forge, rng: random.Random) -> bytes:
    """Another number of inputs to a multiplier; now and then one with which there are as many multipliers."""
    linear = rng.choice([linear for linear in forge.config["linears"].values() if linear["group_size"]])
    linear["group_size"] = rng.choice([-4, 0, 1, 4, 8, 28, 30, 32, 36, 44, 48, 64, 65536, 65540, 2**64, 32.0, "32"])
    return forge.bytes()


def _multipliers(forge: Forge, rng: random.Random) -> bytes:
    values = _tensor_of(forge, rng, ["multiplier"]).reshape(-1)
    for _ in range(rng.choice([1, 1, 9])):
        values[rng.randrange(values.size)] = rng.choice([0, 1, 18, 19, 127, 128, 255])
    return forge.bytes()


def _filling(forge: Forge, rng: random.Random) -> bytes:
    """Codes behind the last block of a matrix, which no group of outputs has."""
    few = [name for name, linear in forge.config["linears"].items() if linear["kind"] == "int4-4x4"]
    name = rng.choice([name for name in few if f"{name}.codes" in forge.header])
    codes = forge.tensor(f"{name}.codes")[forge.config["linears"][name]["blocks"] :].reshape(-1)
    if codes.size:
        codes[rng.randrange(codes.size)] = rng.randrange(256)
    return forge.bytes()


_SMALL_BLOCKS = [_filling, _multipliers]
_SMALL_KINDS = [_group_sizes, _multipliers, _multipliers]
_KINDS = [
    *(_header_values, _header_values, _config_values, _config_values, _config_values, _metadata_values),
    *(_sizes, _shapes, _offsets, _offsets, _dtypes, _aliases),
    *(_header_text, _header_bits, _any_bits, _length, _truncated, _spliced),
]
