"""Seeded changes of a config's names, roles and numbers: what is called like another part, or lies in its place."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from minibert.errors import FormatError
from minibert.format import Config, expected_tensors, padded
from tests.format.mutations import NASTY, spoil_json
from tests.format.random_models import ACTIVATIONS, KINDS, TABLE_KINDS, TASKS, random_linear

#: What the format makes new names of.
PARTS = (
    *("low_rank.down", "low_rank.up", "low_rank", "norm", "weight", "scale", "weight_sum", "bias", "input_factor"),
    *("codes", "codebook", "multiplier", "blocks", "index", "starts", "padding", "position_bias", "0"),
    *("position_key", "position_query", "distance_rows"),
)


def change_roles(config: dict[str, Any], rng: random.Random) -> None:
    """One to three changes of a config in plain JSON, made in place."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        rng.choice(_CHANGES)(config, rng)


def any_name(config: dict[str, Any], rng: random.Random) -> str:
    """A name of this or of some other model, of a linear or of a part of one."""
    name = rng.choice(
        [
            *config["linears"],
            *config["tables"],
            *(f"layers.{rng.randrange(4)}.{part}" for part in ("attention.qkv", "attention.output", "ffn.up")),
            *("embeddings.projection", "embeddings.word_projection", "embeddings.norm", "tokenizer.json"),
            *(f"exits.{rng.randrange(3)}", "head.a", f"head.{rng.randrange(3)}", "head", ""),
        ]
    )
    return f"{name}.{rng.choice(PARTS)}" if rng.random() < 0.5 else name


def _rename_head(config: dict[str, Any], rng: random.Random) -> None:
    """Head layers take names of parts of others, with their matrices: sizes still agree all along."""
    head = config["architecture"]["head"]
    for layer in rng.sample(head, rng.randint(0, len(head))):
        old = layer["name"]
        new = f"{rng.choice(head)['name']}.{rng.choice(PARTS[:4])}" if rng.random() < 0.7 else any_name(config, rng)
        layer["name"] = new
        if old in config["linears"]:
            config["linears"][new] = config["linears"].pop(old)


def _pose_as_low_rank(config: dict[str, Any], rng: random.Random) -> None:
    """Two head layers are called like the low-rank part of a third."""
    head, linears = config["architecture"]["head"], config["linears"]
    if len(head) < 3:
        return
    down, up, owner = rng.sample(head, 3)
    for layer, part in ((down, "down"), (up, "up")):
        new = f"{owner['name']}.low_rank.{part}"
        linears[new] = linears.pop(layer["name"])
        layer["name"] = new


def _insert_head(config: dict[str, Any], rng: random.Random) -> None:
    """One more layer in the head, of sizes that fit to what stands beside it."""
    head, linears = config["architecture"]["head"], config["linears"]
    place = rng.randint(0, max(0, len(head) - 1))
    before = head[place - 1]["name"] if place else ""
    width = linears[before]["out_features"] if before in linears else config["architecture"]["hidden_size"]
    name = any_name(config, rng) if rng.random() < 0.5 else f"{rng.choice(list(linears))}.{rng.choice(PARTS[:2])}"
    head.insert(place, {"name": name, "activation": rng.choice(ACTIVATIONS), "norm": rng.random() < 0.3})
    linears[name] = random_linear(rng, padded(width), width, KINDS)


def _exchange(config: dict[str, Any], rng: random.Random) -> None:
    """Two linears, tables or head layers change places."""
    part = rng.choice([config["linears"], config["tables"], config["architecture"]["head"]])
    places = list(part) if isinstance(part, dict) else list(range(len(part)))
    if len(places) > 1:
        first, second = rng.sample(places, 2)
        part[first], part[second] = part[second], part[first]


def _rename_linear(config: dict[str, Any], rng: random.Random) -> None:
    linears = config["linears"]
    linears[any_name(config, rng)] = linears.pop(rng.choice(list(linears)))


def _copy_linear(config: dict[str, Any], rng: random.Random) -> None:
    linears = config["linears"]
    linears[any_name(config, rng)] = dict(linears[rng.choice(list(linears))])


def _low_rank(config: dict[str, Any], rng: random.Random) -> None:
    """A low-rank part, or a half, beside a linear, a table, an exit, a part of a part, or nothing."""
    name = rng.choice([*config["linears"], any_name(config, rng)])
    beside = config["linears"].get(name) or random_linear(rng, 16, 16, KINDS)
    inputs, outputs, rank = beside["in_features"], beside["out_features"], rng.choice([1, 16, 20])
    kinds = ("float32",) if beside["kind"] == "float32" else KINDS
    for part, sizes in (("down", (inputs, rank)), ("up", (padded(rank), outputs))):
        if rng.random() < 0.9:
            config["linears"][f"{name}.low_rank.{part}"] = random_linear(rng, *sizes, kinds)


def _alias(config: dict[str, Any], rng: random.Random) -> None:
    """Anything is anything else: mostly of the same dtype and shape, and now and then through another alias."""
    try:
        specs = expected_tensors(Config.from_json(config))
    except FormatError:
        return
    for _ in range(rng.choice([1, 2, 8])):
        name = rng.choice(list(specs))
        like = [other for other, spec in specs.items() if spec == specs[name] and other not in config["aliases"]]
        target = rng.choice(like) if like and rng.random() < 0.8 else rng.choice([*specs, any_name(config, rng)])
        if target != name or rng.random() < 0.1:
            config["aliases"][name] = target


def _move_layer(config: dict[str, Any], rng: random.Random) -> None:
    """An encoder layer or exit more, fewer, or elsewhere, with or without its matrices."""
    layers, linears = config["architecture"]["layers"], config["linears"]
    change = rng.randrange(4)
    if change == 0:
        layers.insert(rng.randint(0, len(layers)), dict(rng.choice(layers)))
        for name in [name for name in linears if name.startswith("layers.0.")]:
            linears.setdefault(name.replace("layers.0", f"layers.{len(layers) - 1}", 1), dict(linears[name]))
    elif change == 1 and len(layers) > 1:
        layers.pop(rng.randrange(len(layers)))
        if rng.random() < 0.7:
            for name in [name for name in linears if name.startswith(f"layers.{len(layers)}.")]:
                del linears[name]
    elif change == 2:
        after = rng.randrange(len(layers) + 1)
        config["architecture"].setdefault("exits", []).append({"after": after, "threshold": rng.random()})
        outputs, inputs = len(config["task"].get("labels", ())), padded(config["architecture"]["hidden_size"])
        linears[f"exits.{after}"] = random_linear(rng, inputs, max(1, outputs), KINDS)
    else:
        rng.shuffle(layers)


def _kind(config: dict[str, Any], rng: random.Random) -> None:
    """Another kind of a matrix or of a table."""
    if rng.random() < 0.6:
        name = rng.choice(list(config["linears"]))
        linear = config["linears"][name]
        config["linears"][name] = random_linear(rng, linear["in_features"], linear["out_features"], KINDS)
    elif config["tables"]:
        table = rng.choice(list(config["tables"].values()))
        table["kind"] = rng.choice((*TABLE_KINDS, "float32-panels", "int8-panels"))
        table["subvector_size"] = rng.choice([4, 8, 16]) if table["kind"] == "codebook" else 0


def _feature(config: dict[str, Any], rng: random.Random) -> None:
    """Another pooling, task, or feature, as if the tensors were made for it."""
    architecture = config["architecture"]
    key = rng.choice(
        [
            *("pooling", "gated", "pre_norm", "normalize", "position_bias", "position_table", "relative_rows"),
            *("activation", "layers", "task", "norm", "sum_of_embeddings", "pool_after"),
        ]
    )
    if key == "relative_rows":
        architecture[key] = rng.choice([0, 1, 40, 131072])
    elif key == "pooling":
        architecture[key] = rng.choice(["none", "cls", "mean", "max", "last"])
    elif key == "activation":
        architecture[key] = rng.choice(ACTIVATIONS)
    elif key == "pool_after":
        architecture[key] = rng.choice([0, 1, 2, 16])
    elif key == "norm":
        architecture[key] = rng.choice(["layer", "rms"])
    elif key == "task":
        config["task"]["kind"] = rng.choice(TASKS)
    elif key == "layers":
        values = {"window": [0, 1, 64, 65536], "rotary_base": [0, 2.0, 1e9], "keep_tokens": [1, 1e-300, 0.5]}
        values["rotary"] = [0, 1, 2, 3]
        part = rng.choice(list(values))
        rng.choice(architecture["layers"])[part] = rng.choice(values[part])
    else:
        architecture[key] = not architecture.get(key, key == "position_table")


def _number(config: dict[str, Any], rng: random.Random) -> None:
    """One number changed where it stands, or everywhere that it stands."""
    old = rng.choice([1, 2, 3, 12, 16, 24, 30, 40, 48, 64, 100])
    new = rng.choice([old + 1, old + 16, old * 2, max(1, old - 1), *(n for n in NASTY if type(n) is int)])
    everywhere = rng.random() < 0.7

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item) for item in value]
        return new if type(value) is int and value == old and (everywhere or rng.random() < 0.2) else value

    changed = copy.deepcopy(replaced(config))
    config.clear()
    config.update(changed)


_CHANGES: list[Callable[[dict[str, Any], random.Random], None]] = [
    *(
        _rename_head,
        _rename_head,
        _pose_as_low_rank,
        _insert_head,
        _insert_head,
        _exchange,
        _rename_linear,
        _copy_linear,
    ),
    *(_low_rank, _low_rank, _alias, _alias, _alias, _move_layer, _move_layer, _kind, _kind, _feature, _feature),
    *(_number, spoil_json),
]
