"""The kinds of passes there are."""

from __future__ import annotations

from collections.abc import Mapping

from minibert_converter.passes.adaptive.recipe import EarlyExit, PruneTokens
from minibert_converter.passes.base import Pass
from minibert_converter.passes.distillation import Distill
from minibert_converter.passes.embeddings.recipe import Embeddings, Vocabulary, VocabularySize
from minibert_converter.passes.prune.recipe import Narrow, Prune
from minibert_converter.passes.quantize.recipe import Quantize
from minibert_converter.passes.share.recipe import Share

#: By verb, in the order in which they best follow one another: each finds what it needs.
PASSES: Mapping[str, type[Pass]] = {
    kind.verb(): kind
    for kind in (
        Vocabulary,
        VocabularySize,
        Prune,
        Narrow,
        Share,
        Distill,
        Embeddings,
        Quantize,
        PruneTokens,
        EarlyExit,
    )
}
