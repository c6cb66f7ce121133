"""The pass that rounds what is still float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import filter as filter_names
from typing import ClassVar

from minibert_converter.network import Network
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.options import SWITCH, choice, mapping, option
from minibert_converter.passes.quantize.matrix import MATRIX_FORMS, Form
from minibert_converter.passes.quantize.quantizer import quantize


@dataclass(frozen=True)
class Quantize(Pass):
    """Rounds every matrix and table that is still float32."""

    for_layers: ClassVar[bool] = False
    quantize: Form = option(
        choice(*MATRIX_FORMS), "how weights are kept", "int8", flag="--quantize", off="none", searched="auto"
    )
    tensors: Mapping[str, str] = option(
        mapping(choice(*MATRIX_FORMS, "none")),
        "other forms, or none for float32, by name of a matrix or pattern such as layers.*.ffn.up; the last that fits "
        "counts",
        {},
    )

    fast: bool = option(
        SWITCH,
        "round each weight to the nearest code by itself, without running texts: seconds, and several times the loss",
        False,
        flag="--fast",
    )

    def run(self, network: Network, context: Context) -> Outcome:
        """See `quantizer.quantize`."""
        names = list(network.linears)
        # A pattern that fits no name stays, to be refused as one.
        forms = {
            name: form for pattern, form in self.tensors.items() for name in filter_names(names, pattern) or [pattern]
        }
        return quantize(
            network,
            self.quantize,
            texts=context.texts,
            method="nearest" if self.fast else "compensated",
            forms=forms,
            sparse_threshold=context.sparse_threshold,
            progress=context.progress,
        )
