"""Rows of embedding tables in plain NumPy, for each way in which they are stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minibert.format.constants import LANES, NIBBLE_GROUP
from minibert.format.layout import unpack_nibbles
from minibert.format.parts import Table


def look_up(name: str, table: Table, tensors: Mapping[str, np.ndarray], index: np.ndarray) -> np.ndarray:
    """Rows of a table.

    Args:
        name: of the table, as its tensors' names begin.
        table: how it is stored.
        tensors: of the model, in the file's layouts.
        index: int [n], which rows.

    Returns:
        float32 [n, columns], padding included.
    """
    if table.kind in ("float32", "int8"):
        rows = tensors[f"{name}.weight"][index]
    elif table.kind in ("float32-panels", "int8-panels"):
        rows = tensors[f"{name}.weight"][index // LANES, :, index % LANES].reshape(len(index), -1)
    elif table.kind == "codebook":
        codes = tensors[f"{name}.codes"][index]
        rows = tensors[f"{name}.codebook"][np.arange(codes.shape[1]), codes].reshape(len(index), -1)
    else:
        rows = unpack_nibbles(tensors[f"{name}.codes"][index]).astype(np.int32)
        times = np.repeat(tensors[f"{name}.multiplier"][index].astype(np.int32), NIBBLE_GROUP, axis=1)
        rows = rows * times[:, : rows.shape[1]]
    if table.kind.startswith("float32"):
        return rows
    return rows.astype(np.float32) * tensors[f"{name}.scale"][index][:, None]
