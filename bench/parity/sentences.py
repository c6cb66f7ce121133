"""minibert against sentence-transformers: dense and sparse vectors, cross-encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import minibert
from bench.parity.checkpoints import write_sentence_models
from bench.parity.compare import Row, compare
from minibert_converter.convert import convert
from tests.chains import CHAINS, TEXTS, write_chain, write_router


def rows(folder: Path, texts: Sequence[str]) -> Iterator[Row]:
    """All comparisons."""
    folders = write_sentence_models(folder, texts)
    models = {}
    for name, checkpoint in folders.items():
        convert(checkpoint, folder / f"{name}.safetensors", quantize="none")
        models[name] = minibert.load(folder / f"{name}.safetensors", threads=1)
    for pooling in ("mean", "cls", "max", "lasttoken"):
        yield from _vectors(pooling, folders[pooling], models[pooling], texts)
    yield from _chains(folder / "chains")
    yield _sparse(folders["sparse"], models["sparse"], texts)
    yield from _scores(folders["ranker"], models["ranker"], texts)
    yield _relations(folders["relations"], models["relations"], texts)


def _vectors(name: str, folder: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    from sentence_transformers import SentenceTransformer

    other = SentenceTransformer(str(folder), device="cpu")
    kinds = {
        "two projections, normalized": {},
        "prompt by name": {"prompt_name": "query"},
        "prompt": {"prompt": "say: "},
        "truncate_dim": {"truncate_dim": 16},
        "truncate_dim, normalized": {"truncate_dim": 16, "normalize_embeddings": True},
    }
    for kind, options in kinds.items() if name == "mean" else list(kinds.items())[:1]:
        made, wanted = (each.encode(list(texts), **options) for each in (model, other))
        yield compare(f"{name} vectors: {kind}", texts, made, wanted)
    if name == "mean":
        made = model.encode_query(list(texts)), model.encode_document(list(texts))
        wanted = other.encode_query(list(texts)), other.encode_document(list(texts))
        yield compare("encode_query", texts, made[0], wanted[0])
        yield compare("encode_document", texts, made[1], wanted[1])
        yield compare("similarity", texts, model.similarity(*made), other.similarity(*wanted).numpy())


def _chains(folder: Path) -> Iterator[Row]:
    """Modules in any order, with and without a prompt, and both routes of a Router."""
    from sentence_transformers import SentenceTransformer

    folders = {name: write_chain(folder / name, modules) for name, modules in CHAINS.items()}
    folders["a router"] = write_router(folder / "router")
    for name, checkpoint in folders.items():
        other = SentenceTransformer(str(checkpoint), device="cpu")
        for route in ("query", "document") if name == "a router" else (None,):
            convert(checkpoint, folder / "model", quantize="none", route=route)
            model = minibert.load(folder / "model", threads=1)
            for prompt in (None, "what is this "):
                wanted = other.encode(TEXTS, prompt=prompt, **({"task": route} if route else {}))
                what = f"{name}{f', route {route}' if route else ''}{', prompt' if prompt else ''}"
                yield compare(f"chain: {what}", TEXTS, model.encode(TEXTS, prompt=prompt), wanted)


def _sparse(folder: Path, model: minibert.Model, texts: Sequence[str]) -> Row:
    from sentence_transformers import SparseEncoder

    wanted = SparseEncoder(str(folder), device="cpu").encode(list(texts), convert_to_sparse_tensor=False).numpy()
    made = np.zeros_like(wanted)
    for row, vector in zip(made, model.encode_sparse(list(texts)), strict=True):
        row[vector.indices] = vector.values
    return compare("sparse vectors", texts, made, wanted)


def _scores(folder: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    from sentence_transformers import CrossEncoder

    other = CrossEncoder(str(folder), device="cpu")
    pairs = list(zip(texts, reversed(texts), strict=True))
    yield compare("cross-encoder: predict", pairs, model.score(pairs), other.predict(pairs))
    queries, documents = texts[:20], list(texts[:40])
    wanted = [
        [{key: each[key] for key in ("corpus_id", "score", "text")} for each in ranked]
        for ranked in (other.rank(query, documents, top_k=5, return_documents=True) for query in queries)
    ]
    made = [model.rank(query, documents, top_k=5, return_documents=True) for query in queries]
    for ranked in wanted:
        for each in ranked:
            each["corpus_id"], each["score"] = int(each["corpus_id"]), float(each["score"])
    yield compare("cross-encoder: rank", queries, made, wanted)


def _relations(folder: Path, model: minibert.Model, texts: Sequence[str]) -> Row:
    """Of several outputs sentence-transformers gives the logits."""
    from sentence_transformers import CrossEncoder

    pairs = list(zip(texts, reversed(texts), strict=True))
    wanted = CrossEncoder(str(folder), device="cpu").predict(pairs)
    return compare("cross-encoder: three outputs", pairs, model.score(pairs, function_to_apply="none"), wanted)
