"""What a user says of the layers that are to share their matrices."""

from __future__ import annotations

import re

from minibert.errors import InputError

_GROUPS = re.compile(r"\d{1,3}(\+\d{1,3})+(,\d{1,3}(\+\d{1,3})+)*")
_SIMILAR = re.compile(r"similar:([1-9]\d{0,2})")
_IN_A_ROW = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,2})")
_WORDS = ("pairs", "sandwich")
HELP = 'write "2+3" or "0+1,3+4+5" for layers by number, "2x3" for 2 groups of 3, "pairs", "sandwich" or "similar:N"'


def check_request(text: str) -> None:
    """Refuses what is no request for any model.

    Raises:
        InputError: the text is nothing that `parse_groups` reads.
    """
    if text not in _WORDS and not any(form.fullmatch(text) for form in (_SIMILAR, _GROUPS, _IN_A_ROW)):
        raise InputError(f"share {text!r}: {HELP}")


def parse_groups(text: str, layers: int) -> tuple[list[tuple[int, ...]], int]:
    """The groups of layers that a request names.

    Args:
        text: "2+3,4+5": these layers share. "AxB": A groups of B layers in a row, all that there are (ALBERT,
            arXiv 1909.11942, is 1xN). "pairs": each two in a row, an odd last one left out. "sandwich": all but the
            first and the last (Subformer, arXiv 2101.00234). "similar:N": N times the two neighbours that lose least.
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
    elif match := _IN_A_ROW.fullmatch(text):
        many, times = int(match[1]), int(match[2])
        if many * times != layers:
            raise InputError(f"share {text!r}: {many} x {times} layers are not the {layers} that there are")
        groups = [tuple(range(first, first + times)) for first in range(0, layers, times)]
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
