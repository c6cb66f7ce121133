"""From a command line to a running service: uvicorn, its signals, and clients that never finish a request."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from minibert.errors import MinibertError
from minibert.serve.app import App

#: Names by which a service that only this machine reaches may be asked.
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "[::1]", "localhost"})
#: Seconds that requests have to end in when the service is stopped.
_GRACE = 30
#: Seconds for which a connection may stay without a request.
_KEEP_ALIVE = 60
#: Bytes of a request's headers, at most.
_HEADERS = 1 << 16


#: That of httptools or h11, which have the same attributes; uvicorn declares neither.
_Base: Any = AutoHTTPProtocol


class Protocol(_Base):
    """A connection that is closed if the headers of a request don't end within `read_seconds`, or are too long.

    Or if its client takes nothing of an answer for so long, which otherwise stays in memory. uvicorn itself waits for
    ever. Bodies are read by the application, which does the same for them.
    """

    read_seconds = 30.0

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._since: float | None = self.loop.time()
        self._partial = self._unsent = 0
        self._clock = self.loop.call_later(self.read_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop it."""
        self._clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and note since when there are headers without an end."""
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and (cycle.more_body or not cycle.response_complete):
            self._since, self._partial = None, 0
            return
        self._partial += len(data)
        if self._since is None:
            self._since = self.loop.time()
        if self._partial > _HEADERS:
            self.transport.close()

    def _look(self) -> None:
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if 0 < before <= self._unsent:
            self.transport.abort()  # closing would wait until all is sent
        elif self._since is not None and self.loop.time() - self._since >= self.read_seconds * 0.99:
            self.transport.close()
        else:
            self._clock = self.loop.call_later(self.read_seconds, self._look)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that the port is known before anything else is.

    Raises:
        MinibertError: the address is taken, or none of this machine.
    """
    if not 0 <= port < 1 << 16:  # of a larger one some systems take what its last 16 bits say
        raise MinibertError(f"cannot listen at port {port}: ports go from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        if os.name != "nt":  # where it would let two services share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        raise MinibertError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Whether this machine alone reaches a socket."""
    return ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


class Server(uvicorn.Server):
    """A service that is about to run. SIGINT and SIGTERM stop it, or `should_exit = True` from another thread.

    Then no more requests are taken, and those that are there get their answers.

    Args:
        app: the service.
        listening: where requests come in.
        ready: called once requests are taken.
    """

    def __init__(self, app: App, listening: socket.socket, ready: Callable[[], Any] | None = None) -> None:
        bounds = app.service.bounds
        config = Config(
            app,
            http=type("Protocol", (Protocol,), {"read_seconds": bounds.read_seconds}),
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            # Beyond what waits, connections that only ask how things are.
            limit_concurrency=bounds.queue + 1024,
            backlog=1024,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)
        self._listening, self._ready = listening, ready

    def serve_until_stopped(self) -> None:
        """Run in this thread."""
        self.run(sockets=[self._listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, and say so."""
        await super().startup(sockets=sockets)
        if self._ready is not None:
            self._ready()
