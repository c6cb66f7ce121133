"""One pass of a recipe: what each kind of pass says of itself, what it is handed, and what it hands back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from minibert_converter.network import Network
from minibert_converter.passes.keys import Keys
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
        train: what does a pass `distill`, given the pass and the network; None where there is no teacher.
    """

    texts: Sequence[str] | None = None
    seed: int = 0
    folder: Path = Path()
    progress: OnProgress = no_progress
    train: Callable[[Any, Network], Outcome] | None = None


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


class Pass(ABC):
    """A pass of a recipe: a frozen dataclass whose fields are the keys of a `[[pass]]` table.

    The field called as `verb` is the key that tells this kind of pass from the others: `prune = "4x4:0.5"`.
    """

    #: The key that names this kind of pass.
    verb: ClassVar[str]

    @classmethod
    @abstractmethod
    def read(cls, keys: Keys) -> Pass:
        """The pass that a table asks for.

        Raises:
            FormatError: a key is of the wrong type or beyond its limits (`keys` says which).
            InputError: the value of a key makes no sense.
        """

    @abstractmethod
    def run(self, network: Network, context: Context) -> Outcome:
        """Changes the network."""

    def reads_texts(self) -> bool:
        """Whether calibration texts change what it does."""
        return True

    def to_json(self) -> dict[str, Any]:
        """The table that `read` makes this pass of, keys with their default value left out."""
        table = {}
        for key in fields(self):  # type: ignore[arg-type]
            value = getattr(self, key.name)
            default = key.default_factory() if key.default_factory is not MISSING else key.default
            if key.name == self.verb or value != default:
                table[key.name] = _plain(value)
        return table


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
