"""What there is to choose from: what loses least first, and what loses more only where that cannot meet the goal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibert.errors import MinibertError
from minibert_converter.budget.bounds import Frame, typical_loss
from minibert_converter.budget.candidates import Candidate, candidates, fast_candidates
from minibert_converter.budget.clock import Clock
from minibert_converter.budget.goal import Goal
from minibert_converter.budget.probe import Probe, Source
from minibert_converter.budget.result import GoalError, ways_out
from minibert_converter.budget.space import (
    FORMS,
    bases,
    combinations,
    forms_worth_trying,
    said,
    small_table_forms,
    table_forms,
)
from minibert_converter.budget.state import State
from minibert_converter.budget.targets import Target
from minibert_converter.report import format_bytes

#: Passes that prune or share.
Base = tuple[dict[str, Any], ...]
#: A loss that is expected of a candidate that fits, with which nothing else need be tried.
_ENOUGH = 0.05
#: Levels of a family that are tried.
_LEVELS = 3
#: Combinations of two families that are tried.
_COMBINED = 2
_CUTTING = "nothing else is small enough: the vocabulary is cut to the calibration texts"
#: Seconds a unit of cost takes a weight, on a CPU of 2020; a guess until the first step has shown it.
_SECONDS_A_WEIGHT = 1.2e-6


class Pool:
    """Candidates for a goal, measured as far as they are needed.

    Args:
        source: the checkpoint.
        first: passes that are done in any case, ahead of all.
        target: where the model will answer.
        state: of the search.
        clock: told of each step.
        goal: that is to be met.
        words_from: a file of texts that the vocabulary may be cut to.
    """

    def __init__(
        self,
        source: Source,
        first: list[dict[str, Any]],
        target: Target,
        state: State,
        clock: Clock,
        goal: Goal,
        words_from: str | Path | None = None,
    ) -> None:
        self.source, self.target, self.state, self.clock, self.goal = source, target, state, clock, goal
        self._whole = Probe(source, first, target, state, clock)
        self._cut: Probe | None = None
        self._said = False
        if words_from is not None and not any("vocab_from" in one for one in first):
            self._cut = Probe(source, [*first, {"vocab_from": str(words_from)}], target, state, clock, cut=True)

    def probe(self, candidate: Candidate) -> Probe:
        """Of a candidate."""
        return self._cut if candidate.cut and self._cut is not None else self._whole

    def cost_of(self, candidate: Candidate) -> float:
        """What a candidate's passes cost beside making its file, in units of the clock."""
        return self.probe(candidate).base_cost(candidate.base)

    # Whether a goal is met.

    def fits(self, candidate: Candidate, slack: int = 0) -> bool:
        """Whether a candidate is expected to have the size and time of the goal, being so much larger than expected."""
        ratio = self.goal.max_latency_ratio
        return self.weighs(candidate.bytes + slack) and (ratio is None or candidate.latency <= ratio)

    def weighs(self, size: int) -> bool:
        """Whether a file may have so many bytes."""
        return self.goal.max_size is None or size <= self.goal.max_size

    def _may_fit(self, frame: Frame, tables: Sequence[str], base: Base, slack: int = 0) -> bool:
        """Whether anything after these passes may fit, by arithmetic."""
        ratio = self.goal.max_latency_ratio
        return (self.goal.max_size is None or frame.least(tables, base) + slack <= self.goal.max_size) and (
            ratio is None or frame.fastest(base) <= ratio
        )

    # What is measured.

    def begin(self, files: int) -> list[Candidate]:
        """The candidates, for the first time: phases 1 to 3.

        Args:
            files: that are expected to be made.

        Raises:
            GoalError: the goal cannot be met, by arithmetic.
        """
        clock, probe = self.clock, self._whole
        clock.phase(1)
        frame = probe.frame()
        clock.guess(_SECONDS_A_WEIGHT * sum(shape.weights for shape in frame.shapes.values()))
        self._refuse_impossible()
        network = probe.network()
        tables = table_forms(network)
        making = files * clock.file
        if self.goal.fastest:
            forms = forms_worth_trying(frame.shapes, self.target)
            clock.later = making
            clock.phase(2, probe.steps(forms, ("int8",)))
            return fast_candidates(probe)
        removing = [] if self._may_fit(frame, tables, ()) else self._removing(probe)
        clock.later = sum(removing) + making
        clock.phase(2, probe.steps(FORMS, tables))
        found = candidates(probe)
        if self._enough(found):
            return found
        clock.later = making
        self.begin_removing()
        return self.candidates()

    def begin_removing(self) -> None:
        """Phase 3: what it loses to remove parts."""
        self.clock.phase(3, self._removing(self._whole))

    def candidates(self, slack: int = 0, *, wide: bool = False) -> list[Candidate]:
        """Points worth a trial: those of the whole model, and of the least changed ones that meet the goal.

        Args:
            slack: bytes that files are larger than expected.
            wide: whether parts are removed though forms alone have the size: they lost too much.
        """
        if self.goal.fastest:
            return fast_candidates(self._whole)
        found = self._of(self._whole, slack, wide)
        if self._cut is not None and not any(self.fits(each, slack) for each in found):
            try:
                self._cut.frame()
            except MinibertError as error:
                self.clock.say(f"the vocabulary cannot be cut: {error}")
                return found
            if not self._said:
                self.clock.say(_CUTTING)
            self._said = True
            found = found + self._of(self._cut, slack, wide)
        return found

    def _enough(self, found: Sequence[Candidate], slack: int = 0) -> bool:
        """Whether one of the candidates fits, and is expected to lose little."""
        return any(self.fits(each, slack) and each.loss <= _ENOUGH for each in found)

    def _of(self, probe: Probe, slack: int, wide: bool) -> list[Candidate]:
        """Those of a checkpoint, with all its words or with those that are left."""
        found = candidates(probe)
        if self._enough(found, slack) and not wide:
            return found
        if self.goal.max_size is not None and not any(self.fits(each, slack) for each in found):
            probe.take_small_tables()
            found = candidates(probe)
            if self._enough(found, slack) and not wide:
                return found
        frame, tables = probe.frame(), probe.table_names()
        for levels in self._families(probe):
            found += self._best_levels(probe, levels, slack)
            if self._enough(found, slack) and not wide:
                return found
        if any(self.fits(each, slack) for each in found):
            return found
        for both in self._combined(probe, frame, tables, slack)[:_COMBINED]:
            found += candidates(probe, both[0])
        return found

    def _combined(self, probe: Probe, frame: Frame, tables: Sequence[str], slack: int = 0) -> list[list[Base]]:
        """Levels of two families together that may fit, by arithmetic, from the fewest layers that go."""
        levels = [[(base,) for base in each] for each in combinations(probe.network())]
        fitting = [[base for base in each if self._may_fit(frame, tables, base, slack)] for each in levels]
        return [each for each in fitting if each]

    def _best_levels(self, probe: Probe, levels: Sequence[Base], slack: int) -> list[Candidate]:
        """Candidates of the level of a family that is likely to lose least, and of those that this one points to.

        The more of a matrix goes, the more bytes are left for the words. What a level loses is guessed by what is
        usual, and after the first by how much more or less than that the others lost.
        """
        frame, usual = probe.frame(), 1.0
        words = {form: lost for form, (_, lost) in probe.tables().items()}
        found: dict[str, list[Candidate]] = {}
        large: set[str] = set()
        while len(found) < _LEVELS:
            guesses = {}
            for base in levels:
                fitting = [lost for form, lost in words.items() if self._may_fit(frame, (form,), base, slack)]
                if fitting and said(base) not in large:
                    guesses[said(base)] = min(fitting) + usual * typical_loss(frame.shapes, base), base
            best = min(guesses.values(), key=lambda each: each[0])[1] if guesses else None
            if best is None or said(best) in found:
                break
            found[said(best)] = candidates(probe, best)
            usual = probe.shapes(best).loss / max(typical_loss(frame.shapes, best), 1e-9)
            if not any(self.fits(each, slack) for each in found[said(best)]):
                large.add(said(best))
        return [each for its in found.values() for each in its]

    def _families(self, probe: Probe) -> list[list[Base]]:
        """Passes that prune or share, by family, from least to most."""
        ratio = self.goal.max_latency_ratio
        return [
            [(base,) for base in levels]
            for family, levels in bases(probe.network()).items()
            if family != "sharing" or ratio is None or ratio == 1  # it saves bytes, not time
        ]

    def _removing(self, probe: Probe) -> list[float]:
        """Costs of what is yet to be measured where forms alone do not meet the goal."""
        network = probe.network()
        forms = self.goal.max_size is None or self._may_fit(probe.frame(), table_forms(network), ())
        small = () if forms else small_table_forms(network)
        levels = self._levels(probe) or [both[0] for both in self._combined(probe, probe.frame(), small)][:_COMBINED]
        return probe.steps((), small) + [cost for base in levels if (cost := probe.base_cost(base))]

    def _levels(self, probe: Probe) -> list[Base]:
        """Of each family the level that arithmetic says is needed."""
        frame = probe.frame()
        tables = (*table_forms(probe.network()), *small_table_forms(probe.network()))
        firsts = (
            next((base for base in levels if self._may_fit(frame, tables, base)), None)
            for levels in self._families(probe)
        )
        return [base for base in firsts if base is not None]

    # What is said when it cannot be had.

    def _everything(self, probe: Probe) -> list[Base]:
        both = [(base,) for levels in combinations(probe.network()) for base in levels]
        return [(), *(base for levels in self._families(probe) for base in levels), *both]

    def _refuse_impossible(self) -> None:
        """Raises GoalError where arithmetic says that no candidate can meet the goal."""
        ratio, size = self.goal.max_latency_ratio, self.goal.max_size
        if ratio is not None and not self.goal.fastest:
            fastest = min(self._whole.frame().fastest(base) for base in self._everything(self._whole))
            if fastest > ratio:
                raise GoalError(
                    f"no recipe meets the budget ({self.goal}): the fastest is expected to take {fastest:.2f} of the "
                    "time of dense int8. What would make it possible: `minibert distill` into a smaller student"
                )
        if size is None or self.goal.fastest:
            return
        least = self._smallest(self._whole)
        if sum(least.values()) > size and self._cut is not None:
            try:
                least = self._smallest(self._cut)
            except MinibertError as error:
                self.clock.say(f"the vocabulary cannot be cut: {error}")
            else:  # nothing of the whole vocabulary need be looked at
                self.clock.say(_CUTTING)
                self._whole, self._cut = self._cut, None
        total = sum(least.values())
        self.clock.say(f"by arithmetic the smallest file would weigh {format_bytes(total)}")
        if total > size:
            way = ways_out(least, cut=self._whole.cut)
            raise GoalError(
                f"no recipe meets the budget ({self.goal}): the smallest is expected to weigh {format_bytes(total)}, "
                f"{format_bytes(total - size)} too much{way}"
            )

    def _smallest(self, probe: Probe) -> dict[str, int]:
        """Bytes of the smallest file by what they are for."""
        frame, ratio = probe.frame(), self.goal.max_latency_ratio
        network = probe.network()
        tables = (*table_forms(network), *small_table_forms(network))
        matrices = min(
            frame.matrices(base) for base in self._everything(probe) if ratio is None or frame.fastest(base) <= ratio
        )
        return {
            "the tokenizer, norms, head and header": frame.beside,
            "words": min(map(frame.words, tables)),
            "matrices of layers": matrices,
        }

    def nearest(self, found: Sequence[Candidate]) -> str:
        """How near candidates come to the goal, where no file was made."""
        size, ratio = self.goal.max_size, self.goal.max_latency_ratio
        fitting = [each for each in found if self.fits(each)]
        if fitting:
            best = min(fitting, key=lambda each: each.loss)
            return f"no file was made; the first would weigh about {format_bytes(best.bytes)} and lose {best.loss:.4f}"
        if ratio is not None and min(each.latency for each in found) > ratio:
            fastest = min(each.latency for each in found)
            return f"the fastest is expected to take {fastest:.2f} of the time of dense int8"
        possible = [each for each in found if ratio is None or each.latency <= ratio]
        smallest = min(possible, key=lambda each: each.bytes)
        over = smallest.bytes - (size or 0)
        return f"the smallest is expected to weigh {format_bytes(smallest.bytes)}, {format_bytes(over)} too much"
