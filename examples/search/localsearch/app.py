"""The web page and its JSON, by the standard library's server. The page loads nothing from elsewhere."""

from __future__ import annotations

import html
import json
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qs, urlencode

from localsearch import files
from localsearch.ranker import MODES, Hit, Ranker
from localsearch.store import MARKS, SearchError

#: A page of another site reaches a service of this machine by a name that leads here; these names are only ours.
_OWN_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PAGE = Path(__file__).parent / "page"
_ASSETS = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_LIMIT, _MOST = 10, 100
_MODE_NAMES = {"hybrid": "Both", "dense": "Meaning", "words": "Words"}


class Asked(NamedTuple):
    """What a URL asks for."""

    query: str
    mode: Any
    limit: int

    @classmethod
    def of(cls, given: dict[str, list[str]]) -> Asked:
        """By the URL's parameters; what makes no sense is passed over."""
        mode = given.get("mode", ["hybrid"])[0]
        limit = given.get("limit", [""])[0]
        number = min(max(int(limit), 1), _MOST) if limit.isdecimal() and len(limit) < 9 else _LIMIT
        return cls(given.get("q", [""])[0], mode if mode in MODES else "hybrid", number)


def marked(text: str) -> str:
    """A snippet as HTML."""
    return html.escape(text).replace(MARKS[0], "<mark>").replace(MARKS[1], "</mark>")


def _result(hit: Hit) -> str:
    link = "/file?" + urlencode({"path": hit.path, "start": hit.start}) + "#hit"
    scores = [f"score {hit.score:.3f}"]
    if hit.similarity is not None:
        scores.append(f"similarity {hit.similarity:.2f}")
    ranks = (hit.by_meaning, "meaning"), (hit.by_words, "words")
    scores += [f"#{rank} by {name}" for rank, name in ranks if rank is not None]
    folder, slash, name = hit.path.rpartition("/")
    heading = f"<p class=heading>{html.escape(hit.heading)}</p>" if hit.heading else ""
    return (
        f'<li><article><h2><a href="{html.escape(link)}"><span>{html.escape(folder + slash)}</span>{html.escape(name)}'
        f"<small>:{hit.line}</small></a></h2>{heading}<p class=snippet>{marked(hit.snippet)}</p>"
        f"<p class=scores>{''.join(f'<span>{score}</span>' for score in scores)}</p></article></li>"
    )


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; `serve_at` makes a subclass with what it answers from."""

    ranker: ClassVar[Ranker]
    root: ClassVar[Path]
    status: ClassVar[Callable[[], str]]
    hosts: ClassVar[frozenset[str] | None]

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "search", ""
    timeout = 30  # seconds for a request to come whole

    def log_message(self, format: str, *args: Any) -> None:
        """Queries are nobody's business."""

    def do_GET(self) -> None:
        """Answer one request."""
        host = self.headers.get("Host", "")
        if self.hosts is not None and host.rpartition(":")[0] not in self.hosts and host not in self.hosts:
            return self._answer(HTTPStatus.MISDIRECTED_REQUEST, f"{html.escape(host)} is not served here")
        path, _, parameters = self.path.partition("?")
        given = parse_qs(parameters, errors="replace")
        try:
            if path == "/":
                self._search_page(Asked.of(given))
            elif path == "/api/search":
                self._search_json(Asked.of(given))
            elif path == "/file":
                self._file_page(given)
            elif path in _ASSETS:
                self._send(HTTPStatus.OK, (_PAGE / path[1:]).read_bytes(), _ASSETS[path])
            else:
                self._answer(HTTPStatus.NOT_FOUND, "There is nothing here.")
        except SearchError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, html.escape(str(error)))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        """The same without its body."""
        self.do_GET()

    def _search_page(self, asked: Asked) -> None:
        start = time.perf_counter()
        hits = self.ranker.search(asked.query, asked.limit, asked.mode)
        taken = time.perf_counter() - start
        found = ""
        if asked.query.strip():
            count = "1 result" if len(hits) == 1 else f"{len(hits)} results"
            found = f"{count} in {taken * 1e3:.0f} ms" if hits else "Nothing found"
        results = f"<ol>{''.join(map(_result, hits))}</ol>" if hits else ""
        if len(hits) == asked.limit < _MOST:
            more = urlencode({"q": asked.query, "mode": asked.mode, "limit": min(asked.limit * 2, _MOST)})
            results += f'<p class=more><a href="/?{html.escape(more)}">More results</a></p>'
        self._answer(HTTPStatus.OK, results, asked, found)

    def _search_json(self, asked: Asked) -> None:
        start = time.perf_counter()
        hits = [hit.plain() for hit in self.ranker.search(asked.query, asked.limit, asked.mode)]
        seconds = time.perf_counter() - start
        body = json.dumps({"query": asked.query, "seconds": seconds, "hits": hits}).encode()
        self._send(HTTPStatus.OK, body, "application/json")

    def _file_page(self, given: dict[str, list[str]]) -> None:
        """A file's text with a chunk marked: of no file but those of the index."""
        path, start = given.get("path", [""])[0], given.get("start", [""])[0]
        begin = int(start) if start.isdecimal() and len(start) < 9 else -1
        length = self.ranker.length_at(path, begin)
        if not length:
            return self._answer(HTTPStatus.NOT_FOUND, "The index has no such place: the file may have changed.")
        try:
            state, data = files.read(self.root / path)
            text = files.decode(data, state.size)
        except (OSError, files.UnreadableError):
            return self._answer(HTTPStatus.NOT_FOUND, "The file is no longer there.")
        end = begin + length
        before, hit, after = map(html.escape, (text[:begin], text[begin:end], text[end:]))
        title = f"<h2 class=path>{html.escape(path)}</h2>"
        body = f"{title}<pre tabindex=0>{before}<mark id=hit class=hit>{hit}</mark>{after}</pre>"
        return self._answer(HTTPStatus.OK, body)

    def _answer(self, status: HTTPStatus, content: str, asked: Asked | None = None, found: str = "") -> None:
        """A page: HTML below the search box."""
        asked = asked or Asked("", "hybrid", _LIMIT)
        modes = "".join(
            f"<label><input type=radio name=mode value={mode}{' checked' if mode == asked.mode else ''}>"
            f"<span>{_MODE_NAMES[mode]}</span></label>"
            for mode in MODES
        )
        page = Template((_PAGE / "index.html").read_text(encoding="utf-8")).substitute(
            title=html.escape(f"{asked.query} - search" if asked.query else "Search"),
            query=html.escape(asked.query),
            modes=modes,
            found=found,
            content=content,
            status=html.escape(type(self).status()),
        )
        self._send(status, page.encode("utf-8", "replace"), "text/html; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve_at(host: str, port: int, ranker: Ranker, root: Path, status: Callable[[], str]) -> ThreadingHTTPServer:
    """A server that listens; its `serve_forever` answers.

    Args:
        host: address. One of this machine alone is served under this machine's own names only.
        port: port; 0 for any free one.
        ranker: what answers queries.
        root: the folder whose files are shown.
        status: what the page says about the index; raises nothing.

    Raises:
        SearchError: the address is taken, or none of this machine.
    """
    own = host in ("127.0.0.1", "localhost", "::1")
    hosts = _OWN_NAMES if own else None
    content = {"ranker": ranker, "root": root, "status": staticmethod(status), "hosts": hosts}
    family = {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET}
    try:
        return type("Server", (ThreadingHTTPServer,), family)((host, port), type("Handler", (Handler,), content))
    except OSError as error:
        raise SearchError(f"cannot listen at {host}, port {port}: {error.strerror or error}; --port N") from None
