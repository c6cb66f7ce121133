"""The pass `distill`: what a training is told. The training, which needs PyTorch, is `minibert_converter.distill`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from minibert.errors import FormatError, InputError
from minibert_converter.network import Network
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.keys import Keys
from minibert_converter.passes.prune import Budget

Score = Literal["magnitude", "movement", "fisher"]


@dataclass(frozen=True)
class Loss:
    """Weights of the parts of the loss; 0 leaves one out.

    Attributes:
        logits: the teacher's answers: Kullback-Leibler divergence of softened probabilities (DistilBERT, arXiv
            1910.01108), squared error of scores and embeddings.
        temperature: divides logits before the softmax.
        labels: the true labels, where the data has them.
        hidden: hidden states of all layers (TinyBERT, arXiv 1909.10351).
        relations: relations of queries, keys and values of the last layer (MiniLMv2, arXiv 2012.15828).
        relation_heads: parts that queries, keys and values are cut into for it.
    """

    logits: float = 1.0
    temperature: float = 1.0
    labels: float = 0.0
    hidden: float = 0.0
    relations: float = 0.0
    relation_heads: int = 12

    @classmethod
    def read(cls, keys: Keys) -> Loss:
        """Keys: the attributes."""
        loss = cls(
            logits=_number(keys, "logits", 1.0),
            temperature=keys.number("temperature", 0.0, 100.0, 1.0),
            labels=_number(keys, "labels", 0.0),
            hidden=_number(keys, "hidden", 0.0),
            relations=_number(keys, "relations", 0.0),
            relation_heads=keys.integer("relation_heads", 1, 1024, 12),
        )
        keys.end()
        if not (loss.logits or loss.labels or loss.hidden or loss.relations):
            raise FormatError(f"{keys.where}: every part of the loss weighs 0, so there is nothing to learn")
        return loss


@dataclass(frozen=True)
class Blocks:
    """4x4 blocks that go while the student learns.

    Attributes:
        sparsity: the part of the encoder's blocks that is gone in the end.
        start: when more blocks begin to go, as a part of all steps. Those that a pass before had pruned are gone from
            the first step on.
        end: when the last have gone and masks are final.
        every: steps between two choices of blocks.
        score: what is kept: "magnitude", the largest weights; "movement", those that training drives away from zero
            (arXiv 2005.07683); "fisher", those that cost most to second order, with Adam's second moments as the
            diagonal of the Fisher matrix (the diagonal form of oBERT, arXiv 2203.07259). All are brought to one mean a
            matrix.
        budget: whether every matrix loses the same part ("matrix") or all together ("global").
    """

    sparsity: float
    start: float = 0.0
    end: float = 0.6
    every: int = 16
    score: Score = "fisher"
    budget: Budget = "global"

    @classmethod
    def read(cls, keys: Keys) -> Blocks:
        """Keys: the attributes."""
        blocks = cls(
            sparsity=keys.number("sparsity", 0.0, 0.99),
            start=keys.share("start", 0.0),
            end=keys.number("end", 0.0, 1.0, 0.6),
            every=keys.integer("every", 1, 1 << 20, 16),
            score=keys.choice("score", ("magnitude", "movement", "fisher"), "fisher"),
            budget=keys.choice("budget", ("global", "matrix"), "global"),
        )
        keys.end()
        if not blocks.start < blocks.end:
            raise FormatError(f"{keys.where}: start is {blocks.start}, which is not before end, {blocks.end}")
        return blocks


@dataclass(frozen=True)
class Distill(Pass):
    """Trains the network to answer as its teacher does.

    Attributes:
        distill: passes over the texts; 0.5 reads half of them.
        batch_size: texts in a step.
        learning_rate: of AdamW (arXiv 1711.05101) at its peak.
        warmup: part of the steps in which the rate rises; then it falls in a line to zero.
        weight_decay: of matrices.
        max_length: tokens of a text that are read in training; 0 as many as the model takes.
        train_embeddings: whether embedding tables are trained too.
        tied_layers: which layers share their matrices, as `share` has it: "1x6", "2x3", "2+3", "pairs", "sandwich";
            "" for none. LayerNorms stay each layer's own.
        loss: what it learns from.
        blocks: what is pruned meanwhile; None for nothing, and blocks that are zero stay so.
        int8_from: from which part of the steps on it trains in the engine's int8 arithmetic, so that it comes out
            quantized; 1 for never.
        bfloat16: whether matrices are multiplied in bfloat16, which is faster where the processor has it.
    """

    distill: float = 3.0
    batch_size: int = 32
    learning_rate: float = 2e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_length: int = 0
    train_embeddings: bool = True
    tied_layers: str = ""
    loss: Loss = field(default_factory=Loss)
    blocks: Blocks | None = None
    int8_from: float = 0.7
    bfloat16: bool = False

    verb = "distill"

    @classmethod
    def read(cls, keys: Keys) -> Distill:
        """Keys: the attributes; loss and blocks are tables."""
        blocks = keys.take("blocks", None)
        return cls(
            distill=keys.number("distill", 0.0, 10_000.0),
            batch_size=keys.integer("batch_size", 1, 1 << 16, 32),
            learning_rate=keys.number("learning_rate", 0.0, 1.0, 2e-4),
            warmup=keys.share("warmup", 0.05),
            weight_decay=keys.share("weight_decay", 0.01),
            max_length=keys.integer("max_length", 0, 65536, 0),
            train_embeddings=keys.boolean("train_embeddings", True),
            tied_layers=keys.text("tied_layers", ""),
            loss=Loss.read(Keys(keys.take("loss", {}), f"{keys.where}.loss")),
            blocks=None if blocks is None else Blocks.read(Keys(blocks, f"{keys.where}.blocks")),
            int8_from=keys.share("int8_from", 0.7),
            bfloat16=keys.boolean("bfloat16", False),
        )

    def to_json(self) -> dict[str, Any]:
        """The table that `read` makes this pass of; of its tables too without what is as by default."""
        table = super().to_json()
        for name in ("loss", "blocks"):
            if name in table:
                table[name] = _changed(getattr(self, name))
        return table

    def run(self, network: Network, context: Context) -> Outcome:
        """See `minibert_converter.distill`.

        Raises:
            InputError: there is no teacher.
        """
        if context.train is None:
            raise InputError("the recipe has a pass distill, which needs a teacher and texts: run `minibert distill`")
        return context.train(self, network)


def _changed(value: Any) -> Mapping[str, Any]:
    """The fields of a dataclass that are not as by default."""
    defaults = {one.name: one.default for one in fields(value)}
    return {key: each for key, each in asdict(value).items() if each != defaults[key]}


def _number(keys: Keys, name: str, default: float) -> float:
    """A number that is not negative."""
    value = keys.take(name, default)
    if type(value) not in (int, float) or not 0 <= value <= 1e6:
        raise FormatError(f"{keys.where}.{name} must be a number from 0 to 1e6, not {value!r}")
    return float(value)
