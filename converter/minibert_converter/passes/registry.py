"""The kinds of passes there are: each reads its options from a table and hands them to the technique itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import filter as filter_names
from pathlib import Path
from typing import Any

from minibert.errors import FormatError
from minibert.format.constants import MAX_HIDDEN_SIZE, MAX_WIDTH
from minibert_converter.calibration.texts import iter_texts
from minibert_converter.calibration.tokens import tokenize
from minibert_converter.network import Network
from minibert_converter.passes.adaptive.recipe import EarlyExit, PruneTokens
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.distillation import Distill
from minibert_converter.passes.embeddings import compress_embeddings, parse_form, trim_vocabulary
from minibert_converter.passes.keys import Keys
from minibert_converter.passes.prune import Budget, Method, parse_requests, prune
from minibert_converter.passes.prune.narrow import narrow
from minibert_converter.passes.quantize import Form, quantize
from minibert_converter.passes.share import check_request, share

#: What weights of matrices can be rounded to.
MATRIX_FORMS = ("int8", "int4", "codebook")


@dataclass(frozen=True)
class Prune(Pass):
    """Removes blocks, heads, neurons or layers; with nothing to remove it only reads what a checkpoint had pruned."""

    prune: tuple[str, ...] = ()
    method: Method = "second-order"
    budget: Budget | None = None

    verb = "prune"

    @classmethod
    def read(cls, keys: Keys) -> Prune:
        """Keys: prune (what to remove), method, budget."""
        requests = keys.texts("prune")
        parse_requests(requests)
        method = keys.choice("method", ("second-order", "magnitude"), "second-order")
        budget = keys.choice("budget", ("", "global", "matrix"), "") or None
        return cls(requests, method, budget)

    def reads_texts(self) -> bool:
        """Only to remove something."""
        return bool(self.prune)

    def run(self, network: Network, context: Context) -> Outcome:
        """See `prune.prune`."""
        report = prune(
            network,
            self.prune,
            method=self.method,
            budget=self.budget,
            texts=context.texts,
            progress=context.progress,
        )
        errors = {name: one.error for name, one in report.tensors.items()}
        return Outcome(errors, report.densities, report.to_json() if report.changed else {})


@dataclass(frozen=True)
class Narrow(Pass):
    """Leaves fewer features in every row that layers hand on: the start of a training, which a pass distill is."""

    narrow: int = 0

    verb = "narrow"

    @classmethod
    def read(cls, keys: Keys) -> Narrow:
        """Keys: narrow (the hidden size that stays)."""
        return cls(keys.integer("narrow", 1, MAX_HIDDEN_SIZE))

    def run(self, network: Network, context: Context) -> Outcome:
        """See `prune.narrow`."""
        narrow(network, self.narrow, tokenize(network, context.texts), context.seed)
        return Outcome()


@dataclass(frozen=True)
class Vocabulary(Pass):
    """Keeps the words that the texts of a file use, and what spells any other."""

    vocab_from: str = ""

    verb = "vocab_from"

    @classmethod
    def read(cls, keys: Keys) -> Vocabulary:
        """Keys: vocab_from (a file of texts; a relative path starts where the recipe lies)."""
        return cls(keys.text("vocab_from"))

    def reads_texts(self) -> bool:
        """Only its own."""
        return False

    def run(self, network: Network, context: Context) -> Outcome:
        """See `embeddings.trim_vocabulary`."""
        texts = list(iter_texts(context.folder / self.vocab_from))
        return Outcome(details=trim_vocabulary(network, texts, progress=context.progress).to_json())

    def to_json(self) -> dict[str, Any]:
        """The file's name alone: where it lay is nobody's business."""
        return {"vocab_from": Path(self.vocab_from).name}


@dataclass(frozen=True)
class Embeddings(Pass):
    """Stores the embedding tables in less: fewer bits, codebooks, fewer dimensions; several forms one after another."""

    embeddings: tuple[str, ...] = ()

    verb = "embeddings"

    @classmethod
    def read(cls, keys: Keys) -> Embeddings:
        """Keys: embeddings (the form, or several: `["low-rank:192", "int4"]`)."""
        forms = keys.texts("embeddings")
        for form in forms:
            parse_form(form)
        return cls(forms)

    def run(self, network: Network, context: Context) -> Outcome:
        """See `embeddings.compress_embeddings`."""
        errors: dict[str, float] = {}
        details: dict[str, Any] = {}
        for form in self.embeddings:
            report = compress_embeddings(
                network, form, texts=context.texts, seed=context.seed, progress=context.progress
            )
            details[form] = report.to_json()
            for name, table in report.tables.items():
                errors[name] = math.hypot(errors.get(name, 0.0), table.error)
        return Outcome(errors, details=details)


@dataclass(frozen=True)
class Quantize(Pass):
    """Rounds every matrix and table that is still float32."""

    quantize: Form = "int8"
    tensors: Mapping[str, str] = field(default_factory=dict)

    verb = "quantize"

    @classmethod
    def read(cls, keys: Keys) -> Quantize:
        """Keys: quantize (the form), tensors (another form by name of a matrix or pattern, such as `layers.*.ffn.up`).

        The form "none" leaves a matrix in float32; of several patterns that fit a name the last one counts.
        """
        return cls(keys.choice("quantize", MATRIX_FORMS), keys.mapping("tensors", _form, {}))

    def run(self, network: Network, context: Context) -> Outcome:
        """See `quantize.quantize`."""
        forms = _by_name(self.tensors, list(network.linears))
        report = quantize(network, texts=context.texts, form=self.quantize, forms=forms, progress=context.progress)
        return Outcome({one.name: one.error or 0.0 for one in report.tensors}, details=report.to_json())


def _by_name(patterns: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The forms of matrices that patterns fit; a pattern that fits none stays, to be refused as a name."""
    return {name: form for pattern, form in patterns.items() for name in filter_names(names, pattern) or [pattern]}


def _form(value: Any, where: str) -> str:
    if value not in (*MATRIX_FORMS, "none"):
        raise FormatError(f"{where} must be one of {', '.join(MATRIX_FORMS)}, none")
    return value


@dataclass(frozen=True)
class Share(Pass):
    """Lets layers use one set of matrices, with low-rank differences."""

    share: str = ""
    low_rank: int = 0

    verb = "share"

    @classmethod
    def read(cls, keys: Keys) -> Share:
        """Keys: share (which layers), low_rank (the rank of each matrix's difference)."""
        step = cls(keys.text("share"), keys.integer("low_rank", 0, MAX_WIDTH, 0))
        check_request(step.share)
        return step

    def run(self, network: Network, context: Context) -> Outcome:
        """See `share.share`."""
        report = share(network, self.share, rank=self.low_rank, texts=context.texts, progress=context.progress)
        return Outcome(report.errors, details=report.to_json())


#: By verb, in the order in which they best follow one another.
PASSES: Mapping[str, type[Pass]] = {
    kind.verb: kind
    for kind in (Vocabulary, Prune, Narrow, Share, Distill, Embeddings, Quantize, PruneTokens, EarlyExit)
}
