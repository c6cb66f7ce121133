"""A Network becomes what a minibert file holds: the config, and every tensor in the layout that the kernels read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minibert.format import Config, pack_float32, pack_int8, pack_tokenizer, padded
from minibert.format.schema import Table

from .network import AnyLinear, AnyTable, LinearWeights, Network, QuantizedTable

Tensors = dict[str, npt.NDArray[Any]]


def export(network: Network) -> tuple[Config, Tensors]:
    """The config and tensors of the file; what `minibert.format.write_model` takes.

    Args:
        network: the model; not changed, and its tables are not copied.

    Returns:
        The config, without a report yet, and tensors by name as docs/FORMAT.md has them.
    """
    config = Config(
        architecture=network.architecture,
        task=network.task,
        text=network.text,
        linears={name: linear.schema() for name, linear in network.linears.items()},
        tables={name: _table_schema(table) for name, table in network.tables.items()},
        recipe={"passes": list(network.recipe)},
        provenance=network.provenance,
    )
    tensors: Tensors = {}
    for name, table in network.tables.items():
        tensors |= table_tensors(name, table)
    for name, linear in network.linears.items():
        tensors |= linear_tensors(name, linear)
    for name, norm in network.norms.items():
        tensors |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    tensors["tokenizer.json"] = pack_tokenizer(network.tokenizer_json)
    return config, tensors


def linear_tensors(name: str, linear: AnyLinear) -> Tensors:
    """The tensors of one matrix: panels of 16 outputs, and vectors padded to whole panels."""
    tensors: Tensors
    if isinstance(linear, LinearWeights):
        tensors = {f"{name}.weight": pack_float32(linear.weight)}
    else:
        sums = linear.q.sum(axis=1, dtype=np.int32)
        tensors = {
            f"{name}.weight": pack_int8(linear.q),
            f"{name}.scale": _to_panels(linear.scale),
            f"{name}.weight_sum": _to_panels(sums),
        }
        if linear.input_factor is not None:
            tensors[f"{name}.input_factor"] = linear.input_factor
    tensors[f"{name}.bias"] = _to_panels(linear.bias)
    return tensors


def table_tensors(name: str, table: AnyTable) -> Tensors:
    """The tensors of one embedding table."""
    if isinstance(table, QuantizedTable):
        return {f"{name}.weight": table.q, f"{name}.scale": _to_panels(table.scale)}
    return {f"{name}.weight": table}


def _table_schema(table: AnyTable) -> Table:
    return table.schema() if isinstance(table, QuantizedTable) else Table("float32", table.shape[0])


def _to_panels(vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The vector with zeros up to a whole number of panels."""
    return np.pad(vector, (0, padded(vector.size) - vector.size))
