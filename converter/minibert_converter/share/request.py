"""What a user says of the layers that are to share their matrices."""

from __future__ import annotations

import re

from minibert.errors import InputError

_GROUPS = re.compile(r"\d{1,3}(\+\d{1,3})+(,\d{1,3}(\+\d{1,3})+)*")
_SIMILAR = re.compile(r"similar:([1-9]\d{0,2})")
HELP = 'write "2+3" or "0+1,3+4+5" for layers by number, "pairs", "sandwich" or "similar:N"'


def check_request(text: str) -> None:
    """Refuses what is no request for any model.

    Raises:
        InputError: the text is nothing that `parse_groups` reads.
    """
    if text not in ("pairs", "sandwich") and not _SIMILAR.fullmatch(text) and not _GROUPS.fullmatch(text):
        raise InputError(f"share {text!r}: {HELP}")


def parse_groups(text: str, layers: int) -> tuple[list[tuple[int, ...]], int]:
    """The groups of layers that a request names.

    Args:
        text: "2+3,4+5": these layers share. "pairs": each two in a row, an odd last one left out. "sandwich": all but
            the first and the last (Subformer, arXiv 2101.00234). "similar:N": N times the two neighbours that lose
            least.
        layers: how many there are.

    Returns:
        The groups, and how many pairs are to be found by their similarity.

    Raises:
        InputError: the text is nothing of the kind, or names a layer twice or one that isn't there.
    """
    check_request(text)
    if text == "pairs":
        groups = [(first, first + 1) for first in range(0, layers - 1, 2)]
    elif text == "sandwich":
        groups = [tuple(range(1, layers - 1))]
    elif match := _SIMILAR.fullmatch(text):
        if 2 * int(match[1]) > layers:
            raise InputError(f"share {text!r}: {layers} layers have fewer pairs")
        return [], int(match[1])
    else:
        groups = [tuple(map(int, group.split("+"))) for group in text.split(",")]
    named = [number for group in groups for number in group]
    if any(len(group) < 2 for group in groups) or not groups:
        raise InputError(f"share {text!r}: {layers} layers are too few to share")
    if len(set(named)) < len(named) or max(named) >= layers:
        raise InputError(f"share {text!r}: layers are 0 to {layers - 1}, each once")
    return groups, 0
