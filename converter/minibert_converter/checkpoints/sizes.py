"""The sizes of a network, from config.json and from which tensors there are."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Sizes:
    """The numbers of config.json that give every tensor its shape.

    Attributes:
        max_positions: tokens of the longest text.
        task_types: rows of the table of task types.
        embedding_size: columns of the embedding tables, if a matrix brings them to `hidden_size`; else 0.
        num_groups: layers that have weights of their own, which consecutive layers share; 0 if all do.
        own_head_size: features of one attention head, where they aren't hidden_size / num_heads; else 0.
        key_heads: heads of keys and values, which as many neighbouring heads of queries share; 0 if each has its own.
        first_position: rows of the position table before the one of a text's first token.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    ffn_size: int
    vocab_size: int
    max_positions: int
    token_types: int = 0
    task_types: int = 0
    embedding_size: int = 0
    num_groups: int = 0
    own_head_size: int = 0
    key_heads: int = 0
    first_position: int = 0

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.own_head_size or self.hidden_size // self.num_heads

    @property
    def table_size(self) -> int:
        """Columns of the embedding tables."""
        return self.embedding_size or self.hidden_size

    def group(self, layer: int) -> int:
        """Number of the weights that a layer uses."""
        return layer * self.num_groups // self.num_layers if self.num_groups else layer


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
