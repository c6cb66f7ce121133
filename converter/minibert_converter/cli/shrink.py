"""Find the smallest, fastest or best student of a fine-tuned teacher within a budget and a time, without a recipe."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from minibert import files
from minibert.cli import console
from minibert.cli.options import add_force, may_replace, positive
from minibert_converter.cli.training import PAUSE, Lines, add_columns, read_examples

HELP = "find and train the best student of a teacher within a budget"
EXAMPLES = (
    "shrink ./checkpoint --data train.tsv --eval dev.tsv --max-size 1MB -o small.safetensors",
    "shrink ./checkpoint --data train.tsv --eval dev.tsv --keep 0.98 --minutes 60 -o small.safetensors",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from minibert_converter.budget.targets import TARGETS

    parser.add_argument(
        "teacher", metavar="TEACHER", help="a checkpoint, fine-tuned for its task: a folder, or a name on the Hub"
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        required=True,
        help="texts to learn from: .tsv, .csv or .jsonl, for token-classification CoNLL; also .gz; labels are not read",
    )
    parser.add_argument(
        "--eval",
        metavar="DATA",
        help="texts that students are compared on and the result is stated on, with labels if they are known (default: "
        "some of --data, held out, the teacher's answers being what is right)",
    )
    goal = parser.add_argument_group("what the student has to be, one or more of these")
    goal.add_argument("--max-size", metavar="SIZE", help="the most that its file weighs, such as 1MB")
    goal.add_argument(
        "--max-latency-ratio", type=float, metavar="PART", help="of the time of its teacher in int8, estimated"
    )
    goal.add_argument(
        "--keep", type=float, metavar="PART", help="of its teacher's score, such as 0.98: the smallest that keeps it"
    )
    parser.add_argument("--target", metavar="CPU", help=f"where it will answer: {', '.join(TARGETS)} (default: here)")
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="that it may take (default: 30)")
    parser.add_argument("--workers", type=positive, metavar="N", help="trainings at a time (default: cores, up to 4)")
    parser.add_argument(
        "--copies", type=int, metavar="N", help="varied copies of each text (default: 1 if texts are few)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random choices (default: 0)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file; its recipe lies beside it")
    add_force(parser)
    add_columns(parser)
    parser.add_argument("--fresh", action="store_true", help="begin anew, even where a search was stopped")
    parser.add_argument("--report", metavar="HTML", help="draw the students on a page: sizes and what they keep")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Search, then print what was found."""
    from minibert.format import is_model_file
    from minibert_converter.budget.goal import parse_size
    from minibert_converter.budget.targets import find_target
    from minibert_converter.checkpoints import checkpoint_folder
    from minibert_converter.convert import check_target
    from minibert_converter.distill.dataset import Examples
    from minibert_converter.shrink.goal import Goal
    from minibert_converter.shrink.page import write_page
    from minibert_converter.shrink.shrink import Settings, shrink

    size = None if arguments.max_size is None else parse_size(arguments.max_size)
    goal = Goal(size, arguments.max_latency_ratio, arguments.keep)
    target = None if arguments.target is None else find_target(arguments.target)
    settings = Settings(arguments.minutes, arguments.seed, arguments.workers, target, arguments.copies, arguments.fresh)
    files.check_target(arguments.output, ours=is_model_file)
    recipe = str(Path(arguments.output).with_suffix(".toml"))
    may_replace(arguments, arguments.output, recipe, arguments.report)
    lines = SearchLines()
    with lines:
        teacher = checkpoint_folder(arguments.teacher, progress=lines)
        check_target(teacher, Path(arguments.output), [path for path in (arguments.data, arguments.eval) if path])
        texts, _ = read_examples(arguments, arguments.data, labels=False)
        judged = None if arguments.eval is None else Examples(*read_examples(arguments, arguments.eval, labels=False))
        found = shrink(
            teacher,
            Examples(texts),
            arguments.output,
            goal,
            judged_on=judged,
            settings=settings,
            watcher=lines.watcher(),
            progress=lines,
        )
    if arguments.report:
        write_page(found, arguments.report, f"{arguments.teacher}, shrunk", [teacher, arguments.output])
    if arguments.json:
        console.say_json(found.to_json(), indent=2)
    else:
        console.say(found.table())
        console.note(
            f"{arguments.output} is written, and {recipe}, the recipe that makes it again with minibert distill"
        )
    return 0


class SearchLines(Lines):
    """Stages; a line of how far the search is; and one for each student that was trained."""

    def watcher(self) -> Any:
        """What tells a search to say on these lines how far it is."""
        from minibert_converter.shrink.sifting import Watcher

        return Watcher(self.rung, self.running, self.trial)

    def rung(self, number: int, rungs: int, students: int) -> None:
        """A rung begins."""
        self._rung = f"{number}/{rungs}"
        self._write(f"{self._rung} training {students} {'student' if students == 1 else 'students'}\n")

    def running(self, done: int, students: int, best: Any, seconds: float) -> None:
        """How far the trainings are."""
        from minibert_converter.report import format_bytes

        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (0.5 if self._terminal else PAUSE)
        minutes, rest = divmod(round(seconds), 60)
        line = f"{self._rung} {done} of {students} students"
        if best is not None:
            line += f"; best so far keeps {best.kept.part:.1%} in {format_bytes(best.bytes)}"
        line += f"; {minutes}:{rest:02d} left"
        self._write(line if self._terminal else line + "\n")

    def trial(self, trial: Any) -> None:
        """A student was trained."""
        from minibert_converter.report import format_bytes

        self._write(f"{self._rung} {format_bytes(trial.bytes)} keeps {trial.kept.part:.1%}: {trial.student}\n")
