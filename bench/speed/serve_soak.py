"""Clients of all kinds at once, for minutes: `python -m bench.speed.serve FILE --soak MINUTES`.

Good ones, whose vectors must have the same bits every time; some that ask for nonsense, that hang up before they have
sent all or before they hear, that send a byte at a time, that ask for too much, or for as much as they may. Meanwhile
the service's memory, threads and open files are looked at. At the end it is stopped while requests are at work, all of
which must be answered. Exits with 1 if anything of this is not so.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench import common

if TYPE_CHECKING:
    from bench.speed.serve import Running

#: Looks at the process.
LOOKS = 40
#: By how much resident memory may grow from the second quarter of the time to the last, MB: its lowest there, as an
#: answer to as many texts as there may be takes ten while it is sent. The first quarter fills what is filled once.
FLAT_MB = 8.0
#: Requests at work when the service is stopped, and texts of each.
LAST, LAST_TEXTS = 32, 1000
TEXTS = ("where is my card?", "can I use it abroad? " * 12, "Ünïcödé 漢字 🙂", "", "a")
#: What is refused: method, path, body, and with which statuses.
NONSENSE: list[tuple[str, str, Any, tuple[int, ...]]] = [
    ("POST", "/v1/embeddings", b"{", (400,)),
    ("POST", "/v1/embeddings", {"input": 3}, (400,)),
    ("POST", "/v1/embeddings", {"input": "a", "model": "nothing"}, (404,)),
    ("POST", "/v1/embeddings", {"input": "a", "dimensions": 0}, (400,)),
    ("POST", "/v1/embeddings", {"input": [[999999]]}, (400,)),
    ("POST", "/v1/embeddings", {"input": "long " * 3000}, (400,)),
    ("POST", "/v1/embeddings", {"input": ["a"] * 3000}, (400,)),
    ("POST", "/v1/embeddings", {"input": "x" * (3 << 20)}, (413,)),
    ("POST", "/predict", {"inputs": "a"}, (424,)),
    ("POST", "/tasks/fill-mask", {"inputs": "a"}, (400,)),
    ("DELETE", "/v1/embeddings", None, (405,)),
    ("GET", f"/{'x' * 300}", None, (404,)),
]


class Soak:
    """The clients of a service.

    Args:
        url: of its embeddings.
        until: `time.monotonic()` when they end.
    """

    def __init__(self, url: str, until: float) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.until = parts.hostname, parts.port, until
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.expected: dict[str, str] = {}
        self.random = random.Random(0)
        self.still = 0.0  # seconds for which this process was held up, which explains clients that gave up

    async def ask(self, method: str, path: str, body: Any = None, pause: float = 0) -> tuple[int, bytes]:
        """A request on a connection of its own; with a pause between the bytes."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            request = self.request(method, path, body)
            for place in range(0, len(request), 16 if pause else 1 << 30):
                writer.write(request[place : place + (16 if pause else 1 << 30)])
                await writer.drain()
                await asyncio.sleep(pause)
            answer = await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()
        head, _, content = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(content) != length:
            self.wrong["an answer was cut short"] += 1
        return int(head[9:12]), content

    def request(self, method: str, path: str, body: Any) -> bytes:
        """Its bytes."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n"
        kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        return f"{head}{kind}\r\n".encode() + data

    async def good(self) -> None:
        """Vectors of a few texts: the same bits, whoever else asks."""
        texts = [self.random.choice(TEXTS) for _ in range(self.random.choice((1, 1, 1, 2, 8)))]
        body = {"input": texts, "encoding_format": "base64"}
        status, content = await self.ask("POST", "/v1/embeddings", body)
        if status != 200:
            self.wrong[f"good: {status}"] += status != 429
            return
        for text, each in zip(texts, json.loads(content)["data"], strict=True):
            if self.expected.setdefault(text, each["embedding"]) != each["embedding"]:
                self.wrong["other bits"] += 1

    async def nonsense(self) -> None:
        """Something that is refused."""
        method, path, body, statuses = self.random.choice(NONSENSE)
        status, _ = await self.ask(method, path, body)
        self.wrong[f"{method} {path:.40}: {status}"] += status not in (*statuses, 429)

    async def gone(self) -> None:
        """Hangs up: in the middle of the headers, of the body, or before the answer."""
        _, writer = await asyncio.open_connection(self.host, self.port)
        request = self.request("POST", "/v1/embeddings", {"input": [TEXTS[1]] * self.random.choice((1, 300))})
        writer.write(request[: self.random.choice((40, len(request) // 2, len(request)))])
        await writer.drain()
        await asyncio.sleep(self.random.choice((0, 0.01, 0.2)))
        if self.random.random() < 0.5:
            writer.transport.abort()
        writer.close()

    async def slow(self) -> None:
        """Sends a few bytes at a time."""
        status, _ = await self.ask("POST", "/v1/embeddings", {"input": "a"}, pause=0.1)
        self.wrong[f"slow: {status}"] += status not in (200, 429)

    async def large(self) -> None:
        """As many texts as there may be."""
        status, _ = await self.ask("POST", "/embed", {"inputs": ["hello there"] * 2048})
        self.wrong[f"large: {status}"] += status not in (200, 429)
        await asyncio.sleep(2)

    async def onlooker(self) -> None:
        """Looks how things are."""
        for path in ("/metrics", "/health", "/", "/info", "/openapi.json"):
            status, _ = await self.ask("GET", path)
            self.wrong[f"{path}: {status}"] += status != 200
        await asyncio.sleep(0.1)

    async def again(self, once: Callable[[], Awaitable[None]]) -> None:
        """A client, until the end."""
        while time.monotonic() < self.until:
            try:
                await once()
            except (OSError, ValueError, asyncio.TimeoutError) as error:
                self.wrong[f"{once.__name__}: {type(error).__name__}"] += 1
                await asyncio.sleep(0.1)
            self.counts[once.__name__] += 1

    async def everyone(self, look: Callable[[], None], seconds: float) -> None:
        """All of them, and looks at the process."""

        async def looking() -> None:
            while time.monotonic() < self.until:
                await asyncio.sleep(seconds / LOOKS)
                look()

        async def ticking() -> None:
            while (before := time.monotonic()) < self.until:
                await asyncio.sleep(0.1)
                late = time.monotonic() - before - 0.1
                self.still += late if late > 1 else 0

        kinds = [*[self.good] * 12, *[self.nonsense] * 3, *[self.gone] * 3, *[self.slow] * 8, self.large, self.onlooker]
        await asyncio.gather(looking(), ticking(), *map(self.again, kinds))

    async def stopped(self, process: int) -> list[int]:
        """The statuses of requests that were at work when the service was told to stop."""
        body = {"input": ["where is my card?"] * LAST_TEXTS}
        asked = [asyncio.ensure_future(self.ask("POST", "/v1/embeddings", body)) for _ in range(LAST)]
        waiting = f"minibert_queue_requests {LAST}".encode()
        while waiting not in (await self.ask("GET", "/metrics"))[1] and not any(each.done() for each in asked):
            await asyncio.sleep(0)
        os.kill(process, signal.SIGTERM)
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [each[0] if isinstance(each, tuple) else 0 for each in found]


def _look(process: int) -> tuple[float, int, int]:
    """Megabytes, threads and open files of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    files = len(os.listdir(f"/proc/{process}/fd"))
    return int(fields["VmRSS"].split()[0]) / 1e3, int(fields["Threads"]), files


def soak(service: Running, minutes: float) -> None:
    """Ask a service for so long, and stop it."""
    assert service.process is not None
    process, seconds = service.process.pid, minutes * 60
    clients = Soak(service.url, time.monotonic() + seconds)
    looks: list[tuple[float, int, int]] = []

    def look() -> None:
        looks.append(_look(process))
        if len(looks) % (LOOKS // 8) == 0:
            common.note("{:.1f} MB, {} threads, {} files".format(*looks[-1]) + f", {clients.counts.total():,} requests")

    asyncio.run(clients.everyone(look, seconds))
    time.sleep(1)
    rest = _look(process)
    statuses = asyncio.run(clients.stopped(process))
    code = service.process.wait(60)
    half = looks[len(looks) // 2 :]
    memory, threads, files = zip(*half, strict=True)
    print(f"{clients.counts.total():,} requests in {minutes:g} minutes: {dict(clients.counts)}")
    quarter = max(len(looks) // 4, 1)
    grown = min(memory[-quarter:]) - min(each[0] for each in looks[quarter : 2 * quarter] or looks)
    print(f"lowest memory of the last quarter, less that of the second: {grown:+.1f} MB")
    print(f"second half: {min(memory):.1f} to {max(memory):.1f} MB, {min(threads)} to {max(threads)} threads, ", end="")
    print(f"{min(files)} to {max(files)} files; at rest {rest[0]:.1f} MB, {rest[1]} threads, {rest[2]} files")
    wrong = +clients.wrong
    print(f"wrong: {dict(wrong) or 'nothing'}; the clients themselves stood still for {clients.still:.0f} seconds")
    print(f"stopped with {LAST} requests at work: {statuses.count(200)} were answered; exit code {code}")
    flat = grown <= FLAT_MB and max(threads) <= looks[0][1] + 8
    sys.exit(0 if flat and not wrong and statuses == [200] * LAST else 1)
