"""The dialect of Hugging Face's text-embeddings-inference."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from minibert import __version__
from minibert.errors import UnsupportedError
from minibert.model import Model
from minibert.serve import fields, work
from minibert.serve.openai import embedding, need_ranking, prompt_of, retry
from minibert.serve.refusals import CannotDo, Overloaded, Refusal, Stopping, TooMuch, WrongField
from minibert.serve.responses import Response, as_json, lists
from minibert.serve.service import Call, Service


async def embed(service: Service, call: Call) -> Response:
    """POST /embed."""
    body = call.body
    served = service.served(body, work.need_vectors)
    _from_the_left(body)
    prepare = embedding(service.cutter(served, body), body, "inputs", fields.flag(body, "normalize", True))
    return await service.answer(served.batcher, call, prepare, lambda rows: Response(200, lists(rows).encode()))


async def embed_sparse(service: Service, call: Call) -> Response:
    """POST /embed_sparse."""
    served = service.served(call.body, _need_sparse)
    texts, _ = fields.texts(call.body, "inputs")
    _from_the_left(call.body)
    cutter = service.cutter(served, call.body)
    batcher = served.token_heads if served.model.config.architecture.token_heads else served.batcher

    def write(found: list[Any]) -> Response:
        vectors = (
            ",".join(f'{{"index":{index},"value":{value:.9g}}}' for index, value in zip(*each, strict=True))
            for each in ((vector.indices.tolist(), vector.values.tolist()) for vector in found)
        )
        return Response(200, "[{}]".format(",".join(f"[{each}]" for each in vectors)).encode())

    return await service.answer(batcher, call, lambda: work.sparse(cutter, texts), write)


def _need_sparse(model: Model) -> None:
    if not model.config.architecture.token_heads and model.task.kind != "fill-mask":
        raise UnsupportedError(f"{model.path.stem} makes no sparse vectors: a SPLADE model (fill-mask) or BGE-M3 does")


async def rerank(service: Service, call: Call) -> Response:
    """POST /rerank."""
    body = call.body
    served = service.served(body, need_ranking)
    query = fields.needed_text(body, "query")
    texts = fields.documents(body, "texts")
    raw, shown = fields.flag(body, "raw_scores", False), fields.flag(body, "return_text", False)
    _from_the_left(body)
    cutter = service.cutter(served, body)

    def write(scores: np.ndarray) -> Response:
        return as_json(
            [
                {"index": place, "score": float(scores[place])} | ({"text": texts[place]} if shown else {})
                for place in np.argsort(-scores, kind="stable").tolist()
            ]
        )

    return await service.answer(served.batcher, call, lambda: work.ranking(cutter, query, texts, raw), write)


async def predict(service: Service, call: Call) -> Response:
    """POST /predict."""
    body = call.body
    served = service.served(body, _need_labels)
    texts, one = _predicted(body)
    function = "none" if fields.flag(body, "raw_scores", False) else None
    _from_the_left(body)
    cutter = service.cutter(served, body)

    def prepare() -> work.Work:
        return work.classification(cutter, texts, function, None)

    return await service.answer(served.batcher, call, prepare, lambda labels: as_json(labels[0] if one else labels))


def _need_labels(model: Model) -> None:
    model.need("text-classification")


def _predicted(body: fields.Body) -> tuple[list[tuple[str, str | None]], bool]:
    """Texts and pairs, and whether it is one: a list of one or two strings is one text or pair, lists of them many."""
    value = body.get("inputs")
    if isinstance(value, str):
        return [(value, None)], True
    if not isinstance(value, list) or not value:
        raise WrongField("inputs must be a string, a pair of strings, or a list of lists of these", "inputs")
    if isinstance(value[0], str):
        if len(value) > 2:
            raise WrongField('inputs: many texts are a list of lists here, as in [["first"], ["second"]]', "inputs")
        return fields.pairs([value], "inputs"), True
    return fields.pairs(value, "inputs"), False


def _from_the_left(body: fields.Body) -> None:
    """Refuse what is not done: texts are cut where the file says."""
    if (fields.text(body, "truncation_direction") or "right").lower() != "right":
        raise WrongField(
            "truncation_direction: texts lose their ends, unless the file says otherwise", "truncation_direction"
        )


async def tokenize(service: Service, call: Call) -> Response:
    """POST /tokenize."""
    body = call.body
    served = service.served(body)
    texts, _ = fields.texts(body, "inputs")
    special = fields.flag(body, "add_special_tokens", True)
    prefix = prompt_of(served.model, body) if body.get("prompt_name") is not None else ""
    cutter = service.cutter(served, body)

    def tokens() -> Response:
        cutter.admit(texts)
        return as_json([_tokens(served.model, prefix + text, special) for text in texts])

    with service.place():
        return await asyncio.get_running_loop().run_in_executor(None, tokens)


def _tokens(model: Model, text: str, special: bool) -> list[dict[str, Any]]:
    tokenizer = model.tokenizer
    content, frame = tokenizer.content(text), tokenizer.frame(False)

    def special_ones(ids: list[int]) -> list[dict[str, Any]]:
        return [{"id": id, "text": tokenizer.token(id), "special": True, "start": None, "stop": None} for id in ids]

    own = [
        {"id": id, "text": text[start:stop], "special": False, "start": start, "stop": stop}
        for id, (start, stop) in zip(content.ids, content.offsets, strict=True)
    ]
    return [*special_ones(frame.before), *own, *special_ones(frame.after)] if special else own


async def info(service: Service, call: Call) -> Response:
    """GET /info: of the first model, and of all."""
    described = [_info(service, name) for name in service.models]
    bounds = service.bounds
    limits = {
        "max_concurrent_requests": bounds.queue,
        "max_client_batch_size": bounds.texts,
        "max_batch_requests": None,
        "max_request_tokens": bounds.tokens,
        "payload_limit": bounds.body,
        "auto_truncate": service.truncate,
        "version": __version__,
    }
    return as_json(described[0] | limits | {"models": described})


def _info(service: Service, name: str) -> dict[str, Any]:
    served = service.models[name]
    model, architecture = served.model, served.model.config.architecture
    labels = {str(place): label for place, label in enumerate(model.labels)}
    classes = {"id2label": labels, "label2id": {label: int(place) for place, label in labels.items()}}
    if model.task.kind == "text-classification":
        kind: dict[str, Any] = {"reranker" if len(labels) == 1 else "classifier": classes}
    elif model.task.kind == "sentence-embedding":
        kind = {"embedding": {"pooling": architecture.pooling}}
    else:
        kind = {model.task.kind.replace("-", "_"): classes if labels else {}}
    return {
        "model_id": name,
        "model_sha": None,
        "model_dtype": ", ".join(sorted({each.kind for each in model.config.linears.values()})),
        "model_type": kind,
        "task": model.task.kind,
        "prompts": list(model.task.prompts),
        "max_input_length": model.max_length,
        "max_batch_tokens": served.batcher.pass_tokens,
        "backend": model.engine.backend,
        "threads": model.engine.threads,
    }


async def health(service: Service, call: Call) -> Response:
    """GET /health."""
    return Response(200, b"")


def shape(refusal: Refusal) -> Response:
    """A refusal as clients of TEI read it."""
    kinds = ((TooMuch, "Validation", 413), (Overloaded, "Overloaded", 429), (Stopping, "Unhealthy", 503))
    kinds = (*kinds, (CannotDo, "Backend", 424), (WrongField, "Validation", 422))
    for type, kind, status in kinds:
        if isinstance(refusal, type):
            return as_json({"error": str(refusal), "error_type": kind}, status, retry(refusal))
    return as_json({"error": str(refusal), "error_type": "Validation"}, refusal.status, retry(refusal))
