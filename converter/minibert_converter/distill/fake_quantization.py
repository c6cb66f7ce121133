"""The engine's int8 arithmetic, with gradients: what a student trains with is what will run.

Forward, numbers are what `minibert.reference` computes: codes of activations with one scale a token, codes of weights
with one scale an output, exact sums of products. Backward, rounding counts as the identity (straight-through,
arXiv 1308.3432; quantisation-aware training, arXiv 1712.05877).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from minibert.numerics import (
    ATTENTION_LIMIT,
    CODE_STEPS,
    DISTANCE_LIMIT,
    DISTANCE_STEPS,
    GELU_CODES_BOUND,
    GELU_CODES_POLYNOMIAL,
    HIGHEST_CODE,
    LOG2_E,
    LOWEST_SCORE,
    ROUND_MAGIC,
    SMALLEST_SPAN,
    VALUE_LIMIT,
)
from minibert.reference.functions import softmax_weights
from minibert_converter.passes.quantize.rounding import LIMIT, SMALLEST_ROW


def row_codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Integer codes of activations with one scale a row, as the engine makes them; zero points are taken off again.

    Args:
        x: float32 [..., n].

    Returns:
        Codes, whole numbers as float32 [..., n], and scales float32 [..., 1]: x is about codes * scales.
    """
    high, low = x.amax(dim=-1, keepdim=True).clamp(min=0), x.amin(dim=-1, keepdim=True).clamp(max=0)
    inverse, scale = _steps(high - low, CODE_STEPS)
    # Rounded with the zero point added: of a half, that decides which code is even.
    magic = ROUND_MAGIC + (HIGHEST_CODE - torch.round(high * inverse))
    return (x * inverse + magic) - magic, scale


def symmetric_codes(x: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Codes in -limit..limit with one scale a row, as `row_codes` returns them."""
    inverse, scale = _steps(x.abs().amax(dim=-1, keepdim=True), limit)
    return torch.round(x * inverse), scale


def _steps(span: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The steps in one, and the size of a step, where a span is cut into `count` of them; both 0 for a tiny span."""
    zero = span < SMALLEST_SPAN
    # Tensors, since torch divides a number by multiplying it with the reciprocal, which rounds twice.
    steps, size = torch.tensor([count, 1.0 / count], dtype=torch.float32)
    inverse = torch.where(zero, 0.0, steps / torch.where(zero, 1.0, span))
    return inverse, torch.where(zero, 0.0, span * size)


def weight_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of weights with one scale a row, as `quantize.rounding.round_to_nearest` makes them.

    Args:
        weight: float32 [out, in].

    Returns:
        Codes, whole numbers as float32 [out, in], and scales float32 [out, 1].
    """
    largest = weight.abs().amax(dim=1, keepdim=True)
    scale = torch.where(largest > SMALLEST_ROW, largest / LIMIT, 1.0)
    return torch.round(weight / scale).clamp(-LIMIT, LIMIT), scale


class _Product(torch.autograd.Function):
    """x W^T in int8, differentiated as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        codes, step = row_codes(x)
        weights, scale = weight_codes(weight)
        # Codes, up to 253, are exact in bfloat16 too; its sums are float32, but what it returns has 8 bits.
        codes, weights = codes.to(dtype), weights.to(dtype)
        ctx.save_for_backward(codes, step, weights, scale)
        return (functional.linear(codes, weights).float() * step) * scale.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        codes, step, weights, scale = ctx.saved_tensors
        rows = (gradient * scale.T).to(codes.dtype)
        left = (rows @ weights).float() if ctx.needs_input_grad[0] else None
        right = ((gradient * step).to(codes.dtype).T @ codes).float() if ctx.needs_input_grad[1] else None
        return left, right, None


def linear_int8(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(sum of products of codes * scale of the row) * scale of the output + bias.

    Args:
        x: float32 [rows, in].
        weight: float32 [out, in].
        bias: float32 [out].
        dtype: what codes are multiplied in; in float32 the sums are exact up to 512 inputs and nearly so beyond.

    Returns:
        float32 [rows, out].
    """
    return _Product.apply(x, weight, dtype) + bias  # pyright: ignore[reportOperatorIssue]


def rounded_rows(x: Tensor, limit: int) -> Tensor:
    """Rows as their symmetric codes stand for them, float32 [..., n]; the gradient passes straight through."""
    codes, scale = symmetric_codes(x.detach(), limit)
    return x + (codes * scale - x).detach()


def rounded_table(rows: Tensor) -> Tensor:
    """Rows of an embedding table as their int8 codes stand for them; the gradient passes straight through."""
    codes, scale = weight_codes(rows.detach())
    return rows + (codes * scale - rows).detach()


def attention_int8(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, head_size: int) -> Tensor:
    """Attention in the engine's integers: codes of queries, keys and values, softmax weights of 12 bits.

    The gradient is that of exact softmax attention of what the codes stand for. Of texts longer than the engine's
    block of keys, the maximum that weights are rounded against is that of the whole text here.

    Args:
        query: float32 [texts, heads, tokens, width]; padding tokens are zero.
        key: float32, as `query`.
        value: float32, as `query`.
        mask: bool [texts, 1, 1, tokens], False for padding; None if there is none.
        head_size: of the model; 1 / sqrt(head_size) scales the scores.

    Returns:
        float32 [texts, heads, tokens, width].
    """
    query, key = rounded_rows(query, ATTENTION_LIMIT), rounded_rows(key, ATTENTION_LIMIT)
    value = rounded_rows(value.transpose(-1, -2), VALUE_LIMIT).transpose(-1, -2)
    smooth = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1 / math.sqrt(head_size))
    with torch.no_grad():
        scores = query @ key.transpose(-1, -2) * (LOG2_E / math.sqrt(head_size) * DISTANCE_STEPS)
        if mask is not None:
            scores = scores.masked_fill(~mask, LOWEST_SCORE)
        distance = (scores.amax(dim=-1, keepdim=True) - scores).clamp(max=DISTANCE_LIMIT)
        weights = _weights(scores.device)[torch.round(distance).long()]
        context = (weights @ value) / weights.sum(dim=-1, keepdim=True)
    return smooth + (context - smooth).detach()


def gelu_codes(x: Tensor) -> Tensor:
    """GELU of values that become codes at once."""
    z = x.clamp(-GELU_CODES_BOUND, GELU_CODES_BOUND)
    return x * (z * _polynomial(z * z, GELU_CODES_POLYNOMIAL) + 0.5)


@cache
def _weights(device: torch.device) -> Tensor:
    """Softmax weights by distance, float32."""
    return torch.from_numpy(softmax_weights(np.arange(DISTANCE_LIMIT + 1))).float().to(device)


def _polynomial(t: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Estrin's scheme, lowest power first, as minibert.reference.functions has it."""
    terms = [torch.full_like(t, c) for c in coefficients]
    while len(terms) > 1:
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [high * t + low for low, high in zip(terms[::2], terms[1::2], strict=False)] + odd
        t = t * t
    return terms[0]
