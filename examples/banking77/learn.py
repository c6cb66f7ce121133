"""The training loop: a BERT classifier learns from labels, from a teacher's logits, or from both."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification

NO_LABEL = -100  # what cross_entropy ignores


@dataclass
class Dataset:
    """Texts as token ids of the student, and what should come out."""

    ids: list[list[int]]
    labels: Tensor  # int64 [texts]; NO_LABEL for a varied text whose label is no longer sure
    logits: Tensor | None = None  # float32 [texts, classes], the teacher's


@dataclass
class Recipe:
    """How to train."""

    passes: int
    batch: int
    lr: float  # at its peak
    weight_decay: float
    temperature: float  # softens the teacher's answers
    hard: float  # weight of the true labels' loss beside the teacher's
    seed: int
    bfloat16: bool  # matmuls in bfloat16, all else in float32


def log(*words: object) -> None:
    """Progress, with the seconds of processor time used so far."""
    print(f"[{time.process_time():6.0f} s]", *words, file=sys.stderr, flush=True)


def padded(ids: Sequence[Sequence[int]], pad: int) -> dict[str, Tensor]:
    """Model inputs for one batch, int64 [batch, longest]."""
    width = max(map(len, ids))
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    return {"input_ids": torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids]), "attention_mask": mask}


def predict(
    model: BertForSequenceClassification, ids: Sequence[Sequence[int]], *, bfloat16: bool = False, name: str = ""
) -> Tensor:
    """Logits, float32 [texts, classes]. Texts of like length run together; with ``name`` progress is logged."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    logits = torch.empty(len(ids), model.config.num_labels)
    model.eval()
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits[rows] = model(**padded([ids[i] for i in rows], model.config.pad_token_id)).logits.float()
        if name and start % 12800 == 0:
            log(f"{name}: {start:,} of {len(ids):,} texts")
    return logits


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Percent of rows whose largest logit is the label's."""
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def _batches(ids: Sequence[Sequence[int]], size: int, generator: torch.Generator) -> list[list[int]]:
    """One pass in random order, in batches of texts of like length (so that little is spent on padding)."""
    order = torch.randperm(len(ids), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), size * 32):
        chunk = sorted(order[start : start + size * 32], key=lambda i: len(ids[i]))
        batches += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _loss(logits: Tensor, dataset: Dataset, rows: list[int], recipe: Recipe) -> Tensor:
    """Divergence from the teacher's softened answers, plus the true labels' loss (Hinton, Vinyals and Dean, 2015)."""
    labels = dataset.labels[rows]
    hard = functional.cross_entropy(logits, labels, ignore_index=NO_LABEL, label_smoothing=0.1, reduction="sum")
    if dataset.logits is None:
        return hard / len(rows)
    warmth = recipe.temperature
    soft = functional.kl_div(
        functional.log_softmax(logits / warmth, -1),
        functional.log_softmax(dataset.logits[rows] / warmth, -1),
        log_target=True,
        reduction="sum",
    )
    return (warmth**2 * soft + recipe.hard * hard) / len(rows)


def fit(model: BertForSequenceClassification, dataset: Dataset, recipe: Recipe) -> None:
    """Train ``model`` in place with AdamW, a linear warm-up and a cosine decay to zero.

    It ends as the moving average of its weights over about the last 1/200 of the steps that came before.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},  # biases and norms
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), foreach=True)
    steps = recipe.passes * len(_batches(dataset.ids, recipe.batch, torch.Generator()))
    warm = max(1, steps // 20)
    average = [p.detach().clone() for p in parameters]
    step = 0
    for number in range(recipe.passes):
        model.train()
        total = 0.0
        for done, rows in enumerate(_batches(dataset.ids, recipe.batch, generator), 1):
            step += 1
            decay = (1 + math.cos(math.pi * max(0, step - warm) / max(1, steps - warm))) / 2
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * min(step / warm, decay)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                logits = model(**padded([dataset.ids[i] for i in rows], model.config.pad_token_id)).logits
            loss = _loss(logits.float(), dataset, rows, recipe)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, max(1 / step, min(1.0, 200 / steps)))
            if done % 250 == 0:
                log(f"pass {number + 1} of {recipe.passes}, step {step:,} of {steps:,}: loss {total / done:.4f}")
    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
