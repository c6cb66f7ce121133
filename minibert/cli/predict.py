"""Answer texts by any task of a model: from the command line, or one a line from stdin."""

from __future__ import annotations

import argparse
from itertools import tee

from minibert.cli import console, predict_tasks
from minibert.cli.options import add_model, add_texts, load_model, reading
from minibert.cli.predict_tasks import TASKS, chosen
from minibert.tasks import ALIASES

HELP = "answer texts: labels, entities, answers to questions, masked words, rankings"
EXAMPLES = (
    'predict model.safetensors "where is my card?"',
    "predict model.safetensors --top-k 3 --json < texts.txt",
    'predict nli.safetensors --labels "sport,politics" "The striker scored twice."',
)


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
    predict_tasks.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answer each text as soon as its portion is read, in order."""
    model = load_model(arguments)
    task = chosen(arguments, model)
    shown, asked = tee(task.items(arguments))
    width = min(max((len(label) for label in model.labels), default=0), 40)
    for item, answer in zip(shown, task.ask(model, asked, arguments, reading(arguments)), strict=True):
        if arguments.json:
            console.say_json(answer)
        else:
            console.say(task.show(item, answer, width))
        if arguments.stream:
            console.flush()
    return 0
