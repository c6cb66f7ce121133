"""What a student is to have like its teacher: outputs, hidden states, relations of attention, and true labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from minibert.format.schema import Architecture, Task
from minibert_converter.distill.batches import Batch
from minibert_converter.distill.dataset import NO_LABEL
from minibert_converter.distill.student import Trace
from minibert_converter.passes.distillation import Loss


@dataclass(frozen=True)
class Shared:
    """The texts of a batch that student and teacher cut into the same tokens.

    Attributes:
        own: int64, the student's rows of their tokens.
        others: int64, the teacher's.
        batch: these texts alone; None if there is none.
    """

    own: Tensor
    others: Tensor
    batch: Batch | None

    def part(self, trace: Trace, rows: Tensor) -> Trace:
        """Rows of a trace's tokens."""
        hidden = {number: each[rows] for number, each in trace.hidden.items()}
        return Trace(trace.output, hidden, {number: each[:, rows] for number, each in trace.heads.items()})


class DistillationLoss(nn.Module):
    """The loss of one batch, as a weighted sum of its parts.

    Args:
        weights: what counts how much.
        task: what the outputs mean.
        teacher: the teacher's shape.
        student: the student's shape.
        layers: for each of the student's layers, the teacher's layer it is to be like.

    Attributes:
        project: where widths differ, by hidden state, a matrix from the student's to the teacher's, learned along
            (TinyBERT, arXiv 1909.10351) and dropped in the end; empty else.
    """

    def __init__(
        self, weights: Loss, task: Task, teacher: Architecture, student: Architecture, layers: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.weights, self.task, self.layers = weights, task, layers
        self.project = nn.ModuleList()
        if weights.hidden and student.hidden_size != teacher.hidden_size:
            generator = torch.Generator().manual_seed(0)
            for _ in range(len(layers) + 1):
                one = nn.Linear(student.hidden_size, teacher.hidden_size)
                with torch.no_grad():
                    one.weight.normal_(0, student.hidden_size**-0.5, generator=generator)
                    one.bias.zero_()
                self.project.append(one)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Hidden states of student and teacher that are compared, by their numbers in a trace."""
        return ((0, 0), *((number + 1, layer + 1) for number, layer in enumerate(self.layers)))

    @property
    def compared(self) -> tuple[int, ...]:
        """The teacher's hidden states that the loss reads."""
        return tuple(sorted({other for _, other in self.pairs})) if self.weights.hidden else ()

    @property
    def traced(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Layers of student and teacher whose queries, keys and values the loss reads."""
        if not self.weights.relations:
            return (), ()
        return (len(self.layers) - 1,), (self.layers[-1],)

    def forward(
        self, student: Trace, teacher: Trace, labels: Tensor | None, batch: Batch, shared: Shared | None = None
    ) -> Tensor:
        """The loss, a number.

        Args:
            student: what the student computed.
            teacher: what the teacher computed on the same texts.
            labels: true labels: int64 [rows] with NO_LABEL where there is none, or float32 [rows, labels] (several
                labels, or a score), NaN where there is none; None where none are known.
            batch: the texts.
            shared: which of the texts both cut into the same tokens; None if all.
        """
        weights = self.weights
        loss = student.output.new_zeros(())
        if weights.logits:
            loss = loss + weights.logits * self._outputs(student.output, teacher.output)
        if weights.labels and labels is not None:
            loss = loss + weights.labels * self._labels(student.output, labels)
        if shared is not None:
            if shared.batch is None:
                return loss
            student, teacher, batch = (
                shared.part(student, shared.own),
                shared.part(teacher, shared.others),
                shared.batch,
            )
        if weights.hidden:
            loss = loss + weights.hidden * self._hidden(student.hidden, teacher.hidden)
        if weights.relations:
            heads = student.heads[len(self.layers) - 1], teacher.heads[self.layers[-1]]
            loss = loss + weights.relations * relations(*heads, batch, weights.relation_heads)
        return loss

    def _outputs(self, got: Tensor, wanted: Tensor) -> Tensor:
        if self.task.kind == "sentence-embedding":
            return got.shape[1] * functional.mse_loss(got, wanted)
        if self.task.kind == "text-classification" and self.task.problem_type == "regression":
            return functional.mse_loss(got, wanted)
        if self.task.kind == "text-classification" and self.task.problem_type == "multi_label":
            return functional.binary_cross_entropy_with_logits(got, wanted.sigmoid())
        warmth = self.weights.temperature
        got, wanted = functional.log_softmax(got / warmth, -1), functional.log_softmax(wanted / warmth, -1)
        return warmth**2 * functional.kl_div(got, wanted, log_target=True, reduction="batchmean")

    def _labels(self, got: Tensor, labels: Tensor) -> Tensor:
        if labels.dtype == torch.int64:
            known = labels != NO_LABEL
            return functional.cross_entropy(got[known], labels[known]) if known.any() else got.new_zeros(())
        known = ~labels.isnan().any(dim=1)
        if not known.any():
            return got.new_zeros(())
        several = self.task.problem_type == "multi_label"
        measure = functional.binary_cross_entropy_with_logits if several else functional.mse_loss
        return measure(got[known], labels[known])

    def _hidden(self, got: Mapping[int, Tensor], wanted: Mapping[int, Tensor]) -> Tensor:
        """Mean squared error over the teacher's spread, averaged over the embeddings and all layers."""
        loss = got[0].new_zeros(())
        for own, other in self.pairs:
            rows = self.project[own](got[own]) if self.project else got[own]
            loss = loss + functional.mse_loss(rows, wanted[other]) / wanted[other].var().clamp_min(1e-6)
        return loss / len(self.pairs)


def relations(student: Tensor, teacher: Tensor, batch: Batch, heads: int) -> Tensor:
    """How far the self-relations of queries, keys and values are apart (MiniLMv2, arXiv 2012.15828).

    A relation is softmax(X X^T / sqrt(d)) for X of queries, keys or values, cut into `heads` parts: neither widths
    nor attention heads of the two need be the same. The divergence is a mean over texts, tokens and heads.

    Args:
        student: float32 [3, tokens, width], queries, keys and values.
        teacher: float32 [3, tokens, another width].
        batch: the texts.
        heads: relation heads; divides both widths.
    """
    loss = student.new_zeros(())
    for own, other in zip(student, teacher, strict=True):
        got, wanted = (_relation(rows, batch, heads) for rows in (own, other))
        # Where a whole column is padding both are -inf: no divergence, and no NaN.
        terms = wanted.exp() * (wanted - got).nan_to_num(0.0, 0.0, 0.0)
        rows = batch.gather(terms.sum(-1).transpose(1, 2))
        loss = loss + rows.mean()
    return loss


def _relation(rows: Tensor, batch: Batch, heads: int) -> Tensor:
    """log softmax of products of tokens: float32 [texts, heads, longest, longest]."""
    parts = batch.spread(rows).unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = parts @ parts.transpose(-1, -2) / parts.shape[-1] ** 0.5
    if batch.mask is not None:
        scores = scores.masked_fill(~batch.mask, -torch.inf)
    return functional.log_softmax(scores, dim=-1)
