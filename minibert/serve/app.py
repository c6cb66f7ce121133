"""The service as an ASGI application: from a request's bytes to a route, and from refusals to the shape of its dialect.

No framework stands between: two dozen routes by their exact paths are one look into a table, and for texts of a few
tokens what a framework does with a request takes as long as the model.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from time import perf_counter
from typing import Any

from minibert.serve import openai
from minibert.serve.fields import Body, known
from minibert.serve.refusals import HttpRefusal, WrongField, refused
from minibert.serve.responses import Response
from minibert.serve.route import Route
from minibert.serve.routes import PREFIXES, ROUTES
from minibert.serve.service import Call, Room, Service

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


#: Bytes of a body that is too large, at most, that are read and forgotten.
_THROWN_AWAY = 64 << 20


class ClientGone(Exception):  # noqa: N818 - nobody is left to be told of an error
    """The client went away before its request was whole."""


class App:
    """The application.

    Args:
        service: the models.
        api_key: what requests must have in their Authorization, or None; the page and /health are for everyone.
        hosts: what requests may call this host, without its port; None for anything. For a service on the loopback
            address: it keeps pages of other sites from reaching it by a name of their own (DNS rebinding).
    """

    def __init__(self, service: Service, api_key: str | None = None, hosts: Collection[str] | None = None) -> None:
        self.service = service
        self._key = None if api_key is None else api_key.encode()
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the beginning and the end of the service."""
        if scope["type"] == "lifespan":
            with suppress(asyncio.CancelledError):  # a second Ctrl-C: no wish for what a first one waits for
                await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # a websocket, which there is none of
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.get_running_loop().run_in_executor(None, self.service.stop)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        method, path = scope["method"], scope["path"]
        shape, name = openai.shape, "other"
        headers = dict(scope["headers"])

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        with self.service.room() as room:
            try:
                route, captured = self._route("GET" if method == "HEAD" else method, path)
                shape, name = route.shape, route.path
                self._admit(route, headers)
                body = captured
                if route.has_body:
                    self._expect(headers)
                    body = self._fields(route, await self._read(receive, room))
                begun = perf_counter()
                response = await route.handler(self.service, Call(body, room.taken, gone))
            except (ClientGone, asyncio.CancelledError):
                self.service.metrics.answered(name, 499, perf_counter() - begun)
                return
            except Exception as error:
                refusal = refused(error)
                if refusal.status == 500:
                    traceback.print_exception(error, file=sys.stderr)
                response = shape(refusal)
                response = response._replace(headers=(*response.headers, *refusal.headers))
                if room.more and (refusal.status == 408 or not await self._throw_away(headers, receive)):
                    response = response._replace(headers=(*response.headers, (b"connection", b"close")))
        self.service.metrics.answered(name, response.status, perf_counter() - begun)
        await _send(response, method == "HEAD", send)

    def _route(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a path, and what stands in it."""
        captured = {}
        methods = ROUTES.get(path)
        if methods is None:
            for prefix, field, prefixed in PREFIXES:
                if path.startswith(prefix) and len(path) > len(prefix):
                    methods, captured = prefixed, {field: path[len(prefix) :]}
        if methods is None:
            raise HttpRefusal(404, "not_found", f"there is nothing at {path:.200}: /openapi.json says what there is")
        if method not in methods:
            allowed = ", ".join(sorted(methods)).encode()
            raise HttpRefusal(405, "method_not_allowed", f"{path} takes {allowed.decode()}", ((b"allow", allowed),))
        return methods[method], captured

    def _admit(self, route: Route, headers: dict[bytes, bytes]) -> None:
        """Refuse who may not ask."""
        if self._hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
            if name not in self._hosts:
                raise HttpRefusal(403, "host", f"this service is not called {name!r:.80}: minibert serve --allow-host")
        if self._key is not None and not route.public:
            given = headers.get(b"authorization", b"")
            kind, _, key = given.partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(key.strip(), self._key):
                message = "this service needs a key: Authorization: Bearer KEY"
                raise HttpRefusal(401, "invalid_api_key", message, ((b"www-authenticate", b"Bearer"),))

    def _expect(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a body for what its headers say of it."""
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        # A page of another site can send a form or plain text without asking, but no JSON.
        if kind != b"application/json":
            raise HttpRefusal(415, "unsupported_media_type", "send the body as Content-Type: application/json")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise HttpRefusal(415, "unsupported_media_type", "send the body as it is, without Content-Encoding")
        if _length(headers) > self.service.bounds.body:
            raise self._too_large()

    async def _read(self, receive: Receive, room: Room) -> bytes:
        """The body of a request."""
        try:
            return await asyncio.wait_for(self._body(receive, room), self.service.bounds.read_seconds)
        except asyncio.TimeoutError:
            seconds = self.service.bounds.read_seconds
            raise HttpRefusal(408, "timeout", f"the body did not come within {seconds:g} seconds") from None

    async def _body(self, receive: Receive, room: Room) -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            room.more = message.get("more_body", False)
            room.take(len(parts[-1]))
            if room.taken > self.service.bounds.body:
                raise self._too_large()
            if not room.more:
                return b"".join(parts)

    def _fields(self, route: Route, data: bytes) -> Body:
        """A body's fields: it is an object in JSON, of fields that there are."""
        try:
            body = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise HttpRefusal(400, "invalid_json", f"the body is no JSON: {error!s:.200}") from None
        if not isinstance(body, dict):
            raise WrongField(f"the body must be an object, got {type(body).__name__}")
        known(body, route.fields or ())
        return body

    async def _throw_away(self, headers: dict[bytes, bytes], receive: Receive) -> bool:
        """Read what is on its way, so that a client that only listens when it has sent all hears why; False if not all.

        Nothing is read of what has no known end, and of what the client only sends if it is told to.
        """
        if b"transfer-encoding" in headers or b"expect" in headers or _length(headers) > _THROWN_AWAY:
            return False

        async def rest() -> None:
            while (await receive()).get("more_body", False):
                pass

        try:
            await asyncio.wait_for(rest(), self.service.bounds.read_seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def _too_large(self) -> HttpRefusal:
        message = f"a body may have {self.service.bounds.body} bytes: send fewer texts at once"
        return HttpRefusal(413, "too_large", message)


def _length(headers: dict[bytes, bytes]) -> float:
    """Bytes that a body is said to have."""
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() and len(length) <= 18 else float("inf")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


async def _send(response: Response, head: bool, send: Send) -> None:
    headers = [
        (b"content-type", response.type),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})
