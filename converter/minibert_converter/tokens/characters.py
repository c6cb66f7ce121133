"""The table of characters: what each pass has to know of each, in columns, stored once for all that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from minibert.format import token_tables as tt
from minibert_converter.tokens.refusal import NoTables

Array = npt.NDArray[np.generic]


class CharacterTable:
    """Columns as they are added, and the sequences that they name."""

    def __init__(self) -> None:
        self._columns: list[npt.NDArray[np.uint16]] = []
        self._sequences: dict[str, int] = {}
        self._text: list[int] = []

    def column(self, values: Mapping[int, int]) -> int:
        """Add a column, given its values that are not 0, and get its number; one that is there already serves again."""
        column = np.zeros(tt.CODE_POINTS, np.uint16)
        column[np.fromiter(values.keys(), np.int64, len(values))] = np.fromiter(values.values(), np.int64, len(values))
        for number, other in enumerate(self._columns):
            if np.array_equal(column, other):
                return number
        self._columns.append(column)
        return len(self._columns) - 1

    def classes(self, *sets: Iterable[int]) -> int:
        """A column of classes: 1 for the characters of the first set, 2 for those of the second, ...; 0 for others."""
        return self.column({point: number for number, points in enumerate(sets, 1) for point in points})

    def replacements(self, values: Mapping[int, str], explicit: bool = False) -> int:
        """A column of replacements; `explicit` keeps those of characters by themselves."""
        return self.column({point: self.value(text, chr(point), explicit) for point, text in values.items()})

    def value(self, text: str, char: str = "", explicit: bool = False) -> int:
        """What stands in a column for the replacement of a character, or of several, by a text."""
        if not text:
            return tt.GOES
        if not explicit and text == char:
            return tt.STAYS
        if char and text == f" {char} ":
            return tt.SPACED
        if text not in self._sequences:
            points = [*map(ord, text)]
            self._sequences[text] = len(self._text)
            self._text += [*points[:-1], points[-1] | tt.LAST]
            if len(self._text) > tt.MAX_SEQUENCES:
                raise NoTables("its normalizer has more replacements than a table holds")
        return self._sequences[text] + tt.FIRST_SEQUENCE

    def tensors(self) -> tuple[dict[str, int], dict[str, Array]]:
        """The sizes that the config says, and the tensors."""
        if not self._columns:
            return {"rows": 0, "records": 0, "columns": 0, "sequences": 0, "packed": 0}, {}
        columns = np.stack(self._columns)
        special = np.flatnonzero(columns.any(0))
        found = np.zeros(len(special), np.int64)
        for column in columns[:, special]:  # one by one: sorting numbers is quicker than sorting rows of them
            _, found = np.unique(found << 16 | column, return_inverse=True)
        _, firsts, found = np.unique(found, return_index=True, return_inverse=True)
        # Records come in the order of the characters: then neighbours differ by one, and pack well.
        order = np.argsort(firsts)
        records, found = columns[:, special[firsts[order]]], np.argsort(order)[found.reshape(-1)]
        if records.shape[1] >= tt.MAX_RECORDS:
            raise NoTables("its characters are of more kinds than a table holds")
        kinds = np.zeros(tt.CODE_POINTS, np.uint16)
        kinds[special] = found.reshape(-1) + 1
        pages, rows = _shared(kinds.reshape(-1, tt.PAGE))
        parts: dict[str, Array] = {
            tt.PAGES: pages,
            tt.RECORDS: rows,
            tt.COLUMNS: np.concatenate([np.zeros((len(columns), 1), np.uint16), records.astype(np.uint16)], axis=1),
            tt.SEQUENCES: np.array(self._text, np.int32),
        }
        packed = tt.pack_characters(parts)
        sizes = {"rows": len(rows), "records": records.shape[1] + 1, "columns": len(columns)}
        return sizes | {"sequences": len(self._text), "packed": len(packed)}, {tt.CHARACTERS: packed}


def _shared(pages: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Each page's row, and the rows, each of them once."""
    rows: dict[bytes, int] = {}
    numbers = [rows.setdefault(page.tobytes(), len(rows)) for page in pages]
    return np.array(numbers, np.uint16), np.frombuffer(b"".join(rows), np.uint16).reshape(-1, tt.PAGE)
