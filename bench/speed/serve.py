"""Requests a second and their latencies: minibert serve, the same without packing, and other services, in turns.

    python -m bench.speed.serve FILE [--url NAME=http://127.0.0.1:9000/v1/embeddings] [--hey PATH] [--openai]

FILE is an embedding model that minibert converted. "packed" is minibert serve; "plain" the same service that gives each
request a pass of its own. Clients ask /v1/embeddings for vectors in base64 over connections that stay open: by the load
generator hey (Debian has it) if one is given, otherwise by a client of a few lines that runs in this process, and with
--openai by the openai package as well. Before anything is measured, answers of minibert's services are compared with
those of the model in this process, bit by bit. At the end "packed" is overloaded: as many clients as --overload says
ask at once, more than it lets wait.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

import minibert
from bench import common

#: Of each load: how many texts a request has, and how many clients there are.
LOADS = {"1": (1, 1), "8": (1, 8), "64": (1, 64), "32 texts": (32, 1), "32 texts, 8": (32, 8)}
TEXTS = [
    "where is my card, it has not arrived yet",
    "can I use it abroad?",
    "what do you charge for a transfer to another bank",
    "the payment was taken twice, please give one of them back",
]


class Outcome(NamedTuple):
    """What a turn came to."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int]


def body(texts: int, number: int = 0) -> bytes:
    """A request, as different from others as those of different clients are."""
    inputs = [f"{TEXTS[(number + place) % len(TEXTS)]} {number + place}" for place in range(texts)]
    return json.dumps({"model": "model", "input": inputs, "encoding_format": "base64"}).encode()


# Services.


def serve(arguments: argparse.Namespace) -> None:
    """A service of its own process, until it is killed."""
    from minibert.serve.app import App
    from minibert.serve.bounds import Bounds
    from minibert.serve.server import Server, listen
    from minibert.serve.service import Service

    model = minibert.load(arguments.file, threads=arguments.threads)
    service = Service({"model": model}, Bounds(queue=arguments.queue), packed=arguments.service == "packed")
    service.warmup()
    listening = listen("127.0.0.1", 0)
    Server(App(service), listening, lambda: print(listening.getsockname()[1], flush=True)).serve_until_stopped()


def started(name: str, arguments: argparse.Namespace, queue: int) -> tuple[subprocess.Popen[str], str]:
    """A service in a process, and where it answers."""
    command = [sys.executable, "-m", "bench.speed.serve", arguments.file, "--service", name]
    command += ["--threads", str(arguments.threads), "--queue", str(queue)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}/v1/embeddings"


def vectors(url: str, data: bytes) -> np.ndarray:
    """What a service answers: float32 [texts, dim]."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("POST", parts.path, data, {"Content-Type": "application/json"})
    found = [each["embedding"] for each in json.loads(connection.getresponse().read())["data"]]
    connection.close()
    raw = [base64.b64decode(each) if isinstance(each, str) else np.array(each, "<f4").tobytes() for each in found]
    return np.stack([np.frombuffer(each, "<f4") for each in raw])


# Clients.


def by_sockets(url: str, texts: int, clients: int, seconds: float) -> Outcome:
    """Each client sends a request when it has the answer to the one before."""
    parts = urlsplit(url)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (begun := time.perf_counter()) < end:
            data = body(texts, number)
            number += clients
            head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            latencies.append(time.perf_counter() - begun)
            statuses[int(answer[9:12])] += 1
        writer.close()

    async def everyone() -> None:
        await asyncio.gather(*map(client, range(clients)))

    begun = time.perf_counter()
    asyncio.run(everyone())
    return Outcome(time.perf_counter() - begun, latencies, statuses)


def by_hey(hey: str, url: str, texts: int, clients: int, seconds: float) -> Outcome:
    """The same request again and again, from a process of another language."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body(texts))
        file.flush()
        command = [hey, "-z", f"{seconds}s", "-c", str(clients), "-o", "csv", "-m", "POST"]
        command += ["-T", "application/json", "-D", file.name, url]
        begun = time.perf_counter()
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = list(csv.DictReader(lines))
    return Outcome(
        time.perf_counter() - begun,
        [float(row["response-time"]) for row in rows],
        Counter(int(row["status-code"]) for row in rows),
    )


def by_openai(url: str, texts: int, clients: int, seconds: float) -> Outcome:
    """The openai package, from a thread for each client."""
    from threading import Thread

    import openai  # pyright: ignore[reportMissingImports]

    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        theirs = openai.OpenAI(base_url=url.removesuffix("/embeddings"), api_key="none", max_retries=0)
        while (begun := time.perf_counter()) < end:
            theirs.embeddings.create(**json.loads(body(texts, number)))
            latencies.append(time.perf_counter() - begun)
            statuses[200] += 1

    threads = [Thread(target=client, args=(number,)) for number in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome(time.perf_counter() - begun, latencies, statuses)


# Figures.


def measured(
    urls: dict[str, str], load: Callable[[str], Outcome], rounds: int
) -> dict[str, tuple[list[float], list[float], Counter[int]]]:
    """Of each service the requests a second of each turn, all latencies, all statuses."""
    found: dict[str, tuple[list[float], list[float], Counter[int]]] = {name: ([], [], Counter()) for name in urls}
    for name in common.in_turns(urls, rounds):
        outcome = load(urls[name])
        rates, latencies, statuses = found[name]
        rates.append(outcome.statuses[200] / outcome.seconds)
        latencies += outcome.latencies
        statuses.update(outcome.statuses)
    return found


def report(load: str, found: dict[str, tuple[list[float], list[float], Counter[int]]]) -> None:
    """A line for each service."""
    best = found["packed"][0]
    for name, (rates, latencies, statuses) in found.items():
        half, most = np.percentile(latencies, [50, 99]) * 1e3
        ratio = statistics.median(a / b for a, b in zip(best, rates, strict=True))
        errors = statuses.total() - statuses[200]
        cells = load, name, f"{statistics.median(rates):.0f}", f"{half:.2f}", f"{most:.2f}", f"{ratio:.2f}", str(errors)
        print(common.line(cells), flush=True)


def overload(arguments: argparse.Namespace) -> None:
    """More clients than may wait: what they are answered, what memory it took, and what is answered afterwards."""
    process, url = started("packed", arguments, queue=64)
    try:
        by_sockets(url, 1, 32, 1)
        before = _resident(process.pid)
        outcome = by_sockets(url, 1, arguments.overload, arguments.seconds * 2)
        after = _resident(process.pid)
        again = by_sockets(url, 1, 32, 1)
        print(
            f"\noverload: {arguments.overload} clients, of whom 64 may wait: {dict(sorted(outcome.statuses.items()))}; "
            f"{before:.0f} MB before, {after:.0f} MB after; then 32 clients: {dict(again.statuses)}"
        )
    finally:
        process.terminate()
        process.wait()


def _resident(process: int) -> float:
    """Megabytes of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    """Start services, compare their answers, load them."""
    parser = common.command_line(__doc__)
    parser.add_argument("file", help="an embedding model that minibert converted")
    parser.add_argument("--url", action="append", default=[], metavar="NAME=URL", help="another service that runs")
    parser.add_argument("--hey", metavar="PATH", help="the load generator")
    parser.add_argument("--openai", action="store_true", help="with the openai package too, 8 clients")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of a turn (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="of an engine (default: 1)")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS), help="which (default: all)")
    parser.add_argument("--overload", type=int, default=400, metavar="N", help="clients at the end; 0 for none")
    parser.add_argument("--service", choices=("packed", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--queue", type=int, default=256, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.service:
        serve(options)
        return
    processes: list[subprocess.Popen[str]] = []
    urls: dict[str, str] = {}
    try:
        for name in ("packed", "plain"):
            process, urls[name] = started(name, options, 256)
            processes.append(process)
        model = minibert.load(options.file, threads=options.threads)
        for number in range(0, 64, 8):
            data = body(8, number)
            expected = model.encode(json.loads(data)["input"])
            for name, url in urls.items():
                if not np.array_equal(vectors(url, data), expected):
                    raise SystemExit(f"{name} has other bits than the model in this process")
        urls |= dict(each.split("=", 1) for each in options.url)
        print(", ".join(f"{key} {value}" for key, value in common.describe_machine().items()))
        print("64 texts have the bits of the model in this process, from both services\n")
        heads = "clients", "service", "requests/s", "p50, ms", "p99, ms", "packed / it", "errors"
        print(common.line(heads) + "\n|---|---|---:|---:|---:|---:|---:|")
        for load in options.loads:
            texts, clients = LOADS[load]

            def once(url: str, texts: int = texts, clients: int = clients) -> Outcome:
                if options.hey:
                    return by_hey(options.hey, url, texts, clients, options.seconds)
                return by_sockets(url, texts, clients, options.seconds)

            report(load, measured(urls, once, options.rounds))
        if options.openai:
            found = measured(urls, lambda url: by_openai(url, 1, 8, options.seconds), options.rounds)
            report("openai, 8", found)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    if options.overload:
        overload(options)


if __name__ == "__main__":
    main()
