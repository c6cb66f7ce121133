"""The passes that make embedding tables small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

from minibert.errors import InputError
from minibert.format.constants import MAX_VOCAB_SIZE
from minibert_converter.calibration.texts import iter_texts
from minibert_converter.network import Network
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.embeddings.compress import compress_embeddings, parse_forms
from minibert_converter.passes.embeddings.vocabulary import Characters, trim_vocabulary
from minibert_converter.passes.options import FILE, TEXTS, choice, integer, option


@dataclass(frozen=True)
class Vocabulary(Pass):
    """Keeps the words that the texts of a file use, and what spells any other."""

    for_layers: ClassVar[bool] = False

    vocab_from: str = option(
        FILE,
        "keep only the words of these texts, and what spells any other",
        flag="--vocab-from",
        metavar="TEXTS",
    )

    def reads_texts(self) -> bool:
        """Only its own."""
        return False

    def run(self, network: Network, context: Context) -> Outcome:
        """See `vocabulary.trim_vocabulary`; a relative path starts where the recipe lies."""
        texts = list(iter_texts(context.folder / self.vocab_from))
        return trim_vocabulary(network, texts, progress=context.progress)

    def to_json(self) -> dict[str, Any]:
        """The file's name alone: where it lay is nobody's business."""
        return {self.verb(): Path(self.vocab_from).name}


@dataclass(frozen=True)
class VocabularySize(Pass):
    """Keeps so many tokens, first the most frequent in the texts to come, and what spells any other."""

    for_layers: ClassVar[bool] = False

    vocab_size: int = option(
        integer(1, MAX_VOCAB_SIZE),
        "keep only so many tokens, first those that the calibration or training texts use most, then the others in the "
        "vocabulary's order; and what spells any other",
        flag="--vocab-size",
        metavar="N",
    )

    characters: Characters = option(
        choice(*get_args(Characters)),
        "what can still be spelled: all characters that could be, or those seen in the texts, and ASCII; words with "
        "others are unknown then",
        "all",
    )

    def run(self, network: Network, context: Context) -> Outcome:
        """See `vocabulary.trim_vocabulary`.

        Raises:
            InputError: nobody says what texts are to come.
        """
        if context.texts is None:
            raise InputError(f"vocab_size {self.vocab_size}: which words are frequent, texts like those to come say")
        return trim_vocabulary(
            network, context.texts, most=self.vocab_size, characters=self.characters, progress=context.progress
        )


@dataclass(frozen=True)
class Embeddings(Pass):
    """Stores the embedding tables in less: fewer bits, codebooks, fewer dimensions; several forms one after another."""

    for_layers: ClassVar[bool] = False

    embeddings: tuple[str, ...] = option(
        TEXTS,
        "how words are kept: int8, int4, codebook, codebook:8, low-rank:128; repeatable, one after another",
        check=parse_forms,
        flag="--embeddings",
        metavar="FORM",
    )

    def run(self, network: Network, context: Context) -> Outcome:
        """See `compress.compress_embeddings`."""
        errors: dict[str, float] = {}
        details: dict[str, Any] = {}
        for form in self.embeddings:
            quiet = not form.startswith("codebook")  # whose stage has another name
            if quiet:
                context.progress(f"words as {form}", 0, 1)
            outcome = compress_embeddings(
                network, form, texts=context.texts, seed=context.seed, progress=context.progress
            )
            if quiet:
                context.progress(f"words as {form}", 1, 1)
            details[form] = outcome.details
            for name, error in outcome.errors.items():
                errors[name] = math.hypot(errors.get(name, 0.0), error)
        return Outcome(errors, details=details)
