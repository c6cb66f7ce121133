"""Requests a second and their latencies: minibert serve, the same without packing, and other services, in turns.

    python -m bench.speed.serve FILE [--rival NAME=COMMAND] [--rival NAME=URL] [--wrk PATH] [--openai]
    python -m bench.speed.serve FILE --soak MINUTES

FILE is an embedding model that minibert converted. "minibert" is minibert serve; "plain" the same service that gives
each request a pass of its own. A rival is another server of the same model that knows OpenAI's /v1/embeddings: a
command, in which {port} stands for where it shall listen, or the address of one that runs already. With llama.cpp's
server, and the model as bench.speed.prepare converts it:

    --rival "llama.cpp=llama-server -m model.gguf --embedding --pooling mean -np 64 -c 32768 -ub 2048 --port {port}"

Clients ask for vectors in base64 over connections that stay open: by the load generator wrk (Debian has it) if one is
given, otherwise by a client of a few lines that runs in this process, and with --openai by the openai package as well.
Before anything is measured, answers of minibert's services are compared with those of the model in this process, bit by
bit, and those of rivals by their cosine, which must be 0.99. At the end "minibert" is overloaded: as many clients as
--overload says ask at once, more than it lets wait. --page puts the table into docs/SERVE.md.

--soak asks for so long what clients ask in years, good and bad, and watches memory, threads and files: `serve_soak.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

import minibert
from bench import common

TEXTS = [
    "where is my card, it has not arrived yet",
    "can I use it abroad?",
    "what do you charge for a transfer to another bank",
    "the payment was taken twice, please give one of them back",
]
#: How like ours a rival's vectors must be, each a cosine: another int8 of the same model is, another model isn't.
ALIKE = 0.99


class Load(NamedTuple):
    """What is asked in a turn.

    Attributes:
        texts: of a request.
        clients: that ask at once.
        seconds: of a turn.
        fields: more of each request.
    """

    texts: int
    clients: int
    seconds: float
    fields: Mapping[str, Any]

    def body(self, number: int = 0) -> bytes:
        """A request, as different from others as those of different clients are."""
        inputs = [f"{TEXTS[(number + place) % len(TEXTS)]} {number + place}" for place in range(self.texts)]
        return json.dumps({"model": "model", "input": inputs, "encoding_format": "base64", **self.fields}).encode()


#: Texts of a request, and clients.
LOADS = {"1": (1, 1), "8": (1, 8), "64": (1, 64), "1, 32 texts": (32, 1), "8, 32 texts": (32, 8)}


class Outcome(NamedTuple):
    """What a turn came to; statuses are None where no answer came."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int | None]


# Services.


def serve(arguments: argparse.Namespace) -> None:
    """A service of its own process, until it is killed."""
    from minibert.serve.app import App
    from minibert.serve.bounds import Bounds
    from minibert.serve.server import Server, listen
    from minibert.serve.service import Service

    model = minibert.load(arguments.file, threads=arguments.threads)
    service = Service({"model": model}, Bounds(queue=arguments.queue), packed=arguments.service == "minibert")
    service.warmup()
    listening = listen("127.0.0.1", 0)
    Server(App(service), listening, lambda: print(listening.getsockname()[1], flush=True)).serve_until_stopped()


class Running(NamedTuple):
    """A service: where it answers, and its process if it is one of ours."""

    url: str
    process: subprocess.Popen[str] | None = None


@contextmanager
def started(name: str, arguments: argparse.Namespace, queue: int = 256) -> Iterator[Running]:
    """One of minibert's services in a process."""
    command = [sys.executable, "-m", "bench.speed.serve", arguments.file, "--service", name]
    command += ["--threads", str(arguments.threads), "--queue", str(queue)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Running(f"http://127.0.0.1:{int(process.stdout.readline())}/v1/embeddings", process)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def rival(name: str, place: str) -> Iterator[Running]:
    """Another server, once it answers: a command with {port} in it, or an address."""
    if place.startswith(("http://", "https://")):
        yield Running(place)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1/embeddings"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(shlex.split(place.replace("{port}", str(port))), stdout=log, stderr=log, text=True)
        try:
            end = time.monotonic() + 180
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise SystemExit(f"{name} doesn't answer:\n{log.read()[-2000:]}")
                time.sleep(0.2)
            yield Running(url, process)
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        vectors(url, Load(1, 1, 0, {}).body())
    except (OSError, HTTPException, KeyError, ValueError):
        return False
    return True


def vectors(url: str, data: bytes) -> np.ndarray:
    """What a service answers: float32 [texts, dim]."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("POST", parts.path, data, {"Content-Type": "application/json"})
    found = [each["embedding"] for each in json.loads(connection.getresponse().read())["data"]]
    connection.close()
    raw = [base64.b64decode(each) if isinstance(each, str) else np.array(each, "<f4").tobytes() for each in found]
    return np.stack([np.frombuffer(each, "<f4") for each in raw])


def compare(services: Mapping[str, Running], arguments: argparse.Namespace) -> str:
    """Whether 64 texts have the right vectors, in a sentence; stops where they have not."""
    model = minibert.load(arguments.file, threads=arguments.threads)
    load = Load(8, 1, 0, arguments.fields)
    least = dict.fromkeys(services, 1.0)
    for number in range(0, 64, 8):
        data = load.body(number)
        side = {"query": model.encode_query, "document": model.encode_document, "passage": model.encode_document}
        expected = side.get(arguments.fields.get("input_type"), model.encode)(json.loads(data)["input"])
        for name, each in services.items():
            found = vectors(each.url, data)
            if name in OURS and not np.array_equal(found, expected):
                raise SystemExit(f"{name} has other bits than the model in this process")
            lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
            least[name] = min(least[name], float(((found * expected).sum(1) / lengths).min()))
    for name, cosine in least.items():
        if not cosine >= ALIKE:
            raise SystemExit(f"{name} answers something else: a cosine of {cosine:.3f}")
    others = "".join(f"; {name}: a cosine of {least[name]:.4f} at least" for name in services if name not in OURS)
    return f"64 texts have the bits of the model in a program of one's own{others}"


OURS = ("minibert", "plain")


# Clients.


def by_sockets(url: str, load: Load) -> Outcome:
    """Each client sends a request when it has the answer to the one before."""
    parts = urlsplit(url)
    latencies: list[float] = []
    statuses: Counter[int | None] = Counter()
    end = time.perf_counter() + load.seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (begun := time.perf_counter()) < end:
            data = load.body(number)
            head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            try:
                answer = await reader.readuntil(b"\r\n\r\n")
                length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
            except (asyncio.IncompleteReadError, ConnectionError):  # some close a connection after so many requests
                writer.close()
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                continue
            number += load.clients
            latencies.append(time.perf_counter() - begun)
            statuses[int(answer[9:12])] += 1
        writer.close()

    async def everyone() -> None:
        await asyncio.gather(*map(client, range(load.clients)))

    begun = time.perf_counter()
    asyncio.run(everyone())
    return Outcome(time.perf_counter() - begun, latencies, statuses)


#: Asks in turn for what `bodies` holds; prints how long it took, what failed, and each latency with its count.
_LUA = """
local at = 0
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[at])
end
done = function(summary, latency)
  local errors = summary.errors
  print("turn", summary.duration, summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout)
  for i = 1, #latency do print("took", latency(i)) end
end
"""


def by_wrk(wrk: str, url: str, load: Load) -> Outcome:
    """The same from a process in C, which leaves the processor to the service."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        bodies = ",\n".join(f"[==[{load.body(number).decode()}]==]" for number in range(256))
        file.write(f"bodies = {{{bodies}}}\n{_LUA}")
        file.flush()
        command = [wrk, "-t", "1", "-c", str(load.clients), "-d", f"{load.seconds:.0f}s", "--timeout", "30s"]
        output = subprocess.run([*command, "-s", file.name, url], check=True, capture_output=True, text=True).stdout
    lines = [line.split() for line in output.splitlines()]
    latencies = [float(micros) / 1e6 for kind, micros, count in _of("took", lines) for _ in range(int(count))]
    ((_, micros, requests, refused, failed),) = _of("turn", lines)
    statuses: Counter[int | None] = Counter({200: int(requests) - int(refused), None: int(refused) + int(failed)})
    return Outcome(float(micros) / 1e6, latencies, statuses)


def _of(kind: str, lines: list[list[str]]) -> list[list[str]]:
    return [line for line in lines if line[:1] == [kind]]


def by_openai(url: str, load: Load) -> Outcome:
    """The openai package, from a thread for each client."""
    from threading import Thread

    import openai  # pyright: ignore[reportMissingImports]

    latencies: list[float] = []
    statuses: Counter[int | None] = Counter()
    end = time.perf_counter() + load.seconds

    def client(number: int) -> None:
        theirs = openai.OpenAI(base_url=url.removesuffix("/embeddings"), api_key="none", max_retries=0)
        while (begun := time.perf_counter()) < end:
            theirs.embeddings.create(**{**json.loads(load.body(number)), "extra_body": dict(load.fields)})
            latencies.append(time.perf_counter() - begun)
            statuses[200] += 1

    threads = [Thread(target=client, args=(number,)) for number in range(load.clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome(time.perf_counter() - begun, latencies, statuses)


# Figures.


def measured(services: Mapping[str, Running], ask: Callable[[str], Outcome], rounds: int) -> dict[str, list[Outcome]]:
    """Of each service what its turns came to."""
    found: dict[str, list[Outcome]] = {name: [] for name in services}
    for name in common.in_turns(services, rounds):
        time.sleep(0.3)  # until what the last one left behind is at rest
        found[name].append(ask(services[name].url))
    return found


HEADS = ("clients", "service", "requests/s", "p50, ms", "p99, ms", "minibert / it", "errors")


def rows(load: str, found: Mapping[str, list[Outcome]]) -> list[tuple[str, ...]]:
    """A line for each service; the ratio is that of requests a second, the median of the rounds."""
    rates = {name: [each.statuses[200] / each.seconds for each in turns] for name, turns in found.items()}
    made = []
    for name, turns in found.items():
        latencies = [latency for each in turns for latency in each.latencies]
        half, most = np.percentile(latencies, [50, 99]) * 1e3
        ratio = statistics.median(
            ours / max(its, 1e-9) for ours, its in zip(rates["minibert"], rates[name], strict=True)
        )
        errors = sum(each.statuses.total() - each.statuses[200] for each in turns)
        cells = f"{statistics.median(rates[name]):,.0f}", f"{half:.2f}", f"{most:.2f}", f"{ratio:.2f}", str(errors)
        made.append((load, name, *cells))
        print(common.line(made[-1]), flush=True)
    return made


def overload(arguments: argparse.Namespace) -> None:
    """More clients than may wait: what they are answered, what memory it took, and what is answered afterwards."""
    few = Load(1, 32, 1, arguments.fields)
    with started("minibert", arguments, queue=64) as service:
        assert service.process is not None
        by_sockets(service.url, few)
        before = resident(service.process.pid)
        outcome = by_sockets(service.url, few._replace(clients=arguments.overload, seconds=arguments.seconds * 2))
        after = resident(service.process.pid)
        again = by_sockets(service.url, few)
        print(
            f"\noverload: {arguments.overload} clients, of whom 64 may wait: {dict(outcome.statuses)}; "
            f"{before:.0f} MB before, {after:.0f} MB after; then 32 clients: {dict(again.statuses)}"
        )


def resident(process: int) -> float:
    """Megabytes of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _named(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{given!r} is not NAME=VALUE")
    return name, value


def main() -> None:
    """Start services, compare their answers, load them."""
    parser = common.command_line(__doc__)
    parser.add_argument("file", help="an embedding model that minibert converted")
    parser.add_argument(
        "--rival", action="append", default=[], type=_named, metavar="NAME=COMMAND", help="another server; or its URL"
    )
    parser.add_argument(
        "--field", action="append", default=[], type=_named, metavar="NAME=VALUE", help="a further one of each request"
    )
    parser.add_argument("--wrk", default=shutil.which("wrk"), metavar="PATH", help="the load generator; '' for none")
    parser.add_argument("--openai", action="store_true", help="with the openai package too, 8 clients")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of a turn (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="of an engine (default: 1)")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS), help="which (default: all)")
    parser.add_argument("--overload", type=int, default=400, metavar="N", help="clients at the end; 0 for none")
    parser.add_argument("--page", action="store_true", help="put the table into docs/SERVE.md")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead of all this: bad clients, for so long")
    parser.add_argument("--service", choices=OURS, help=argparse.SUPPRESS)
    parser.add_argument("--queue", type=int, default=256, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.fields = dict(options.field)
    if options.service:
        serve(options)
        return
    if options.soak:
        from bench.speed.serve_soak import soak

        with started("minibert", options, queue=64) as service:
            soak(service, options.soak)
        return
    made: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        services = {name: stack.enter_context(started(name, options)) for name in OURS}
        services |= {name: stack.enter_context(rival(name, place)) for name, place in options.rival}
        compared = compare(services, options)
        machine = common.describe_machine()
        below = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}; {machine['date']}, "
        below += f"revision {machine['revision']}. {compared}."
        print(f"{below}\n\n{common.table(HEADS, [], 2)}", flush=True)
        for name in options.loads:
            load = Load(*LOADS[name], options.seconds, options.fields)

            def once(url: str, load: Load = load) -> Outcome:
                return by_wrk(options.wrk, url, load) if options.wrk else by_sockets(url, load)

            made += rows(name, measured(services, once, options.rounds))
        if options.openai:
            load = Load(1, 8, options.seconds, options.fields)
            made += rows("8 of openai", measured(services, lambda url: by_openai(url, load), options.rounds))
    if options.page:
        common.fill(common.DOCS / "SERVE.md", __file__, f"{common.table(HEADS, made, 2)}\n\n{below}")
    if options.overload:
        overload(options)


if __name__ == "__main__":
    main()
