"""What a search ends with: a file that meets a goal, or how near the best came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minibert.errors import MinibertError
from minibert_converter.budget.choice import Trial
from minibert_converter.budget.goal import Goal
from minibert_converter.budget.interval import Kept
from minibert_converter.budget.targets import Target
from minibert_converter.recipe import Recipe
from minibert_converter.report import Report, format_bytes

#: A loss from which on answers have little to do with the checkpoint's.
_MUCH = 0.25


class GoalError(MinibertError):
    """A budget cannot be met; says how near the best that was found comes."""


@dataclass(frozen=True)
class SearchResult:
    """What a search ends with.

    Attributes:
        report: of the conversion.
        recipe: that was found.
        score: on the user's examples; None where there are none.
        float_score: that of the float32 model.
        latency: the part of the dense int8 model's time that it is expected to take.
        loss: how far the file's answers moved; None where the goal has no loss.
        trials: files that were made, in order.
        target: where the model will answer.
        goal: that was to be met.
        kept: the part of the float32 model's score that is kept, with its interval; None where there is no score.
        expected_loss: what the answers were expected to lose when the file was chosen.
        seconds: the search took.
        ended: whether the time was up before all was tried.
    """

    report: Report
    recipe: Recipe
    score: float | None
    float_score: float | None
    latency: float
    loss: float | None
    trials: tuple[Trial, ...]
    target: Target
    goal: Goal
    kept: Kept | None = None
    expected_loss: float = 0.0
    seconds: float = 0.0
    ended: bool = False

    def table(self) -> str:
        """What was found, as lines of text."""
        early = ", when the time was up" if self.ended else ""
        trials = "1 trial" if len(self.trials) == 1 else f"{len(self.trials)} trials"
        lines = [f"found in {trials}{early}: {format_bytes(self.report.file_bytes)}"]
        if self.loss is not None:
            lines.append(f"loss: {self.loss:.4f}; allowed: {self.goal.max_loss:g}")
        if self.score is not None and self.float_score is not None:
            lines.append(f"score: {self.score:.4f}; float32: {self.float_score:.4f}")
        if self.kept is not None:
            lines.append(f"kept of the float32 score: {self.kept}")
        elif self.expected_loss > _MUCH:
            lines.append(
                "it answers little like the checkpoint's model: the loss is expected to be "
                f"{self.expected_loss:.2f} of the answers' variance; score it with --eval, or train a smaller student "
                "(`minibert distill`)"
            )
        lines.append(f"time for a text, estimated for {self.target.says}: {self.latency:.2f} of dense int8")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same, as plain JSON values."""
        return {
            "recipe": self.recipe.to_json(),
            "score": self.score,
            "float_score": self.float_score,
            "kept": None if self.kept is None else self.kept.to_json(),
            "latency_ratio": self.latency,
            "loss": self.loss,
            "expected_loss": self.expected_loss,
            "goal": asdict(self.goal),
            "target": self.target.says,
            "seconds": round(self.seconds, 1),
            "time_was_up": self.ended,
            "trials": [trial.to_json() for trial in self.trials],
        }


def promise(goal: Goal, kept: Kept) -> list[str]:
    """What a file's report says of a least score that it was chosen for, in sentences."""
    if goal.min_score is None:
        return []
    return [
        f"asked for was {goal.min_score:.2%} of the float32 score on examples like those given; it keeps {kept}"
        + (": the lower end is what was held to the budget" if kept.examples else "")
    ]


def nearest(goal: Goal, tried: Sequence[Trial]) -> str:
    """How near the files that were made come to a goal that none of them meets."""
    size = goal.max_size
    fitting = [trial for trial in tried if size is None or trial.bytes <= size]
    if not fitting:
        smallest = min(trial.bytes for trial in tried)
        return f"the smallest weighs {format_bytes(smallest)}, {format_bytes(smallest - (size or 0))} too much"
    if goal.max_loss is not None and all((trial.loss or 0.0) > goal.max_loss for trial in fitting):
        lost = min(trial.loss or 0.0 for trial in fitting)
        return f"the nearest loses {lost:.4f}, {lost - goal.max_loss:.4f} too much"
    scored = [trial for trial in fitting if trial.kept is not None]
    if goal.min_score is None or not scored:
        return "the float32 model's own score is not above 0, so that no part of it can be kept"
    best = max(scored, key=lambda trial: trial.kept.least if trial.kept else 0.0)
    kept = best.kept
    assert kept is not None
    missing = goal.min_score - kept.least
    said = f"the best has {kept.part:.2%} of the float32 score at {format_bytes(best.bytes)}"
    if not kept.examples:
        return f"{said}, {missing:.2%} too little"
    interval = f"of which {kept.examples:,} examples assure {kept.least:.2%}, {missing:.2%} too little"
    more = "; more examples would assure more of it" if kept.part >= goal.min_score else ""
    return f"{said}, {interval}{more}"


def ways_out(parts: Mapping[str, int], *, cut: bool) -> str:
    """What would make a size possible, as the end of a message.

    Args:
        parts: bytes of the smallest file, by what they are for.
        cut: whether its vocabulary was cut to calibration texts.
    """
    said = ", ".join(f"{what} {format_bytes(size)}" for what, size in parts.items())
    words = "" if cut else "--vocab-from TEXTS, which keeps only the words of your texts, or --calibrate TEXTS, with "
    words += "" if cut else "which a search does so as a last resort; "
    size = format_bytes(round(1.05 * sum(parts.values())))
    student = "`minibert distill` into a smaller student"
    return f" ({said}). What would make it possible: {words}{student}; or --max-size {size}"
