"""Measure how fast a model is on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from minibert.cli import console
from minibert.cli.options import add_model, load_model, positive

HELP = "measure how fast a model is here"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--lengths", type=positive, nargs="+", metavar="N", help="tokens of the single texts")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="time for each figure (default: 0.5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure section by section, then print all."""
    from minibert import bench
    from minibert.errors import InputError

    model = load_model(arguments)
    positions = model.config.architecture.max_positions
    lengths = arguments.lengths or [length for length in bench.LENGTHS if length <= positions]
    if max(lengths) > positions:
        raise InputError(f"a text of {max(lengths)} tokens is too long: the model has {positions} positions")
    console.note(f"measuring {model!r}")
    model.warmup()
    figures: dict[str, Any] = {
        "model": str(model.path),
        "bytes": model.size,
        "backend": model.engine.backend,
        "threads": model.engine.threads,
        "lengths": bench.by_length(model, lengths, arguments.seconds),
        "ragged": bench.ragged(model, arguments.seconds),
        "one_text": bench.one_text(model, arguments.seconds),
    }
    if arguments.json:
        console.say_json(figures, indent=2)
    else:
        for section in (_lengths(figures["lengths"]), _ragged(figures["ragged"]), _one_text(figures["one_text"])):
            console.say(section + "\n")
    return 0


def _lengths(rows: list[dict[str, Any]]) -> str:
    shown = [
        (
            str(row["length"]),
            console.milliseconds(row["seconds"]),
            f"{row['tokens_per_second']:,.0f}",
            f"{row['gmacs']:.1f}",
        )
        for row in rows
    ]
    return console.table(shown, ("one text of", "median", "tokens/s", "GMAC/s"))


def _ragged(row: dict[str, Any]) -> str:
    return (
        f"{row['texts']} texts of {row['tokens']} tokens in one batch: {console.milliseconds(row['seconds'])}, "
        f"{row['texts_per_second']:,.0f} texts/s, {row['tokens_per_second']:,.0f} tokens/s, {row['gmacs']:.1f} GMAC/s"
    )


def _one_text(row: dict[str, Any]) -> str:
    micro = {name: f"{1e6 * row[name]:,.0f} µs" for name in ("seconds", "engine", "tokenizer", "python")}
    return (
        f"text to answer, {row['tokens']} tokens: {micro['seconds']} = engine {micro['engine']} "
        f"+ tokenizer {micro['tokenizer']} + Python {micro['python']}"
    )
