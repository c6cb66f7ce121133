"""AWS Lambda: answers texts over API Gateway (REST and HTTP) or a function URL.

    POST {"texts": ["where is my card?"]}      →  {"model": "minilm", "answers": [[0.01, ...]]}

Vectors of a model of sentence vectors, labels of a classifier, entities of a model of entities. The model's file is the
one beside this one, or what MINIBERT_MODEL names. Nothing is written, and no home or /tmp is needed. `python handler.py
'{"body": "..."}'` answers one event by hand.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy comes: it has nothing to do for its threads

import minibert

#: Bytes of a body and texts of a request: an answer of Lambda has 6 MB, and 128 vectors of MiniLM fill one.
MAX_BODY, MAX_TEXTS = int(os.environ.get("MAX_BODY", 256 * 1024)), int(os.environ.get("MAX_TEXTS", 128))


def opened() -> Any:
    """The model, with its first answer given: a cold start pays for that before a request waits."""
    beside = sorted(Path(__file__).parent.glob("*.safetensors"))
    model = minibert.load(os.environ.get("MINIBERT_MODEL") or (beside[0] if beside else "minilm"))
    answers(model, ["a first text"])
    return model


def answers(model: Any, texts: list[str]) -> list[Any]:
    """What the model is for, as JSON has it."""
    if model.task.kind == "sentence-embedding":
        return model.encode(texts).astype("float64").round(6).tolist()
    return model.predict(texts)


class RefusedError(Exception):
    """A request that cannot be answered: a status and why."""


def texts_of(event: dict[str, Any]) -> list[str]:
    """The texts that an event brings; RefusedError says what is wrong with it."""
    method = event.get("httpMethod") or event.get("requestContext", {}).get("http", {}).get("method", "POST")
    if method != "POST":
        raise RefusedError(405, f"POST texts here, {method} does nothing")
    body = event.get("body") or ""
    try:
        data = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        if len(data) > MAX_BODY:
            raise RefusedError(413, f"a body may have {MAX_BODY} bytes")
        value = json.loads(data)
    except (binascii.Error, UnicodeError, ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON: {error}") from None
    texts = value.get("texts") if isinstance(value, dict) else None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RefusedError(400, 'the body must be {"texts": ["a text", ...]}')
    if len(texts) > MAX_TEXTS:
        raise RefusedError(413, f"a request may have {MAX_TEXTS} texts")
    return texts


def handler(event: dict[str, Any], _context: object = None) -> dict[str, Any]:
    """What Lambda calls for each request."""
    try:
        status, content = 200, {"model": MODEL.path.stem, "answers": answers(MODEL, texts_of(event))}
    except RefusedError as error:
        status, content = error.args[0], {"error": error.args[1]}
    except minibert.InputError as error:
        status, content = 400, {"error": str(error)}
    body = json.dumps(content, ensure_ascii=False)
    headers = {"content-type": "application/json; charset=utf-8", **({"allow": "POST"} if status == 405 else {})}
    return {"statusCode": status, "headers": headers, "isBase64Encoded": False, "body": body}


MODEL = opened()

if __name__ == "__main__":
    print(json.dumps(handler(json.loads(sys.argv[1])), ensure_ascii=False))
