"""Classify texts: from the command line, or one a line from stdin."""

from __future__ import annotations

import argparse
from itertools import tee
from typing import Any

from minibert.cli import console
from minibert.cli.options import add_model, add_texts, lines, load_model, pairs, positive, window

HELP = "classify texts"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_texts(parser)
    parser.add_argument("--pair", action="store_true", help="each text is a pair with a tab between")
    parser.add_argument("--top-k", type=_top_k, metavar="K", help="the K best labels of each text, or 'all'")
    parser.add_argument(
        "--function", choices=("softmax", "sigmoid", "none"), help="what makes scores of logits (default: the model's)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON for each text: what Model.predict returns"
    )


def run(arguments: argparse.Namespace) -> int:
    """Answer each text as soon as its window is read, in order."""
    from minibert.tasks.classify import BEST

    model = load_model(arguments)
    shown, asked = tee(pairs(lines(arguments)) if arguments.pair else lines(arguments))
    results = model.iter_predict(
        asked,
        window=window(arguments),
        top_k={None: BEST, "all": None}.get(arguments.top_k, arguments.top_k),
        function_to_apply=arguments.function,
        truncation=not arguments.no_truncation,
        max_length=arguments.max_length,
        batch_size=arguments.batch_size,
    )
    width = max((len(label) for label in model.labels), default=0)
    for text, result in zip(shown, results, strict=True):
        if arguments.json:
            console.say_json(result)
        else:
            console.say(_human(text, result, min(width, 40)))
        if arguments.stream:
            console.flush()
    return 0


def _human(text: Any, result: Any, width: int) -> str:
    text = console.one_line(text if isinstance(text, str) else " | ".join(text))
    if isinstance(result, list):
        return "\n".join([console.bold(text), *(_label(each, width, "  ") for each in result)])
    return f"{_label(result, width)}  {text}"


def _label(result: dict[str, Any], width: int, indent: str = "") -> str:
    return f"{indent}{console.green(console.one_line(result['label'], 40).ljust(width))} {result['score']:8.4f}"


def _top_k(text: str) -> int | str:
    return text if text == "all" else positive(text)
