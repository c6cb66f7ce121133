"""The pass `distill`: what a training is told. The training, which needs PyTorch, is `minibert_converter.distill`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from minibert.errors import InputError
from minibert_converter.network import Network
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.options import BOOLEAN, SHARE, TEXT, choice, integer, number, option, table
from minibert_converter.passes.prune.blocks import Budget

Score = Literal["magnitude", "movement", "fisher"]
_WEIGHT = number(0, 1_000_000)


@dataclass(frozen=True)
class Loss:
    """Weights of the parts of the loss; 0 leaves one out."""

    #: Kullback-Leibler divergence of softened probabilities (DistilBERT, arXiv 1910.01108).
    logits: float = option(_WEIGHT, "weight of the teacher's answers: probabilities, scores, embeddings", 1.0)
    temperature: float = option(number(0, 100, above=True), "divides logits before the softmax", 1.0)
    labels: float = option(_WEIGHT, "weight of the true labels, where the data has them", 0.0)
    #: TinyBERT, arXiv 1909.10351.
    hidden: float = option(_WEIGHT, "weight of the hidden states of all layers", 0.0)
    #: MiniLMv2, arXiv 2012.15828.
    relations: float = option(_WEIGHT, "weight of the relations of queries, keys and values of the last layer", 0.0)
    relation_heads: int = option(integer(1, 1024), "parts that queries, keys and values are cut into for it", 12)

    def __post_init__(self) -> None:
        if not (self.logits or self.labels or self.hidden or self.relations):
            raise InputError("every part of the loss weighs 0, so there is nothing to learn")


@dataclass(frozen=True)
class Blocks:
    """4x4 blocks that go while the student learns; those that a pass before had pruned are gone from the first step on.

    Scores: "magnitude" keeps the largest weights; "movement" those that training drives away from zero (arXiv
    2005.07683); "fisher" those that cost most to second order, with Adam's second moments as the diagonal of the Fisher
    matrix (the diagonal form of oBERT, arXiv 2203.07259). All are brought to one mean a matrix.
    """

    sparsity: float = option(number(0, 0.99, above=True), "part of the encoder's 4x4 blocks that is gone in the end")
    start: float = option(SHARE, "when more blocks begin to go, as a part of all steps", 0.0)
    end: float = option(number(0, 1, above=True), "when the last have gone and masks are final", 0.6)
    every: int = option(integer(1, 1 << 20), "steps between two choices of blocks", 16)
    score: Score = option(choice(*get_args(Score)), "which blocks are kept", "fisher")
    budget: Budget = option(
        choice(*get_args(Budget)), "whether all matrices lose that part together, or each the same", "global"
    )

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise InputError(f"start is {self.start}, which is not before end, {self.end}")


@dataclass(frozen=True)
class Distill(Pass):
    """Trains the network to answer as its teacher does."""

    distill: float = option(number(0, 10_000, above=True), "passes over the texts; 0.5 reads half of them")
    batch_size: int = option(integer(1, 1 << 16), "texts in a step", 32)
    #: AdamW: arXiv 1711.05101.
    learning_rate: float = option(number(0, 1, above=True), "step of AdamW at its peak", 2e-4)
    warmup: float = option(SHARE, "part of the steps in which the rate rises; then it falls in a line to zero", 0.05)
    weight_decay: float = option(SHARE, "of AdamW, for matrices alone", 0.01)
    max_length: int = option(
        integer(0, 65536), "tokens of a text that are read in training; 0 for as many as the model takes", 0
    )
    copies: int = option(
        integer(0, 1000),
        "varied copies of each text that the teacher answers too: more to learn from where texts are few",
        0,
    )
    train_embeddings: bool = option(BOOLEAN, "whether embedding tables are trained too; false is faster", True)
    tied_layers: str = option(
        TEXT, "layers that share their matrices, as `share` has it; LayerNorms stay each layer's own", ""
    )
    loss: Loss = option(table(Loss), "what the student learns from", Loss())
    blocks: Blocks | None = option(table(Blocks), "4x4 blocks that go meanwhile; blocks that are zero stay so", None)
    int8_from: float = option(
        SHARE,
        "from which part of the steps on it trains in the engine's int8 arithmetic, so that it comes out quantized; 1 "
        "for never",
        0.7,
    )
    bfloat16: bool = option(BOOLEAN, "products in bfloat16: faster where the processor has it", False)

    def run(self, network: Network, context: Context) -> Outcome:
        """See `minibert_converter.distill`.

        Raises:
            InputError: there is no teacher.
        """
        if context.train is None:
            raise InputError("the recipe has a pass distill, which needs a teacher and texts: run `minibert distill`")
        return context.train(self, network)
