"""Rotary positions (RoPE, arXiv 2104.09864) as config.json says them: a base, and how frequencies are scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minibert.errors import UnsupportedError
from minibert.format.constants import MAX_ROTARY_BASE, MAX_ROTARY_FREQUENCY
from minibert_converter.checkpoints.config_file import ConfigFile
from minibert_converter.checkpoints.sizes import Sizes

_Frequencies = npt.NDArray[np.float64]


class Rotary(NamedTuple):
    """How a layer rotates queries and keys.

    Attributes:
        base: of the frequencies base**(-2i / head_size); 0 for none of them.
        frequencies: those of each pair of features, where they have no base.
        factor: what cosines and sines are multiplied by.
    """

    base: float
    frequencies: tuple[float, ...] = ()
    factor: float = 1.0


def read_rotary(
    config: ConfigFile, sizes: Sizes, older: str, default: float, *, kind: str | None = None, ntk: bool = False
) -> Rotary:
    """The rotary positions of a checkpoint, whether it was written by transformers 5, before it, or for its own code.

    Args:
        config: its config.json.
        sizes: its head size and longest text.
        older: what the key of the base was called before there were rope_parameters.
        default: the base, where the checkpoint does not say.
        kind: the entry of rope_parameters that is for some layers only; None where one is for all.
        ntk: whether the network is the code of GTE's checkpoints, which knows "ntk" scaling alone, as nobody else does.

    Raises:
        CheckpointError: a number is none.
        UnsupportedError: positions are scaled in a way that no table can say.
    """
    values = config.values.get("rope_scaling") or {}
    said = "rope_scaling" if values else "rope_parameters"
    if not values:
        values = config.values.get("rope_parameters") or {}
        if kind is not None and isinstance(values, dict):
            values = values.get(kind) or {}
    if not isinstance(values, dict):
        raise config.wrong(said, "an object")
    scaling = values.get("rope_type", values.get("type", "default"))
    base = values.get("rope_theta", config.values.get(older)) or default
    if type(base) not in (int, float) or not 1 < base <= MAX_ROTARY_BASE:
        raise config.wrong(said if "rope_theta" in values else older, "a base above 1")
    known = {"ntk": _ntk} if ntk else _SCALINGS
    partial = values.get("partial_rotary_factor", config.values.get("partial_rotary_factor"))
    nested = kind is not None and said == "rope_scaling"  # what is for some layers only stands in rope_parameters
    if nested or str(scaling) not in ("default", *known) or (partial not in (None, 1) and scaling != "proportional"):
        raise UnsupportedError(
            f"{config.path}: {said} is {config.values.get(said)!r:.160}; supported are rotary positions of rope_type "
            f"default, {', '.join(known)}, of all features of a head"
        )
    if scaling == "default":
        return Rotary(float(base))
    original = {"original_max_position_embeddings": sizes.max_positions}
    if config.values.get("original_max_position_embeddings") is not None:
        values = values | {"original_max_position_embeddings": config.values["original_max_position_embeddings"]}
    if kind is not None:  # as transformers looks for it elsewhere
        values = {name: value for name, value in values.items() if name != "truncate"}
    parameters = _Parameters(config, said, original | values)
    steps = np.arange(0, sizes.head_size, 2) / sizes.head_size
    frequencies, factor = known[scaling](parameters, float(base), steps)
    if not (np.isfinite(frequencies).all() and frequencies.min() >= 0 and frequencies.max() <= MAX_ROTARY_FREQUENCY):
        raise config.wrong(said, f"numbers that make frequencies up to {MAX_ROTARY_FREQUENCY:g}")
    if np.array_equal(frequencies, float(base) ** -steps):
        return Rotary(float(base), factor=factor)
    return Rotary(0.0, tuple(frequencies.astype(np.float32).tolist()), factor)


class _Parameters:
    """Numbers of a scaling, each proven to be one."""

    def __init__(self, config: ConfigFile, said: str, values: Mapping[str, Any]) -> None:
        self.config, self.said, self.values = config, said, dict(values)

    def number(self, name: str, default: float | None = None) -> float:
        """One above 0; `default` where it is absent or null, if there is one."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, (int, float)) or value is True or not 0 < value < 1e9:
            raise self.config.wrong(self.said, f"an object whose {name} is a number above 0")
        return float(value)


_Scale = Callable[[_Parameters, float, _Frequencies], tuple[_Frequencies, float]]


def _dynamic(parameters: _Parameters, base: float, steps: _Frequencies) -> tuple[_Frequencies, float]:
    """It begins behind the longest text."""
    return base**-steps, 1.0


def _linear(parameters: _Parameters, base: float, steps: _Frequencies) -> tuple[_Frequencies, float]:
    return base**-steps / parameters.number("factor"), 1.0


def _ntk(parameters: _Parameters, base: float, steps: _Frequencies) -> tuple[_Frequencies, float]:
    """GTE's: "fixed" or, with `mixed_b`, "mixed" (https://kexue.fm/archives/9706); up to 1, nothing."""
    factor, pairs = parameters.number("factor"), len(steps)
    if factor <= 1:
        return base**-steps, 1.0
    if parameters.values.get("mixed_b") is None:
        return (base * factor) ** -steps / factor ** (1 / pairs), 1.0
    power = parameters.number("mixed_b")
    return base**-steps / np.exp(math.log(factor) * (np.arange(1, pairs + 1) / pairs) ** power), 1.0


def _yarn(parameters: _Parameters, base: float, steps: _Frequencies) -> tuple[_Frequencies, float]:
    """YaRN (arXiv 2309.00071): high frequencies as they are, low ones divided, a ramp in between."""
    original = parameters.number("original_max_position_embeddings")
    factor = parameters.number("factor")

    def temperature(scale: float = 1.0) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    usual = temperature()
    if parameters.values.get("mscale") and parameters.values.get("mscale_all_dim"):
        usual = temperature(parameters.number("mscale")) / temperature(parameters.number("mscale_all_dim"))
    size = 2 * len(steps)
    # The pair of features that turns so many times within the original length.
    low, high = (
        size * math.log(original / (parameters.number(name, turns) * 2 * math.pi)) / (2 * math.log(base))
        for name, turns in (("beta_fast", 32.0), ("beta_slow", 1.0))
    )
    if parameters.values.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    ramp = np.clip((np.arange(len(steps)) - low) / ((high - low) or 0.001), 0, 1)
    frequencies = base**-steps
    return frequencies / factor * ramp + frequencies * (1 - ramp), parameters.number("attention_factor", usual)


def _llama3(parameters: _Parameters, base: float, steps: _Frequencies) -> tuple[_Frequencies, float]:
    """Llama 3.1's (arXiv 2407.21783): the same idea, by wavelength."""
    factor, original = parameters.number("factor"), parameters.number("original_max_position_embeddings")
    slow, fast = parameters.number("low_freq_factor"), parameters.number("high_freq_factor")
    if not slow < fast:
        raise parameters.config.wrong(parameters.said, "an object whose low_freq_factor is below its high_freq_factor")
    frequencies = base**-steps
    smooth = np.clip((original * frequencies / (2 * math.pi) - slow) / (fast - slow), 0, 1)
    return frequencies / factor * (1 - smooth) + frequencies * smooth, 1.0


def _proportional(parameters: _Parameters, base: float, steps: _Frequencies) -> tuple[_Frequencies, float]:
    """Only the first pairs of features turn."""
    part = parameters.number("partial_rotary_factor", 1.0)
    turning = np.arange(len(steps)) < int(part * 2 * len(steps) // 2)
    return base**-steps * turning / parameters.number("factor", 1.0), 1.0


_SCALINGS: dict[str, _Scale] = {
    "dynamic": _dynamic,
    "linear": _linear,
    "llama3": _llama3,
    "proportional": _proportional,
    "yarn": _yarn,
}
