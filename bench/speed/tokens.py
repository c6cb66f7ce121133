"""Text to tokens, and to answers, by a file's tables and by the tokenizers library, in turns.

    python -m bench.speed.tokens FILE TEXTS [--text COL] [--threads N]

FILE is a model of minibert that has tables; TEXTS a file of lines, or a table whose columns --text names. Both sides
run the same model: once with its own tokenizer, once with the library's object of the same tokenizer.json, as files
without tables are read (with threads, tokens of the next texts are then made beside the engine's work). Printed are
microseconds of a text and, of each round, the library's time over the tables': the median, the lowest and the highest;
for tokens alone, one text at a time and many at once, and for answers (`encode` or `predict`) to all texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import common
from bench.speed.static import texts_of

TURNS = 9
#: Texts that are tokenized one at a time.
SINGLE = 2_000


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--text", action="append", default=[], metavar="COL", help="a column of texts; repeatable")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    import minibert

    texts = texts_of(arguments.texts, arguments.text)
    sides = {side: minibert.load(arguments.file, threads=arguments.threads) for side in ("tables", "library")}
    if sides["tables"].tokenizer.source != "tables":
        parser.error(f"{arguments.file} has no tables: convert its checkpoint with this release")
    _by_the_library(sides["library"])
    pairs = [(text, None) for text in texts]
    work: dict[str, tuple[int, Callable[[Any], Callable[[], Any]]]] = {
        "tokens, one at a time": (
            SINGLE,
            lambda model: lambda: [model.tokenizer.encode(text) for text in texts[:SINGLE]],
        ),
        "tokens, many at once": (len(texts), lambda model: partial(model.tokenizer.encode_many, pairs)),
        "answers": (len(texts), lambda model: partial(model.predict if model.labels else model.encode, texts)),
    }
    if sides["tables"].tokenizer.encode_many(pairs) != sides["library"].tokenizer.encode_many(pairs):
        parser.error("the tables and the library make different tokens")
    for name, (count, calls) in work.items():
        seconds = common.time_in_turns({side: calls(model) for side, model in sides.items()}, TURNS)
        ratios = [a / b for a, b in zip(seconds["library"], seconds["tables"], strict=True)]
        figures = {
            "work": name,
            "threads": arguments.threads,
            "us_a_text": {side: round(1e6 * median(times) / count, 2) for side, times in seconds.items()},
            "ratio": [round(each, 2) for each in (median(ratios), min(ratios), max(ratios))],
        }
        print(json.dumps(figures))


def _by_the_library(model: Any) -> None:
    """Have a model read texts as one without tables does."""
    from minibert.text.library_tokenizer import LibraryTokenizer
    from minibert.text.tokenizer import TextSettings

    text = {name: value for name, value in vars(model.config.text).items() if name != "tables"}
    settings = TextSettings(token_types=model.config.architecture.token_types, **text)
    made = LibraryTokenizer(model.tokenizer.library.to_str(), settings)
    model._get_tokenizer._tokenizer = made


if __name__ == "__main__":
    main()
