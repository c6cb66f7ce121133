"""The page at / to try a model, and the list of routes at /docs: three files, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from minibert.serve.responses import Response
from minibert.serve.service import Call, Service

#: A browser loads and asks nothing but this service, whatever a model's labels or a text may hold.
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


def _file(name: str, kind: bytes) -> Callable[[Service, Call], Awaitable[Response]]:
    async def handler(service: Service, call: Call) -> Response:
        return Response(200, files(__name__).joinpath(name).read_bytes(), kind + b"; charset=utf-8", _HEADERS)

    return handler


#: By path, what it is and what answers.
FILES = {
    "/": ("A page to try the models", _file("index.html", b"text/html")),
    "/docs": ("This list, for people", _file("docs.html", b"text/html")),
    "/page.js": ("Its script", _file("page.js", b"text/javascript")),
    "/docs.js": ("The script of the list", _file("docs.js", b"text/javascript")),
    "/page.css": ("Its style", _file("page.css", b"text/css")),
}
