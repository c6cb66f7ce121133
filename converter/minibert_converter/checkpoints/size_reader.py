"""The sizes of a network, read from config.json and from which tensors there are."""

from __future__ import annotations

from minibert.errors import CheckpointError
from minibert.format.constants import (
    MAX_HEAD_SIZE,
    MAX_HEADS,
    MAX_HIDDEN_SIZE,
    MAX_LAYERS,
    MAX_POSITIONS,
    MAX_TOKEN_TYPES,
    MAX_VOCAB_SIZE,
    MAX_WIDTH,
)
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.family import Family
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.sizes import Sizes

#: Those of the format. Rows of positions that are never used stand before the format's.
_MOST = {
    "hidden_size": MAX_HIDDEN_SIZE,
    "num_layers": MAX_LAYERS,
    "num_heads": MAX_HEADS,
    "ffn_size": MAX_WIDTH,
    "vocab_size": MAX_VOCAB_SIZE,
    "max_positions": 2 * MAX_POSITIONS,
    "token_types": MAX_TOKEN_TYPES,
    "task_types": MAX_TOKEN_TYPES,
    "embedding_size": MAX_HIDDEN_SIZE,
    "num_groups": MAX_LAYERS,
    "own_head_size": MAX_HEAD_SIZE,
    "key_heads": MAX_HEADS,
}


#: Those that config.json may leave out, or say null.
_OPTIONAL = ("own_head_size", "key_heads")


def read_sizes(config: ConfigFile, family: Family, tensors: NamedTensors) -> Sizes:
    """The sizes, proved to go together.

    A checkpoint without a table of token types has none, whatever its config.json says: transformers would make one
    up at random.

    Raises:
        CheckpointError: a size is missing, absurd, or the heads do not divide the hidden size.
    """
    least = {"token_types": 0}
    said = {name: key for name, key in family.sizes.items() if name not in _OPTIONAL or config.value(key) is not None}
    numbers = {name: config.size(key, least.get(name, 1), _MOST[name]) for name, key in said.items()}
    for name, key in family.used_if.items():
        if not config.flag(key):
            numbers[name] = 0
    for size, name in (("token_types", "embeddings.token_type"), ("embedding_size", "embeddings.projection")):
        if f"{family.tensors.get(name)}.weight" not in tensors:
            if size == "embedding_size" and numbers.get(size) not in (None, numbers["hidden_size"]):
                tensors.refuse_missing([f"{family.tensors[name]}.weight"])
            numbers[size] = 0
    if family.padding_id is not None:
        numbers["first_position"] = config.size(family.padding_id, 0) + 1
        numbers["max_positions"] -= numbers["first_position"]
        if numbers["max_positions"] < 1:
            raise CheckpointError(
                f"{config.path}: {family.padding_id.name} leaves no row of the {family.sizes['max_positions'].name} "
                "rows of positions to a token"
            )
    sizes = Sizes(**numbers)
    if sizes.num_groups > sizes.num_layers:
        raise CheckpointError(
            f"{config.path}: {family.sizes['num_groups'].name} is {sizes.num_groups}, more than the layers"
        )
    if sizes.num_heads % (sizes.key_heads or 1):
        raise CheckpointError(
            f"{config.path}: {family.sizes['key_heads'].name} is {sizes.key_heads}, which does not divide "
            f"{family.sizes['num_heads'].name}, {sizes.num_heads}"
        )
    if sizes.hidden_size % sizes.num_heads and not sizes.own_head_size:
        raise CheckpointError(
            f"{config.path}: {family.sizes['num_heads'].name} is {sizes.num_heads}, which does not divide "
            f"{family.sizes['hidden_size'].name}, {sizes.hidden_size}"
        )
    return sizes
