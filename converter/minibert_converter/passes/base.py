"""One pass of a recipe: what each kind of pass says of itself, what it is handed, and what it hands back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from minibert_converter.export import SPARSE_THRESHOLD
from minibert_converter.network import Network
from minibert_converter.passes.options import options, write_table
from minibert_converter.progress import OnProgress, no_progress


@dataclass(frozen=True)
class Context:
    """What a pass may use beside the network.

    Attributes:
        texts: texts like those to come; None where the user gave none, and the sentences that ship with the converter
            serve.
        seed: of every random choice; the same seed gives the same bytes.
        folder: where relative paths in the recipe start.
        progress: told how far the work is.
        begin: told when the next pass of the recipe begins.
        settle: told of each pass before it runs, and of the network then; returns the pass that is run, which may say
            what the recipe left open.
        train: what does a pass `distill`, given the pass and the network; None where there is no teacher.
        sparse_threshold: a matrix is stored as blocks if at most this part of them holds a weight that isn't zero.
        memory: arrays that a pass has found of a network on these texts and would find again, whatever it is asked to
            do; None where it will not be asked again.
    """

    texts: Sequence[str] | None = None
    seed: int = 0
    folder: Path = Path()
    progress: OnProgress = no_progress
    begin: Callable[[], None] = lambda: None
    settle: Callable[[Any, Network], Any] = lambda step, network: step
    train: Callable[[Any, Network], Outcome] | None = None
    sparse_threshold: float = SPARSE_THRESHOLD
    memory: MutableMapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a pass says it did; parameters, bytes and multiplications are counted for it.

    Attributes:
        errors: by name of a matrix or table, the relative error that the pass added: of a matrix, to what it returns
            on calibration texts (root of the mean square error over the standard deviation); of a table, to its rows.
        densities: by name of a matrix in the checkpoint, the part of its weights that is left.
        details: anything more, as plain JSON values; kept in the file's report.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    densities: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def rounded(values: Mapping[str, Any], digits: int = 4) -> dict[str, Any]:
    """Values by name as a report keeps them: fractions in so many digits."""
    return {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in values.items()}


class Pass(ABC):
    """A pass of a recipe: a frozen dataclass whose fields are the options of a `[[pass]]` table (see `options.option`).

    The first of them is its verb, the key that tells this kind of pass from the others: `prune = "4x4:0.5"`.

    Attributes:
        for_layers: whether it has nothing to do to a model without layers.
    """

    for_layers: ClassVar[bool] = True

    @classmethod
    def verb(cls) -> str:
        """The key that names this kind of pass."""
        return next(iter(options(cls)))

    @abstractmethod
    def run(self, network: Network, context: Context) -> Outcome:
        """Changes the network."""

    def reads_texts(self) -> bool:
        """Whether calibration texts change what it does."""
        return True

    def to_json(self) -> dict[str, Any]:
        """The table that says the same: the verb, and what isn't as by default."""
        return write_table(self, self.verb())
