"""Options as callers give them, checked: a value of Python's own type comes out, or an InputError with its name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Real
from operator import index
from reprlib import repr as shown
from typing import Any

import numpy as np

from minibert.errors import InputError
from minibert.forking import unforked
from minibert.tuples import NamedTuple


class Elsewhere(NamedTuple):
    """An option of another library that changes nothing here.

    Attributes:
        harmless: whether a value asks for what happens anyway.
        instead: what to do instead, where it asks for something else.
    """

    harmless: Callable[[Any], bool]
    instead: str


def _is(*values: Any) -> Callable[[Any], bool]:
    """Whether a value is one of some: None, bools and words."""
    return lambda value: (value is None or isinstance(value, (bool, str))) and value in values


def _is_count(value: Any) -> bool:
    """Whether a value is None or says how many, which changes nothing but speed."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def is_cpu(value: Any) -> bool:
    """Whether a device, or each of several, is the CPU: "cpu", -1 (as transformers has it), PyTorch's; or None."""
    if isinstance(value, (list, tuple)):
        return all(each is not None and is_cpu(each) for each in value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value == -1):
        return True
    return (isinstance(value, str) or type(value).__name__ == "device") and str(value).lower() in ("cpu", "cpu:0")


def _is_no_pool(value: Any) -> bool:
    """Whether a pool has no processes, as those of `start_multi_process_pool` of a model have none."""
    return value is None or (isinstance(value, dict) and value.get("processes") == [])


#: Options of other libraries that are none here.
ELSEWHERE: dict[str, Elsewhere] = {
    "activation_fct": Elsewhere(_is(None), "function_to_apply chooses what makes scores"),
    "activation_fn": Elsewhere(_is(None), "function_to_apply chooses what makes scores"),
    "apply_softmax": Elsewhere(_is(None, False), 'function_to_apply="softmax" does this'),
    "chunk_size": Elsewhere(_is_count, "batch_size says how many texts are read at once"),
    "convert_to_numpy": Elsewhere(_is(None, True), "scores are NumPy arrays; list(...) makes a list of them"),
    "convert_to_tensor": Elsewhere(
        _is(None, False), "answers are NumPy arrays; torch.from_numpy(...) makes a tensor of them"
    ),
    "device": Elsewhere(is_cpu, "minibert runs on the CPU"),
    "grouped_entities": Elsewhere(_is(None, False), 'aggregation_strategy="simple" joins tokens'),
    "max_seq_len": Elsewhere(_is(None), "it is called max_length"),
    "multiprocessing_threshold": Elsewhere(_is_count, "threads share the work: see `minibert.load`"),
    "num_workers": Elsewhere(_is_count, "threads share the work: see `minibert.load`"),
    "output_value": Elsewhere(_is("sentence_embedding"), "`features` gives the vectors of tokens"),
    "padding": Elsewhere(_is(None, True, False, "longest", "max_length", "do_not_pad"), "nothing is ever padded"),
    "parallel": Elsewhere(_is_count, "threads share the work: see `minibert.load`"),
    "pool": Elsewhere(_is_no_pool, "threads share the work: see `minibert.load`"),
    "return_all_scores": Elsewhere(_is(None, False), "top_k=None gives all labels"),
    "show_progress_bar": Elsewhere(_is(None, False), "only `encode` counts on a terminal"),
    "task": Elsewhere(_is(None, "query", "document"), "a file has the one route that it was converted with"),
    "use_multiprocessing": Elsewhere(_is(None, True, False), "threads share the work: see `minibert.load`"),
}


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse the first name of `given` that is not in `known`, naming the nearest that is.

    Raises:
        InputError: there is one.
    """
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(sorted(set(known)))}"
            raise InputError(f"there is no option {name!r}: {hint}")


def nearest(name: str, known: Collection[str]) -> str | None:
    """That of `known` which was perhaps meant by a name that is not in it."""
    with unforked():
        from difflib import get_close_matches

    return next((each for each in known if each.startswith(name)), None) or next(
        iter(get_close_matches(name, known, 1)), None
    )


def own(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The options of `given` that are in `known`, without those of other libraries that change nothing here.

    Raises:
        InputError: an option that there is not, or a value of ELSEWHERE that asks for something else.
    """
    options = {}
    for name, value in given.items():
        if name in known or name not in ELSEWHERE:
            options[name] = value
            continue
        elsewhere = ELSEWHERE[name]
        if not elsewhere.harmless(value):
            raise InputError(f"there is no option {name!r}: {elsewhere.instead}")
    refuse_unknown(options, known)
    return options


def integer(name: str, value: Any, least: int = 1, most: int = sys.maxsize) -> int:
    """A whole number from `least` to `most`, also one of NumPy's.

    Raises:
        InputError: it is none; a bool, a float or a str is none.
    """
    if not isinstance(value, bool):
        try:
            whole = index(value)
        except TypeError:
            pass
        else:
            if least <= whole <= most:
                return whole
    limit = "" if most == sys.maxsize else f", at most {most}"
    raise InputError(f"{name} must be an integer of at least {least}{limit}, got {shown(value)}")


def number(name: str, value: Any, above: float, most: float) -> float:
    """A number above `above`, up to `most`.

    Raises:
        InputError: it is none; a bool or a str is none, nor is NaN.
    """
    if not isinstance(value, bool) and isinstance(value, Real) and above < float(value) <= most:
        return float(value)
    raise InputError(f"{name} must be a number above {above}, up to {most}, got {shown(value)}")


def flag(name: str, value: Any) -> bool:
    """True or False, also NumPy's.

    Raises:
        InputError: it is neither: 1, "yes" and None are not taken for one.
    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InputError(f"{name} must be True or False, got {shown(value)}")


def choice(name: str, value: Any, choices: Collection[str]) -> str:
    """One of some words, in capitals too, as transformers takes them.

    Raises:
        InputError: it is none of them.
    """
    if isinstance(value, str) and value.lower() in choices:
        return value.lower()
    known = ", ".join(f'"{each}"' for each in choices)
    raise InputError(f"{name} must be one of {known}, got {shown(value)}")


def words(name: str, value: Any) -> list[str]:
    """Several texts in order, such as labels.

    Raises:
        InputError: it is one text, nothing to go through, or holds what is no text.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise InputError(f"{name} must be a list of texts, got {shown(value)}")
    found = list(value)
    for place, each in enumerate(found):
        if not isinstance(each, str):
            raise InputError(f"{name} must be texts, got {type(each).__name__} at index {place}")
    return found
