"""Answer texts by any task of a model: from the command line, or one a line from stdin."""

from __future__ import annotations

import argparse
from itertools import tee

from minibert.cli import console
from minibert.cli.answers import ALIASES, TASKS, chosen
from minibert.cli.options import add_model, add_texts, load_model, positive, window

HELP = "answer texts: labels, entities, answers to questions, masked words, rankings"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_texts(parser)
    parser.add_argument(
        "--task", choices=(*TASKS, *ALIASES), metavar="TASK", help=f"{', '.join(TASKS)} (default: the file's own)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON for each text: what Model.predict returns"
    )
    parser.add_argument("--top-k", type=_top_k, metavar="K", help="the K best answers to each text; labels: or 'all'")
    group = parser.add_argument_group("text-classification")
    group.add_argument("--pair", action="store_true", help="each text is a pair with a tab between")
    group.add_argument(
        "--function", choices=("softmax", "sigmoid", "none"), help="what makes scores of logits (default: the model's)"
    )
    group = parser.add_argument_group("token-classification")
    group.add_argument(
        "--aggregation",
        choices=("none", "simple", "first", "average", "max"),
        help="how tokens become entities (default: none)",
    )
    group.add_argument("--ignore-labels", metavar="A,B", help="labels to leave out (default: O)")
    group.add_argument("--stride", type=_count, metavar="N", help="read long texts in windows that share N tokens")
    group = parser.add_argument_group("question-answering", "texts are question, tab, context; or:")
    group.add_argument("--question", metavar="TEXT", help="the question; texts are contexts")
    group.add_argument("--context", metavar="TEXT", help="the context; texts are questions")
    group.add_argument("--doc-stride", type=_count, metavar="N", help="tokens that windows share (default: 128)")
    group.add_argument("--max-answer-len", type=positive, metavar="N", help="tokens of an answer (default: 15)")
    group.add_argument("--impossible", action="store_true", help="there may be no answer")
    group = parser.add_argument_group("fill-mask")
    group.add_argument("--targets", metavar="A,B", help="the only words to choose from")
    group = parser.add_argument_group("zero-shot-classification")
    group.add_argument("--labels", metavar="A,B", help="what to choose from")
    group.add_argument("--template", metavar="TEXT", help="a sentence with {} for the label")
    group.add_argument("--multi-label", action="store_true", help="any number of labels may be true")
    group = parser.add_argument_group("reranking")
    group.add_argument("--query", metavar="TEXT", help="what the texts, as documents, are ranked by")


def run(arguments: argparse.Namespace) -> int:
    """Answer each text as soon as its window is read, in order."""
    model = load_model(arguments)
    task = chosen(arguments, model)
    shown, asked = tee(task.items(arguments))
    read = {
        "window": window(arguments),
        "truncation": not arguments.no_truncation,
        "max_length": arguments.max_length,
        "batch_size": arguments.batch_size,
    }
    width = min(max((len(label) for label in model.labels), default=0), 40)
    for item, answer in zip(shown, task.ask(model, asked, arguments, read), strict=True):
        if arguments.json:
            console.say_json(answer)
        else:
            console.say(task.show(item, answer, width))
        if arguments.stream:
            console.flush()
    return 0


def _top_k(text: str) -> int | str:
    return text if text == "all" else positive(text)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {number}")
    return number
