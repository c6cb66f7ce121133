"""How fast a model is on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from minibert.format.schema import Config
from minibert.model import Model
from minibert.pipeline import Pipeline

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
#: The ragged batch: this many texts, lengths lognormal around a median, as real short texts have them.
RAGGED_TEXTS, RAGGED_MEDIAN, RAGGED_SIGMA, RAGGED_RANGE = 64, 20, 0.6, (4, 128)
SENTENCE = "the quick brown fox jumps over the lazy dog while nobody is looking"
QUESTION = "who jumps over the dog"


def macs(config: Config, length: int) -> int:
    """Multiply-adds in the matrices and attention products of one text of `length` tokens; padding is no work."""
    a = config.architecture
    in_layers = sum(_work(config, name) for name in config.linears if name.startswith("layers."))
    before, after = (
        sum(_work(config, layer.name) for layer in part if layer.kind == "linear")
        for part in (a.head[: a.pool_after], a.head[a.pool_after :])
    )
    attention = sum(2 * length * length * layer.num_heads * a.head_size for layer in a.layers)
    return length * (in_layers + before) + after * (length if a.pooling == "none" else 1) + attention


def measure(call: Callable[[], object], seconds: float = 0.5, least: int = 5) -> float:
    """The median time of `call`, in seconds, over at least `least` calls and about `seconds` of them, once warm."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def by_length(model: Model, lengths: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Latency of one text at each length: seconds, tokens a second, 10⁹ multiply-adds a second."""
    random = np.random.default_rng(0)
    rows = []
    for length in lengths:
        ids = _ids(model, random, [length])
        median = measure(lambda ids=ids: model.forward(ids), seconds)
        gmacs = macs(model.config, length) / median / 1e9
        rows.append({"length": length, "seconds": median, "tokens_per_second": length / median, "gmacs": gmacs})
    return rows


def ragged(model: Model, seconds: float) -> dict[str, Any]:
    """One batch of texts whose lengths differ: seconds, texts and tokens a second, 10⁹ multiply-adds a second."""
    random = np.random.default_rng(0)
    drawn = random.lognormal(np.log(RAGGED_MEDIAN), RAGGED_SIGMA, RAGGED_TEXTS)
    most = min(RAGGED_RANGE[1], model.config.architecture.max_positions)
    lengths = np.clip(np.rint(drawn), RAGGED_RANGE[0], most).astype(int).tolist()
    ids = _ids(model, random, lengths)
    median = measure(lambda: model.forward(ids), seconds)
    return {
        "texts": len(lengths),
        "tokens": sum(lengths),
        "seconds": median,
        "texts_per_second": len(lengths) / median,
        "tokens_per_second": sum(lengths) / median,
        "gmacs": sum(macs(model.config, length) for length in lengths) / median / 1e9,
    }


def one_text(model: Model, seconds: float) -> dict[str, Any]:
    """Where the time of one short text, or of a question about it, goes, from `predict` or `encode` to the answer.

    In seconds: "engine" is `forward` with its token ids, "tokenizer" is text to token ids, "python" what is left,
    measured with an engine that has its answer ready: as a difference of milliseconds it would drown in their noise.
    """
    tokenizer, kind = model.tokenizer, model.task.kind
    text, pair = (QUESTION, SENTENCE) if kind == "question-answering" else (SENTENCE, None)
    if kind == "fill-mask" and tokenizer.mask_id is not None:
        text = f"{tokenizer.token(tokenizer.mask_id)} {SENTENCE}"
    encoded = tokenizer.encode(text, pair)
    ids, types = [encoded.ids], None if encoded.type_ids is None else [encoded.type_ids]
    recorded = copy(model)
    recorded.pipeline = Pipeline(_Recorded(model, model.forward(ids, types)), lambda: tokenizer, model.config)
    vars(recorded)["_encoder"] = recorded.pipeline  # for a model that gives all its tokens' vectors and no more

    def answer(model: Model) -> Any:
        if kind == "multi-vector":
            return model.encode_document(SENTENCE)
        if kind == "sentence-embedding":
            pooled = model.config.architecture.pooling != "none"
            return model.encode(SENTENCE) if pooled else model.features(SENTENCE)
        return model.predict(text) if pair is None else model.predict(text, pair)

    around = measure(lambda: answer(recorded), seconds)
    tokens = measure(lambda: tokenizer.encode(text, pair), seconds)
    return {
        "tokens": len(ids[0]),
        "seconds": measure(lambda: answer(model), seconds),
        "engine": measure(lambda: model.forward(ids, types), seconds),
        "tokenizer": tokens,
        "python": around - tokens,
    }


class _Recorded:
    """An engine that has its answer ready: what is left is the time around the engine."""

    def __init__(self, model: Model, rows: np.ndarray) -> None:
        self._rows = rows
        self._pooled = model.engine.pooled
        self.threads = 1
        self.out_features = rows.shape[1]

    def forward(self, ids: Any, token_types: Any = None, wanted: Any = None, attended: Any = None) -> np.ndarray:
        count = len(ids) if self._pooled else sum(map(len, ids if wanted is None else wanted))
        return self._rows if count == len(self._rows) else np.resize(self._rows, (count, self.out_features))


def _ids(model: Model, random: np.random.Generator, lengths: Sequence[int]) -> list[list[int]]:
    return [random.integers(0, model.config.architecture.vocab_size, length).tolist() for length in lengths]


def _work(config: Config, linear: str) -> int:
    return config.linears[linear].in_features * config.linears[linear].out_features
