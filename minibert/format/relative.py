"""Tables of keys and queries of distances (DeBERTa, arXiv 2006.03654): what they are called, and their rows' proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibert.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The row of each distance of a query behind its key, from the furthest ahead of it on.
DISTANCE_ROWS = "embeddings.distance_rows"
#: What a layer's attention has a table of for distances.
POSITION_TABLES = ("position_key", "position_query")


def prove_distance_rows(rows: NDArray[np.int32], count: int) -> None:
    """Raise FormatError unless each distance has one of the tables' `count` rows."""
    if rows.min() < 0 or rows.max() >= count:
        raise FormatError(f"tensor '{DISTANCE_ROWS}' must hold rows from 0 to {count - 1}")
