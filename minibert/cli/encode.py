"""Turn sentences into vectors: from the command line, or one a line from stdin."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.cli.options import (
    add_force,
    add_model,
    add_texts,
    lines,
    load_model,
    may_replace,
    positive,
    reading,
)
from minibert.errors import InputError
from minibert.files import check_target, replacing

if TYPE_CHECKING:
    import numpy as np

    from minibert.model import Model
    from minibert.tasks.features import SparseVector

HELP = "turn sentences into vectors"
EXAMPLES = (
    'encode minilm "a text" "another"',
    "encode minilm --npy vectors.npy < texts.txt",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_texts(parser)
    parser.add_argument(
        "--side",
        choices=("query", "document"),
        help="read texts as queries or as documents, with the prompt that the model has for these; a multi-vector "
        "model (ColBERT) reads them in no other way, and gives a list of vectors, one for each token",
    )
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt-name", metavar="NAME", help="which of the model's prompts goes before each sentence")
    prompt.add_argument("--prompt", metavar="TEXT", help="what goes before each sentence")
    parser.add_argument("--normalize", action="store_true", help="scale vectors to length 1")
    parser.add_argument("--truncate-dim", type=positive, metavar="N", help="keep the first N numbers of each vector")
    parser.add_argument(
        "--windows",
        action="store_true",
        help="read texts that are too long whole, in windows of --max-length tokens, and average their vectors",
    )
    parser.add_argument(
        "--precision", choices=("float32", "binary", "ubinary"), default="float32", help="type of the numbers"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--sparse",
        action="store_true",
        help="the weight of each word that matters, from a SPLADE model (fill-mask) or BGE-M3",
    )
    kind.add_argument(
        "--all", action="store_true", help="dense, sparse and token vectors in one pass, from a model such as BGE-M3"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--npy", metavar="OUT", help="write one matrix to this .npy file instead of lines to stdout")
    output.add_argument("--json", action="store_true", help="one line of JSON for each sentence (the default)")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write one vector a line, as a JSON list; or one matrix to a file."""
    if arguments.npy is not None:
        check_target(arguments.npy, [arguments.file])
        may_replace(arguments, arguments.npy)
    model = load_model(arguments)
    if arguments.sparse or arguments.all:
        return _write_words(arguments, model)
    if arguments.npy is not None and model.task.kind == "multi-vector":
        raise InputError("--npy writes one matrix, of one vector a text; this model has one for each token")
    sides = {"query": model.iter_encode_query, "document": model.iter_encode_document}
    vectors = sides.get(arguments.side, model.iter_encode)(
        lines(arguments, lazily=arguments.npy is None), **_options(arguments), **reading(arguments)
    )
    if arguments.npy is None:
        for vector in vectors:
            console.say(_list(vector))
            if arguments.stream:
                console.flush()
        return 0
    return _write_matrix(arguments, model, vectors)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, as methods take it; a model of one vector a token takes less."""
    options = {
        "prompt_name": arguments.prompt_name,
        "prompt": arguments.prompt,
        "precision": None if arguments.precision == "float32" else arguments.precision,
        "normalize_embeddings": arguments.normalize or None,
        "truncate_dim": arguments.truncate_dim,
        "windows": arguments.windows or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _list(numbers: np.ndarray) -> str:
    """Numbers, or rows of them, in JSON."""
    # float32 numbers in as few digits as bring them back exactly: float64 would print seventeen.
    return f"[{', '.join(map(_list if numbers.ndim > 1 else str, numbers))}]"


def _write_words(arguments: argparse.Namespace, model: Model) -> int:
    """A JSON object for each text: words and their weights, as search engines take them, and with --all the vectors."""
    for option in ("side", "prompt_name", "prompt", "normalize", "truncate_dim", "windows", "npy"):
        if getattr(arguments, option) not in (None, False):
            raise InputError(f"--{option.replace('_', '-')} is no option of --{'all' if arguments.all else 'sparse'}")
    if arguments.precision != "float32":
        raise InputError(f"--precision is no option of --{'all' if arguments.all else 'sparse'}")
    if arguments.all:
        answers = (
            f'{{"dense": {_list(each.dense)}, "sparse": {_words(model, each.sparse)}, "tokens": {_list(each.tokens)}}}'
            for each in model.iter_encode_all(lines(arguments), **reading(arguments))
        )
    else:
        found = model.iter_encode_sparse(lines(arguments), **reading(arguments))
        answers = (_words(model, vector) for vector in found)
    for answer in answers:
        console.say(answer)
        if arguments.stream:
            console.flush()
    return 0


def _words(model: Model, vector: SparseVector) -> str:
    """Words and their weights in JSON, the heaviest first."""
    order = (-vector.values).argsort(kind="stable")
    words = zip(vector.indices[order].tolist(), vector.values[order], strict=True)
    # A vocabulary may have fewer words than the matrix has rows.
    shown = (f"{console.json_of(model.tokenizer.token(id) or str(id))}: {weight!s}" for id, weight in words)
    return f"{{{', '.join(shown)}}}"


def _write_matrix(arguments: argparse.Namespace, model: Model, vectors: Iterator[np.ndarray]) -> int:
    import numpy as np

    from minibert.progress import Progress

    rows = []
    with Progress("encode") as progress:
        for vector in vectors:
            rows.append(vector)
            progress.update(1)
    if rows:
        matrix = np.stack(rows)
    else:
        matrix = model.encode([], truncate_dim=arguments.truncate_dim, precision=arguments.precision)
    with replacing(arguments.npy, [arguments.file]) as file:
        # Not np.save: it writes by a stream of its own, and does not notice that the last of it found no room.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(matrix))
        file.write(matrix.data)
    console.note(f"{arguments.npy}: {matrix.dtype} {list(matrix.shape)}")
    return 0
