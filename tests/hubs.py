"""A Hub on this machine: some models, at one commit each, and what was asked of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served.

    Attributes:
        folders: of models, by name.
        refused: status and error code, as the Hub's header has it, of models that are not served.
        gated: models whose files, but not their lists, are for some accounts alone.
        cut: bytes after which a connection breaks, by file.
        asked: methods and paths of all requests.
        endpoint: its address.
    """

    folders: dict[str, Path]
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def fetched(self) -> set[str]:
        """Files that were sent."""
        return {path.split(COMMIT + "/")[1] for path in self.asked if path.startswith("GET") and COMMIT + "/" in path}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests for one model, its list of files, and its files."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *what):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub, path = self.hub, self.path.partition("?")[0].strip("/")
        hub.asked.append(f"{self.command} {self.path}")
        whole = path.removeprefix("api/models/")
        name = next((each for each in {**hub.folders, **hub.refused} if f"{whole}/".startswith(f"{each}/")), "")
        rest = whole.removeprefix(name).strip("/").split("/")
        if name not in hub.folders:
            self.refuse(*hub.refused.get(name, (401, "RepoNotFound")))
        elif path != whole:
            self.send_list(name, rest)
        elif name in hub.gated:
            self.refuse(403, "GatedRepo")
        else:
            assert rest[:2] == ["resolve", COMMIT], self.path
            self.send_file(hub.folders[name].joinpath(*rest[2:]))

    def send_list(self, name: str, rest: list[str]) -> None:
        if rest[0] == "revision" and rest[1] not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        folder = self.hub.folders[name]
        siblings = [
            {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        body = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
        return self.send(200, body, {"Content-Type": "application/json"})

    def send_file(self, file: Path) -> None:
        if not file.is_file():
            return self.refuse(404, "EntryNotFound")
        body = file.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if self.command == "GET" and (cut := self.hub.cut.get(file.name)):
            self.close_connection = True
            return self.send(200, body[:cut], {**headers, "Content-Length": str(len(body))})
        return self.send(206 if start else 200, body[start:], headers)

    def refuse(self, status: int, code: str) -> None:
        self.send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answers for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
