"""The sizes of a network."""

from __future__ import annotations

from dataclasses import dataclass


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
