"""Which paths there are: what answers each, in which dialect, and what its body has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minibert.serve import openai, page, tasks, tei
from minibert.serve.openapi import document
from minibert.serve.refusals import Refusal
from minibert.serve.responses import Response, as_json
from minibert.serve.route import Field, Route
from minibert.serve.service import Call, Service


def _any(*kinds: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(kinds)}


_STRING, _BOOLEAN = {"type": "string"}, {"type": "boolean"}
_WHOLE = {"type": "integer", "minimum": 1}
_STRINGS = {"type": "array", "items": _STRING, "minItems": 1}
_IDS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_TEXTS = _any(_STRING, _STRINGS)
_TEXTS_OR_IDS = _any(_STRING, _STRINGS, _IDS, {"type": "array", "items": _IDS, "minItems": 1})
_PAIRS = _any(_STRING, {"type": "array", "items": _any(_STRING, _STRINGS), "minItems": 1})
_DOCUMENTS = {
    "type": "array",
    "items": _any(_STRING, {"type": "object", "properties": {"text": _STRING}, "required": ["text"]}),
    "minItems": 1,
}
_QUESTION = {
    "type": "object",
    "properties": {"question": _STRING, "context": _STRING},
    "required": ["question", "context"],
}
_MODEL = {"model": Field(_STRING)}
_CUT = {"truncate": Field(_BOOLEAN)}
_CUT_RIGHT = {**_CUT, "truncation_direction": Field({"enum": ["right", "Right"]})}
_PROMPT = {"prompt_name": Field(_STRING), "input_type": Field({"enum": ["query", "document"]})}

#: Of the fields of tasks, what is not a text.
_OPTIONS = {
    "top_k": {**_WHOLE, "type": ["integer", "null"]},
    "function_to_apply": {"enum": ["softmax", "sigmoid", "none"]},
    "candidate_labels": _TEXTS,
    "hypothesis_template": _STRING,
    "multi_label": _BOOLEAN,
    "aggregation_strategy": {"enum": ["none", "simple", "first", "average", "max"]},
    "ignore_labels": {"type": "array", "items": _STRING},
    "stride": {"type": "integer", "minimum": 0},
    "doc_stride": {"type": "integer", "minimum": 0},
    "max_answer_len": _WHOLE,
    "handle_impossible_answer": _BOOLEAN,
    "align_to_words": _BOOLEAN,
    "targets": _TEXTS,
}
_INPUTS = {
    "text-classification": (_PAIRS, "where is my card?", {}),
    "zero-shot-classification": (_TEXTS, "the goalkeeper was hurt", {"candidate_labels": ["sport", "politics"]}),
    "token-classification": (_TEXTS, "Ada lives in London.", {"aggregation_strategy": "simple"}),
    "question-answering": (
        _any(_QUESTION, {"type": "array", "items": _QUESTION, "minItems": 1}),
        {"question": "Where does Ada live?", "context": "Ada lives in London."},
        {},
    ),
    "fill-mask": (_TEXTS, "Paris is the [MASK] of France.", {"top_k": 3}),
}


def _task(name: str, task: tasks.Task, shape: Callable[[Refusal], Response]) -> Route:
    inputs, example, options = _INPUTS[name]
    fields = {"inputs": Field(inputs, needed=True), **_MODEL, **_CUT}
    fields |= {option: Field(_OPTIONS[option], option == "candidate_labels") for option in task.options}
    return Route(
        "POST", f"/tasks/{name}", f"{name}, as Model answers it", task, shape, fields, {"inputs": example} | options
    )


def _all() -> list[Route]:
    own, cohere, hub = openai.shape, openai.shape_of_rerank, tei.shape
    texts = {"inputs": Field(_TEXTS, needed=True), **_MODEL}
    return [
        Route(
            "POST",
            "/v1/embeddings",
            "Vectors of texts, as OpenAI has it",
            openai.embeddings,
            own,
            {
                "input": Field(_TEXTS_OR_IDS, needed=True),
                **_MODEL,
                "encoding_format": Field({"enum": ["float", "base64"]}),
                "dimensions": Field(_WHOLE),
                **_PROMPT,
                **_CUT,
            },
            {"input": ["where is my card?", "I lost my card"]},
        ),
        Route("GET", "/v1/models", "The models that are served", openai.models, own),
        Route("GET", "/v1/models/{model}", "One of them", openai.model, own),
        *(
            Route(
                "POST",
                path,
                "Documents by how well they answer a query, as Cohere and Jina have it",
                openai.rerank,
                cohere,
                {
                    "query": Field(_STRING, needed=True),
                    "documents": Field(_DOCUMENTS, needed=True),
                    **_MODEL,
                    "top_n": Field(_WHOLE),
                    "return_documents": Field(_BOOLEAN),
                    **_CUT,
                },
                {"query": "lost card", "documents": ["I cannot find my card", "what is the exchange rate?"]},
            )
            for path in ("/v1/rerank", "/v2/rerank")
        ),
        Route(
            "POST",
            "/embed",
            "Vectors of texts, as text-embeddings-inference has it",
            tei.embed,
            hub,
            {
                "inputs": Field(_TEXTS_OR_IDS, needed=True),
                **_MODEL,
                "normalize": Field(_BOOLEAN),
                "dimensions": Field(_WHOLE),
                **_PROMPT,
                **_CUT_RIGHT,
            },
            {"inputs": ["where is my card?"]},
        ),
        Route(
            "POST",
            "/embed_sparse",
            "Weights of words, as text-embeddings-inference has it",
            tei.embed_sparse,
            hub,
            {**texts, **_CUT_RIGHT},
            {"inputs": "where is my card?"},
        ),
        Route(
            "POST",
            "/rerank",
            "Texts by how well they answer a query, as text-embeddings-inference has it",
            tei.rerank,
            hub,
            {
                "query": Field(_STRING, needed=True),
                "texts": Field(_DOCUMENTS, needed=True),
                **_MODEL,
                "raw_scores": Field(_BOOLEAN),
                "return_text": Field(_BOOLEAN),
                **_CUT_RIGHT,
            },
            {"query": "lost card", "texts": ["I cannot find my card", "what is the exchange rate?"]},
        ),
        Route(
            "POST",
            "/predict",
            "All labels of a text or pair, as text-embeddings-inference has it",
            tei.predict,
            hub,
            {"inputs": Field(_PAIRS, needed=True), **_MODEL, "raw_scores": Field(_BOOLEAN), **_CUT_RIGHT},
            {"inputs": [["where is my card?"], ["I lost my card"]]},
        ),
        Route(
            "POST",
            "/tokenize",
            "Tokens of texts",
            tei.tokenize,
            hub,
            {**texts, "add_special_tokens": Field(_BOOLEAN), "prompt_name": Field(_STRING)},
            {"inputs": "where is my card?"},
        ),
        *(_task(name, task, own) for name, task in tasks.TASKS.items()),
        Route("GET", "/info", "What is served, and its limits", tei.info, hub),
        Route("GET", "/health", "200 while the service answers", tei.health, hub, public=True),
        Route("GET", "/metrics", "Counts for Prometheus", _metrics, own),
        Route("GET", "/openapi.json", "This list, for machines", _openapi, own, public=True),
        *(Route("GET", path, summary, handler, own, public=True) for path, (summary, handler) in page.FILES.items()),
    ]


async def _metrics(service: Service, call: Call) -> Response:
    return Response(200, service.metrics.text().encode(), b"text/plain; version=0.0.4; charset=utf-8")


async def _openapi(service: Service, call: Call) -> Response:
    return as_json(document(ALL))


ALL = _all()
#: By exact path, then by method.
ROUTES: dict[str, dict[str, Route]] = {}
#: Paths that end in a name: what stands before it, what it is called, and routes by method.
PREFIXES: list[tuple[str, str, dict[str, Route]]] = []
for _route in ALL:
    _before, _, _name = _route.path.partition("{")
    if _name:
        PREFIXES.append((_before, _name.rstrip("}"), {_route.method: _route}))
    else:
        ROUTES.setdefault(_route.path, {})[_route.method] = _route
