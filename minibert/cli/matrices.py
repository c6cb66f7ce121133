"""The matrices of a model file as `minibert inspect` shows them: what each is stored as, and how much of it is zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minibert.cli import console

if TYPE_CHECKING:
    from minibert.format import Linear, ModelFile

#: Tensors of a matrix that hold its weights.
_WEIGHTS = {
    "float32": ("weight",),
    "int8": ("weight",),
    "int8-4x4": ("blocks", "index", "starts"),
    "int4": ("codes", "multiplier"),
    "int4-4x4": ("codes", "index", "starts", "multiplier"),
    "codebook": ("codes", "codebook"),
}


def list_matrices(file: ModelFile) -> list[dict[str, Any]]:
    """Every matrix in the order of a forward pass; its weights are read once, to count those that aren't zero.

    Returns:
        Dicts of name, kind, outputs, inputs; pattern: "4x4" if only some blocks are stored, else "dense"; density:
        the fraction of the weights that is stored, which is what a kernel multiplies; nonzero: the fraction that
        isn't zero; bytes: of the weights in the file with their places, 0 if another matrix has them already; kernel:
        the product that multiplies it on this machine.
    """
    matrices = []
    # In the order of the tensors: the config's own order is whoever wrote it's.
    for name in dict.fromkeys(tensor.rpartition(".")[0] for tensor in file.tensors):
        linear = file.config.linears.get(name)
        if linear is None:
            continue
        tensors = [f"{name}.{part}" for part in _WEIGHTS[linear.kind]]
        stored = [tensor for tensor in tensors if tensor not in file.config.aliases]
        weights = linear.in_features * linear.out_features
        matrices.append(
            {
                "name": name,
                "kind": linear.kind,
                "outputs": linear.out_features,
                "inputs": linear.in_features,
                "pattern": "4x4" if linear.kind.endswith("-4x4") else "dense",
                "density": linear.density,
                "nonzero": _nonzero(file, name, linear) / weights,
                "bytes": sum(file.tensors[tensor].nbytes for tensor in stored),
                "kernel": _kernel(linear),
            }
        )
    return matrices


def _nonzero(file: ModelFile, name: str, linear: Linear) -> int:
    """How many weights aren't zero."""
    from minibert.format import expand_blocks, expand_four_bit, unpack_int8

    if linear.kind == "int4-4x4":
        return int((expand_blocks(name, linear, file.tensors) != 0).sum())
    if linear.kind in ("int4", "codebook"):
        panels = expand_four_bit(name, linear, file.tensors)
        return int((unpack_int8(panels, linear.out_features) != 0).sum())
    return int((file.tensors[f"{name}.{_WEIGHTS[linear.kind][0]}"] != 0).sum())


def _kernel(linear: Linear) -> str:
    """Which product this machine takes: blocks, or sometimes a dense copy, as measured or overridden."""
    from minibert.engine.crossover import ANY_NUMBER, ratios
    from minibert.engine.library import chosen_isa

    if not linear.kind.endswith("-4x4"):
        return {"float32": "float32", "int8": "dense"}.get(linear.kind, "dense, as int8")
    blocks = "blocks" if linear.kind == "int8-4x4" else "blocks, as int8"
    dense = ratios(chosen_isa()).dense_tokens(linear.density)
    if not dense:
        return blocks
    if dense.start:
        return f"{blocks}; dense copy from {dense.start} tokens"
    return "dense copy" if dense.stop == ANY_NUMBER else f"{blocks}; dense copy below {dense.stop} tokens"


def matrices_table(matrices: list[dict[str, Any]], *, each: bool) -> str:
    """The matrices as lines of text: each by itself, or the same matrix of several layers on one line."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for matrix in matrices:
        name = matrix["name"] if each else _without_layer(matrix["name"])
        key = (name, matrix["kind"], matrix["outputs"], matrix["inputs"])
        groups.setdefault(key, []).append(matrix)
    rows = []
    for (name, kind, outputs, inputs), group in groups.items():
        layers = [int(matrix["name"].split(".")[1]) for matrix in group if matrix["name"].startswith("layers.")]
        rows.append(
            (
                name.replace("*", _ranges(layers)),
                kind,
                f"{outputs}x{inputs}",
                group[0]["pattern"],
                _percent(matrix["density"] for matrix in group),
                _percent(matrix["nonzero"] for matrix in group),
                ", ".join(dict.fromkeys(matrix["kernel"] for matrix in group)),
                console.megabytes(size) if (size := sum(matrix["bytes"] for matrix in group)) else "shared",
            )
        )
    return console.table(
        rows, ("matrix", "kind", "outputs x inputs", "pattern", "density", "nonzero", "bytes", "kernel")
    )


def _without_layer(name: str) -> str:
    """layers.*.ffn.up for layers.3.ffn.up; other names as they are."""
    words = name.split(".")
    return ".".join([words[0], "*", *words[2:]]) if words[0] == "layers" else name


def _ranges(numbers: list[int]) -> str:
    """0-3,5 for 0, 1, 2, 3, 5."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _percent(fractions: Iterable[float]) -> str:
    """The least and the greatest fraction, or the one that all are, as far as one decimal shows."""
    values = list(fractions)
    least, greatest = f"{100 * min(values):.1f}", f"{100 * max(values):.1f}"
    return f"{least}%" if least == greatest else f"{least}-{greatest}%"
