"""The dialect of OpenAI: embeddings and models; and reranking as Cohere and Jina have it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np

from minibert.serve import fields, work
from minibert.serve.refusals import CannotDo, Refusal, TooMuch, WrongField
from minibert.serve.responses import Headers, Response, as_json, numbers
from minibert.serve.service import Call, Service
from minibert.tasks import vectors

#: What clients of other services call the two sides of a search.
_SIDES = {
    "query": vectors.QUERY_PROMPTS,
    "search_query": vectors.QUERY_PROMPTS,
    "document": vectors.DOCUMENT_PROMPTS,
    "passage": vectors.DOCUMENT_PROMPTS,
    "search_document": vectors.DOCUMENT_PROMPTS,
}


async def embeddings(service: Service, call: Call) -> Response:
    """POST /v1/embeddings."""
    body = call.body
    served = service.served(body, work.need_vectors)
    packed = fields.choice(body, "encoding_format", ("float", "base64"), "float") == "base64"
    cutter = service.cutter(served, body)
    prepare = embedding(cutter, body, "input", normalize=body.get("dimensions") is not None)

    def write(rows: np.ndarray) -> Response:
        items = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":{_base64(row) if packed else numbers(row)}}}'
            for index, row in enumerate(rows)
        )
        usage = as_json({"prompt_tokens": cutter.tokens, "total_tokens": cutter.tokens}).body.decode()
        name = as_json(served.name).body.decode()
        return Response(200, f'{{"object":"list","data":[{items}],"model":{name},"usage":{usage}}}'.encode())

    return await service.answer(served.batcher, call, prepare, write)


def embedding(cutter: work.Cutter, body: fields.Body, name: str, normalize: bool) -> Callable[[], work.Work]:
    """What makes vectors of a field's texts or token ids, with the fields that say which vectors."""
    inputs = fields.texts_or_tokens(body, name)
    dimensions = fields.whole(body, "dimensions", 1, cutter.model.engine.out_features)
    prompt = prompt_of(cutter.model, body)
    if prompt and not isinstance(inputs[0], str):
        raise WrongField("token ids have their prompt in them: prompt_name and input_type are for texts", name)
    return lambda: work.embedding(cutter, inputs, prompt, dimensions, normalize)


def prompt_of(model: Any, body: fields.Body) -> str:
    """What goes before each text: `prompt_name` says it, or `input_type`, where the model has one for that side."""
    name = fields.text(body, "prompt_name")
    side = fields.choice(body, "input_type", tuple(_SIDES))
    if name is not None and side is not None:
        raise WrongField("give either prompt_name or input_type", "prompt_name")
    if side is not None:
        name = vectors.first_prompt(model.task, _SIDES[side])
    return vectors.resolve_prompt(model.task, name, None)


def _base64(row: np.ndarray) -> str:
    return f'"{base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode()}"'


async def rerank(service: Service, call: Call) -> Response:
    """POST /v1/rerank."""
    body = call.body
    served = service.served(body, need_ranking)
    query = fields.needed_text(body, "query")
    documents = fields.documents(body, "documents")
    best = fields.whole(body, "top_n", 1, 1 << 31) or len(documents)
    shown = fields.flag(body, "return_documents", False)
    cutter = service.cutter(served, body, default=True)

    def write(scores: np.ndarray) -> Response:
        order = np.argsort(-scores, kind="stable")[:best].tolist()
        results = [
            {"index": place, "relevance_score": float(scores[place])}
            | ({"document": {"text": documents[place]}} if shown else {})
            for place in order
        ]
        usage = {"total_tokens": cutter.tokens}
        return as_json(
            {"id": str(uuid4()), "object": "list", "model": served.name, "results": results, "usage": usage}
            | {"meta": {"tokens": {"input_tokens": cutter.tokens}}}
        )

    return await service.answer(served.batcher, call, lambda: work.ranking(cutter, query, documents), write)


def need_ranking(model: Any) -> None:
    """Raise CannotDo unless a model gives one score to a query and a document."""
    model.need("text-classification", "sentence-embedding", "multi-vector")
    if model.task.kind == "text-classification" and len(model.labels) != 1:
        raise CannotDo(f"ranking needs a model with one output; {model.path.stem} has {len(model.labels)}")


async def models(service: Service, call: Call) -> Response:
    """GET /v1/models."""
    return as_json({"object": "list", "data": [_model(service, name) for name in service.models]})


async def model(service: Service, call: Call) -> Response:
    """GET /v1/models/NAME."""
    return as_json(_model(service, service.served(call.body).name))


def _model(service: Service, name: str) -> dict[str, Any]:
    model = service.models[name].model
    task = {"kind": model.task.kind, "labels": list(model.labels), "max_length": model.max_length}
    return {"id": name, "object": "model", "created": 0, "owned_by": "minibert", "task": task}


def shape(refusal: Refusal) -> Response:
    """A refusal as OpenAI's clients read it."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = "server_error" if refusal.status >= 500 else kinds.get(refusal.status, "invalid_request_error")
    field = refusal.field if isinstance(refusal, WrongField) else None
    code = "context_length_exceeded" if isinstance(refusal, TooMuch) else refusal.code
    error = {"message": str(refusal), "type": kind, "param": field, "code": code}
    return as_json({"error": error}, _status(refusal), retry(refusal))


def shape_of_rerank(refusal: Refusal) -> Response:
    """A refusal as the clients of Cohere read it ("message") and those of Jina ("detail")."""
    return as_json({"message": str(refusal), "detail": str(refusal)}, _status(refusal), retry(refusal))


def _status(refusal: Refusal) -> int:
    """A text that is too long is a mistake like others to OpenAI; a body that is too long is one of HTTP's own."""
    return 400 if isinstance(refusal, TooMuch) else refusal.status


def retry(refusal: Refusal) -> Headers:
    """When to ask again, where that helps."""
    return () if refusal.retry_after is None else ((b"retry-after", str(refusal.retry_after).encode()),)
