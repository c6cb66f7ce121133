"""Measure how fast a model is on this machine."""

from __future__ import annotations

import argparse
import os
from typing import Any

from minibert.cli import console
from minibert.cli.options import add_model, load_model, positive

HELP = "measure how fast a model is here"
EXAMPLES = (
    "bench model.safetensors --threads 1",
    "bench model.safetensors --startup",
)

#: What `--kernels` measures: linears of MiniLM and BERT-base, on short and long texts.
_SHAPES = ((384, 1536), (768, 768), (768, 3072), (3072, 768))
_TOKENS = (8, 16, 64, 128, 512)
_SPARSITIES = (0.5, 0.8, 0.9)


#: What happens in each stage of a start.
_STAGES = {
    "python": "the interpreter starts",
    "numpy": "import numpy",
    "minibert": "import minibert",
    "file": "the file is mapped and proven",
    "kernels": "compiled code is found and loaded",
    "tokenizer": "the tokenizer is built, a sentence becomes tokens",
    "answer": "the first forward pass",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser, needed=False)
    parser.add_argument("--lengths", type=positive, nargs="+", metavar="N", help="tokens of the single texts")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="time for each figure (default: 0.5)")
    parser.add_argument("--kernels", action="store_true", help="measure the matrix products alone; record the ratios")
    parser.add_argument("--startup", action="store_true", help="measure where a fresh process spends its time")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure section by section, then print all."""
    if arguments.startup:
        return _run_startup(arguments)
    return _run_kernels(arguments) if arguments.kernels else _run_model(arguments)


def _run_startup(arguments: argparse.Namespace) -> int:
    """From `python` to the first answer, stage by stage."""
    from minibert import startup
    from minibert.errors import BackendError, InputError

    if arguments.file is None:
        raise InputError("name a model file to start with")
    load_model(arguments)  # what is wrong with it is better said here
    console.note(f"starting fresh processes with {arguments.file}")
    try:
        seconds = startup.measure(arguments.file, backend=arguments.backend)
    except RuntimeError as error:
        raise BackendError(f"a fresh process gave no answer: {error}") from None
    if arguments.json:
        console.say_json(seconds, indent=2)
        return 0
    rows = [(name, _STAGES.get(name, ""), console.milliseconds(spent)) for name, spent in seconds.items()]
    console.say(console.table(rows, ("stage", "", "median")))
    return 0


def _run_kernels(arguments: argparse.Namespace) -> int:
    """Dense and block-sparse products on this machine; the engine chooses between them by what is recorded here."""
    from minibert.engine.crossover import record_path
    from minibert.engine.library import kernels
    from minibert.engine.timing import measure, measure_products

    loaded = kernels()
    measure(loaded)
    path = record_path(loaded.isa)
    found: list[dict[str, Any]] = []
    for inputs, outputs in _SHAPES:
        console.note(f"measuring {inputs} x {outputs} with the kernels for {loaded.isa}")
        gmacs, ratios = measure_products(loaded, inputs, outputs, _TOKENS, [1 - sparse for sparse in _SPARSITIES])
        found.append({"inputs": inputs, "outputs": outputs, "dense_gmacs": gmacs, "ratios": ratios})
    kept = str(path) if os.path.isfile(path) else None
    if arguments.json:
        facts = {"isa": loaded.isa, "tokens": _TOKENS, "sparsities": _SPARSITIES, "recorded": kept}
        console.say_json({**facts, "products": found}, indent=2)
        return 0
    rows = [
        (
            f"{each['inputs']} x {each['outputs']}",
            str(tokens),
            f"{each['dense_gmacs'][column]:.0f}",
            *(f"{row[column] * each['dense_gmacs'][column]:,.0f} = {row[column]:.2f}x" for row in each["ratios"]),
        )
        for each in found
        for column, tokens in enumerate(_TOKENS)
    ]
    heads = ("inputs x outputs", "tokens", "dense", *(f"{100 * sparse:.0f}% sparse" for sparse in _SPARSITIES))
    console.say(console.table(rows, heads))
    console.say(
        f"\n10\u2079 multiply-adds a second, of the dense matrix also where it is sparse; {loaded.isa}, one thread"
    )
    console.say(f"recorded in {kept}" if kept else f"not recorded: {path.parent} cannot be written")
    return 0


def _run_model(arguments: argparse.Namespace) -> int:
    """One model: by length, ragged, and text to answer."""
    from minibert import bench
    from minibert.errors import InputError

    if arguments.file is None:
        raise InputError("name a model file to measure, or measure the kernels alone with --kernels")
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
