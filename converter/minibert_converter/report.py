"""What a conversion did to each part of a model: parameters, bytes before and after, error added."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minibert.format.token_tables import PREFIX
from minibert_converter.export import SHARED_PARTS, Tensors
from minibert_converter.network import Network
from minibert_converter.recipe import PassReport

#: Tensors that one name of a network may become.
ENDINGS = (*SHARED_PARTS, "bias")
_PARTS = ("", ".low_rank.down", ".low_rank.up")


@dataclass(frozen=True)
class Part:
    """One row of the report.

    Attributes:
        name: a table, a half of a layer ("layers.0.attention"), the head, or the tokenizer.
        parameters: numbers in the checkpoint.
        bytes_before: bytes they took there, in the type they were stored in.
        bytes_after: bytes of the tensors in the file, padding included.
        error: largest relative error that a pass added to what one of the part's matrices returns, on calibration
            texts (for a table, to its rows): root of the mean square error over the standard deviation; 0 where
            nothing changed.
        density: of the weights of the part's encoder matrices in the checkpoint, the part in 4x4 blocks that still
            hold one; 1 where nothing was pruned.
    """

    name: str
    parameters: int
    bytes_before: int
    bytes_after: int
    error: float = 0.0
    density: float = 1.0


@dataclass(frozen=True)
class Report:
    """The outcome of a conversion.

    Attributes:
        task: what the model answers.
        parts: what became of each part, in the order of a forward pass.
        passes: what each pass did, in order.
        calibration: where the texts came from that passes read; empty if none did.
        notes: what was guessed or left out, in sentences.
        choice: why matrices are kept as they are, in sentences, where a search chose it for a target.
        file_bytes: size of the file; 0 until it is written.
        seconds: time it all took.
    """

    task: str
    parts: tuple[Part, ...]
    passes: tuple[PassReport, ...] = ()
    calibration: str = ""
    notes: tuple[str, ...] = ()
    choice: tuple[str, ...] = ()
    file_bytes: int = 0
    seconds: float = 0.0

    @property
    def total(self) -> Part:
        """All parts together; errors of parts do not add up, so the total has none."""
        return Part(
            "total",
            sum(part.parameters for part in self.parts),
            sum(part.bytes_before for part in self.parts),
            sum(part.bytes_after for part in self.parts),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {**self.stored_json(), "file_bytes": self.file_bytes, "seconds": round(self.seconds, 3)}

    def stored_json(self) -> dict[str, Any]:
        """What is kept in the file itself: only what the same checkpoint and recipe always give."""
        return {
            "task": self.task,
            "parts": [
                {**asdict(part), "error": float(f"{part.error:.4g}"), "density": round(part.density, 4)}
                for part in self.parts
            ],
            "passes": [each.to_json() for each in self.passes],
            "calibration": self.calibration,
            "notes": list(self.notes),
            **({"choice": list(self.choice)} if self.choice else {}),
        }

    def table(self) -> str:
        """The report as lines of text for a terminal."""
        rows = [("part", "parameters", "before", "after", "of it", "density", "error")]
        for part in (*self.parts, self.total):
            rows.append(
                (
                    part.name,
                    f"{part.parameters:,}" if part.parameters else "",
                    format_bytes(part.bytes_before),
                    format_bytes(part.bytes_after),
                    f"{part.bytes_after / part.bytes_before:.0%}" if part.bytes_before else "",
                    f"{part.density:.0%}" if part.density < 1 else "",
                    f"{part.error:.2%}" if part.error else "",
                )
            )
        if not any(part.density < 1 for part in self.parts):
            rows = [(*row[:5], *row[6:]) for row in rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        rule = "-" * max(len(line) for line in lines)
        lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
        if self.file_bytes:
            lines.append(f"file: {format_bytes(self.file_bytes)}, {self.task}, in {self.seconds:.1f} s")
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"choice: {reason}" for reason in self.choice]
        return "\n".join(lines)


def make_report(network: Network, tensors: Tensors, passes: Sequence[PassReport] = (), calibration: str = "") -> Report:
    """Compares what a network was in the checkpoint with the tensors it will be stored as.

    Args:
        network: the network as it is exported.
        tensors: what `export` made of it.
        passes: what was done to it.
        calibration: where the texts came from that passes read.
    """
    errors: dict[str, float] = {}
    densities: Mapping[str, float] = {}
    for each in passes:
        densities = each.outcome.densities or densities
        for name, error in each.outcome.errors.items():  # of different passes: they have nothing to do with one another
            errors[name] = math.hypot(errors.get(name, 0.0), error)
    groups: dict[str, list[str]] = {}
    for name in sorted(network.origins, key=_place):
        groups.setdefault(_part_of(name), []).append(name)
    parts = []
    counted: set[int] = set()  # what layers share counts where it comes first
    for part, names in groups.items():
        present = [new for name in names if (new := _name_now(network, name)) is not None]
        stored = [*present, *(f"{name}{part}.{end}" for name in present for part in _PARTS for end in ENDINGS)]
        weights = {name: network.origins[name].parameters for name in names if name in densities}
        left = sum(count * densities[name] for name, count in weights.items())
        parts.append(
            Part(
                part,
                sum(network.origins[name].parameters for name in names),
                sum(network.origins[name].bytes for name in names),
                _count_bytes(tensors, stored, counted),
                max((errors.get(name, 0.0) for name in present), default=0.0),
                left / sum(weights.values()) if weights else 1.0,
            )
        )
    text = len(network.tokenizer_json.encode())
    stored = [tensors["tokenizer.json"], *(tensor for name, tensor in tensors.items() if name.startswith(PREFIX))]
    parts.append(Part("tokenizer", 0, text, sum(tensor.nbytes for tensor in stored)))
    return Report(network.task.kind, tuple(parts), tuple(passes), calibration, tuple(network.notes))


def _count_bytes(tensors: Tensors, names: Sequence[str], counted: set[int]) -> int:
    """Bytes of the tensors of these names that aren't counted yet."""
    new = {id(tensors[name]): tensors[name].nbytes for name in names if name in tensors}
    total = sum(size for key, size in new.items() if key not in counted)
    counted.update(new)
    return total


def format_bytes(count: int) -> str:
    """Bytes for people: decimal units, as disks and file managers count."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def _place(name: str) -> tuple[int, int]:
    """Sorts names as a forward pass meets them."""
    parts = name.split(".")
    return ("embeddings", "layers", "tokens", "head").index(parts[0]), int(parts[1]) if parts[0] == "layers" else 0


def _name_now(network: Network, name: str) -> str | None:
    """What a part of the checkpoint is called now that layers may have been taken out; None if it was one of them."""
    parts = name.split(".")
    if parts[0] != "layers" or not network.layer_numbers:
        return name
    number = int(parts[1])
    if number not in network.layer_numbers:
        return None
    return ".".join(("layers", str(network.layer_numbers.index(number)), *parts[2:]))


def _part_of(name: str) -> str:
    """The row that a tensor belongs to: each table by itself, a layer in two halves, the head as one."""
    parts = name.split(".")
    return {"embeddings": name, "layers": ".".join(parts[:3]), "tokens": "tokens", "head": "head"}[parts[0]]
