"""Answer over HTTP, in the dialects of OpenAI, Cohere and text-embeddings-inference: docs/SERVE.md."""

from __future__ import annotations

import argparse
import os
import warnings
from typing import TYPE_CHECKING

from minibert.cli import console
from minibert.cli.options import positive, threshold
from minibert.errors import InputError

if TYPE_CHECKING:
    from minibert.model import Model

HELP = "answer over HTTP"
EXAMPLES = (
    "serve minilm",
    "serve banking=intents.safetensors minilm --port 9000 --api-key SECRET",
)

#: Where the key may stand instead of on a command line, which other users of a machine can read.
KEY_VARIABLE = "MINIBERT_API_KEY"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model",
        nargs="+",
        metavar="MODEL",
        help="a model file, written by minibert convert; NAME=FILE gives it another name than the file's",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="port (default: 8080; 0 for any free one)")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="worker threads (default: the cores there are, but one)"
    )
    parser.add_argument("--backend", metavar="NAME", help="how kernels run (default: the fastest that runs here)")
    parser.add_argument(
        "--early-exit", type=threshold, default=True, metavar="P|off", help="answer early from this probability on"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"what requests must bring (default: the environment's {KEY_VARIABLE}, or none)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which this machine may be asked, where --host is one of this machine alone",
    )
    parser.add_argument(
        "--truncate",
        action="store_true",
        help="cut texts that are too long, where a request doesn't say, not refuse them",
    )
    parser.add_argument("--max-queue", type=positive, metavar="N", help="requests at once (default: 256)")
    parser.add_argument("--max-body", type=positive, metavar="BYTES", help="of a request (default: 2 MiB)")
    parser.add_argument("--max-texts", type=positive, metavar="N", help="of a request (default: 2048)")
    parser.add_argument("--max-tokens", type=positive, metavar="N", help="of a request (default: 262144)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from minibert.serve import server  # first: without its packages no model need be opened
    from minibert.serve.app import App
    from minibert.serve.bounds import Bounds
    from minibert.serve.service import Service

    given = {name: getattr(arguments, f"max_{name}") for name in ("queue", "body", "texts", "tokens")}
    bounds = Bounds(**{name: value for name, value in given.items() if value is not None})
    if arguments.api_key == "":  # as of a variable that isn't set: to serve everyone would be a surprise
        raise InputError("--api-key is empty: leave it out to serve without a key")
    key = arguments.api_key or os.environ.get(KEY_VARIABLE) or None
    models = _models(arguments)
    listening = server.listen(arguments.host, arguments.port)
    hosts = None
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    if server.is_loopback(listening):
        hosts = server.LOOPBACK_HOSTS | {each.lower() for each in (host, *arguments.allow_host)}
    elif key is None:
        console.complain(f"warning: anyone who reaches {arguments.host} may ask: --api-key, or {KEY_VARIABLE}")
    service = Service(models, bounds, truncate=arguments.truncate)
    service.warmup()
    warnings.simplefilter("ignore", UserWarning)  # of texts: whose they are hears of it in the answer, or not at all
    port = listening.getsockname()[1]

    def ready() -> None:
        for name, model in models.items():
            console.note(f"{name}: {model.task.kind}, {model.engine.backend}, {model.engine.threads} threads")
        console.note(f"http://{host}:{port}/ answers; Ctrl-C ends")

    server.Server(App(service, key, hosts), listening, ready).serve_until_stopped()
    return 0


def _models(arguments: argparse.Namespace) -> dict[str, Model]:
    """The models by name, all opened."""
    import minibert
    from minibert.engine.processors import default_threads

    # What reads requests and writes answers has a core of its own: a pass goes on when the last of its threads does.
    threads = arguments.threads or max(default_threads() - ("MINIBERT_THREADS" not in os.environ), 1)
    models: dict[str, Model] = {}
    for given in arguments.model:
        name, equals, path = given.rpartition("=")
        if not equals or os.path.exists(given):
            name, path = os.path.splitext(os.path.basename(given))[0], given
        if not name or name in models:
            raise InputError(f"{given}: two models need two names, as in NAME={path}")
        models[name] = minibert.load(path, threads, arguments.backend, early_exit=arguments.early_exit)
    return models
