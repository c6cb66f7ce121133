"""Search a folder of text and Markdown files by meaning and by words, on this machine alone.

    python search.py serve ~/notes              # index, watch, and a page at http://127.0.0.1:8800/
    python search.py query ~/notes how do I get my money back

The index is a file in the folder; nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import minibert
from localsearch.app import serve_at
from localsearch.indexing import Changes, update, watch
from localsearch.ranker import MODES, Hit, Ranker
from localsearch.store import MARKS, SearchError, Store, identity

#: The index, where `--db` names no other: hidden, so that no scan takes it for a text.
DATABASE = ".search.db"


def note(text: str) -> None:
    """A line about the work, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.add_argument("folder", type=Path, help="the folder whose files are searched")
        made.add_argument("--db", type=Path, metavar="FILE", help=f"the index (default: {DATABASE} in the folder)")
        made.add_argument("--model", default="minilm", help="a sentence-embedding model (default: minilm)")
        made.add_argument("--threads", type=int, metavar="N", help="of the model (default: all cores)")
        return made

    index = command("index", "bring the index up to date, once")
    index.add_argument("--rebuild", action="store_true", help="make it anew, as after a change of the model")
    query = command("query", "print what answers a query")
    query.add_argument("query", nargs="+", metavar="WORD", help="the query")
    query.add_argument("--limit", type=int, default=5, metavar="N", help="results (default: 5)")
    query.add_argument("--mode", choices=MODES, default="hybrid", help="by meaning, words, or both (default: hybrid)")
    query.add_argument("--json", action="store_true", help="a JSON object a line")
    watching = command("watch", "keep the index up to date until stopped")
    serve = command("serve", "answer on a web page, and keep the index up to date")
    serve.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1, this machine)")
    serve.add_argument("--port", type=int, default=8800, metavar="N", help="port (default: 8800; 0 for any free one)")
    serve.add_argument("--no-watch", action="store_true", help="leave the index as it is; it is opened for reading")
    for each in (query, serve):
        each.add_argument("--rerank", metavar="MODEL", help="a model that ranks the best once more: a cross-encoder")
    for each in (watching, serve):
        each.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between looks (default: 2)")
    return parser


def _shown(hit: Hit) -> str:
    """A hit in lines for people; what matches is bold where somebody looks."""
    bold = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    snippet = " ".join(hit.snippet.split())
    for mark, code in zip(MARKS, bold, strict=True):
        snippet = snippet.replace(mark, code)
    heading = f"  {hit.heading}" if hit.heading else ""
    return f"{hit.score:.4f}  {hit.path}:{hit.line}{heading}\n        {snippet}"


def _ranker(arguments: argparse.Namespace, database: Path, model: minibert.Model) -> Ranker:
    reranker = minibert.load(arguments.rerank, threads=arguments.threads) if arguments.rerank else None
    if reranker is not None:
        reranker.rank("a", ["b"])  # one that cannot says so now
    return Ranker(Store(database, arguments.folder, identity(model)), model, reranker)


def _query(arguments: argparse.Namespace, database: Path, model: minibert.Model) -> None:
    hits = _ranker(arguments, database, model).search(
        " ".join(arguments.query), max(arguments.limit, 1), arguments.mode
    )
    for hit in hits:
        print(json.dumps(hit.plain()) if arguments.json else _shown(hit))
    if not hits:
        note("nothing found")


class Reporter:
    """Tells on stderr what becomes of the index, and keeps what the page should say."""

    message = ""

    def progress(self, changes: Changes) -> None:
        """Some files are in."""
        self.message = f"indexing: {changes.chunks} chunks so far"
        note(self.message)

    def report(self, outcome: Changes | SearchError) -> None:
        """An update has ended; an error that stays is told once."""
        failed = isinstance(outcome, SearchError)
        if outcome and str(outcome) != self.message:
            note(str(outcome))
        self.message = str(outcome) if failed else ""


def _index(arguments: argparse.Namespace, database: Path, model: minibert.Model) -> None:
    store = Store(database, arguments.folder, identity(model), write=True, rebuild=arguments.rebuild)
    changes = update(store, model, arguments.folder, Reporter().progress)
    files, chunks = store.counts()
    for path, problem in store.problems():
        note(f"{path}: left out: {problem}")
    note(f"{database}: {changes}; {files} files in {chunks} chunks")


def _watch(
    arguments: argparse.Namespace,
    database: Path,
    model: minibert.Model,
    reporter: Reporter | None = None,
    stop: threading.Event | None = None,
) -> None:
    told, stop = reporter or Reporter(), stop or threading.Event()
    store = Store(database, arguments.folder, identity(model), write=True)
    watch(store, model, arguments.folder, arguments.every, stop, told.report, told.progress)


def _serve(arguments: argparse.Namespace, database: Path, model: minibert.Model) -> None:
    if not arguments.no_watch:  # a database that cannot be made or written is refused now
        Store(database, arguments.folder, identity(model), write=True).close()
    ranker, reporter, stop = _ranker(arguments, database, model), Reporter(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(arguments, database, model, reporter, stop))

    def status() -> str:
        try:
            counted = "{} files in {} chunks".format(*ranker.counts())
        except SearchError:  # the page says it itself
            counted = ""
        return " · ".join(filter(None, (counted, reporter.message)))

    server = serve_at(arguments.host, arguments.port, ranker, arguments.folder, status)
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    note(f"http://{host}:{server.server_address[1]}/ answers; Ctrl-C ends")
    try:
        if not arguments.no_watch:
            watcher.start()
        server.serve_forever()
    finally:
        stop.set()
        server.server_close()


_COMMANDS: dict[str, Any] = {"index": _index, "query": _query, "watch": _watch, "serve": _serve}


def main(given: list[str] | None = None) -> int:
    """Do a command; 0 if it was done, 1 with a message if it could not be, 130 if it was interrupted."""
    arguments = _parser().parse_args(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack letters that a text has
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service that is stopped ends as by Ctrl-C
    database = arguments.db or arguments.folder / DATABASE
    try:
        if not arguments.folder.is_dir():
            raise SearchError(f"{arguments.folder}: no such folder")
        model = minibert.load(arguments.model, threads=arguments.threads)
        model.need("sentence-embedding")
        _COMMANDS[arguments.command](arguments, database, model)
    except (SearchError, minibert.MinibertError) as error:
        note(f"search.py: {error}")
        return 1
    except KeyboardInterrupt:
        note("stopped; what was indexed is kept")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
