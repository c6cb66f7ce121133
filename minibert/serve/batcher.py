"""Requests of many clients to passes of one model: what waits is packed by tokens into ragged batches.

Nothing is padded and a text's bits do not depend on its batch, so any texts may share a pass: of one request or of
many, of one task or of several.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

import numpy as np

from minibert.pipeline import MAX_NUMBERS, Forward
from minibert.serve.metrics import Metrics
from minibert.serve.refusals import Stopping
from minibert.text.packing import MAX_TOKENS
from minibert.tuples import NamedTuple

#: Bytes of a request that is made into tokens when it comes. Larger ones are one before each pass, while fewer than so
#: many of them are at work.
_SMALL, _LARGE = 1 << 14, 4


class Piece(NamedTuple):
    """What the model reads at once: a text, a pair, or a window of one.

    Attributes:
        ids: token ids, special tokens included.
        type_ids: one token type for each id, or None when all are 0.
        wanted: rising places of the tokens that are pooled, or whose rows are wanted; None for all.
        attended: how many of the first tokens are attended to; None for all.
    """

    ids: Sequence[int]
    type_ids: Sequence[int] | None = None
    wanted: Sequence[int] | None = None
    attended: int | None = None


class Work(NamedTuple):
    """What a request comes to, once its texts are tokens.

    Attributes:
        pieces: what is read.
        find: from the number of a piece and its rows, what there is to keep of them; the rows are gone afterwards.
        answer: from what was found in all pieces, what the request is answered with.
    """

    pieces: list[Piece]
    find: Callable[[int, np.ndarray], Any]
    answer: Callable[[list[Any]], Any]


class Job:
    """A request on its way.

    Args:
        prepare: makes the work of it; runs on the model's thread, and may refuse.
        loop: where the answer is awaited.
        size: bytes of the request.
    """

    def __init__(self, prepare: Callable[[], Work], loop: asyncio.AbstractEventLoop, size: int = 0) -> None:
        self.prepare = prepare
        self.loop = loop
        self.size = size
        self.future: asyncio.Future[Callable[[], Any]] = loop.create_future()
        self.cancelled = False
        self.work: Work = Work([], lambda _, rows: rows, lambda found: found)
        self.next = 0
        self.found: list[Any] = []
        self.tokens = 0

    @property
    def pooled_by_places(self) -> bool:
        """Whether places are given at the first piece, and so at all."""
        return self.work.pieces[0].wanted is not None


class Engine(Forward, Protocol):
    """What a batcher needs of an engine."""

    pooled: bool


class Batcher:
    """The thread of one model, and what waits for it.

    Requests take turns: none has more than a quarter of a pass while others wait, so that a long one delays a short
    one by a pass or two, whatever its length. Nor do many long ones: few of them are tokens at once, which take much
    more memory than their bytes.

    Args:
        engine: what runs token ids.
        metrics: counts passes.
        name: of the model.
        packed: False gives each request passes of its own, to measure what sharing them is worth.
    """

    def __init__(self, engine: Engine, metrics: Metrics, name: str, *, packed: bool = True) -> None:
        self._engine, self._metrics, self._name, self._packed = engine, metrics, name, packed
        # Rows as wide as a vocabulary are kept short of filling the memory.
        widest = 1 if engine.pooled else engine.out_features
        self.pass_tokens: int = max(min(MAX_TOKENS, MAX_NUMBERS // widest), 1)
        self._arriving: SimpleQueue[Job | None] = SimpleQueue()
        self._large: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._ended: list[tuple[Job, Any]] = []
        self._stopped = False
        self._thread = Thread(target=self._run, name=f"minibert-serve-{name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a request into the queue; its future then has what makes its answer, or an exception."""
        if self._stopped:
            raise Stopping("the service is stopping")
        self._arriving.put(job)

    def stop(self) -> None:
        """Answer what is in the queue, then end the thread."""
        self._stopped = True
        self._arriving.put(None)
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while self._waiting or self._large or not ending:
            ending |= self._receive(wait=not self._waiting and not self._large)
            if self._waiting:
                self._pass()
            self._hand_over()

    def _receive(self, wait: bool) -> bool:
        """Prepare what has arrived and is small, and one that is large; True if there is nothing more to come."""
        ending = False
        while not ending:
            try:
                job = self._arriving.get(block=wait)
            except Empty:
                break
            wait = False
            if job is None:
                ending = True
            elif job.size > _SMALL:
                self._large.append(job)
            else:
                self._prepare(job)
        self._large = deque(job for job in self._large if not job.cancelled)
        if self._large and sum(job.size > _SMALL for job in self._waiting) < _LARGE:
            self._prepare(self._large.popleft())
        return ending

    def _prepare(self, job: Job) -> None:
        """Make a request's tokens."""
        if job.cancelled:
            return
        try:
            job.work = job.prepare()
        except Exception as error:  # also what nobody foresaw: the thread has to go on
            self._ended.append((job, error))
            return
        job.found = [None] * len(job.work.pieces)
        if job.work.pieces:
            self._waiting.append(job)
        else:
            self._ended.append((job, None))

    def _pass(self) -> None:
        """One pass through the engine, and what it was for."""
        taken = self._take()
        if not taken:
            return
        self._metrics.passed(self._name, len(taken), sum(len(job.work.pieces[place].ids) for job, place in taken))
        try:
            self._forward(taken)
        except Exception as error:
            jobs = list(dict.fromkeys(job for job, _ in taken))
            if len(jobs) == 1:
                self._fail(jobs[0], error)
                return
            for each in jobs:  # whose fault it is shows when each has a pass of its own
                try:
                    self._forward([(job, place) for job, place in taken if job is each])
                except Exception as error:
                    self._fail(each, error)

    def _take(self) -> list[tuple[Job, int]]:
        """Pieces for a pass: of jobs in turn, of each up to its share; and more where there is room left."""
        taken: list[tuple[Job, int]] = []
        left = self.pass_tokens
        jobs = [job for job in self._waiting if not job.cancelled]
        self._waiting = deque(jobs)
        if not jobs:
            return taken
        kind = jobs[0].pooled_by_places
        jobs = [job for job in jobs if job.pooled_by_places == kind or not self._engine.pooled]
        if not self._packed:
            jobs = jobs[:1]
        for share in (self.pass_tokens // 4, self.pass_tokens):
            for job in jobs:
                mine = 0
                while job.next < len(job.work.pieces):
                    size = len(job.work.pieces[job.next].ids)
                    if taken and (size > left or mine + size > share):
                        break
                    taken.append((job, job.next))
                    job.next += 1
                    left -= size
                    mine += size
        # Those that go on stand behind those that have not begun.
        done = {job for job, _ in taken if job.next == len(job.work.pieces)}
        begun = {job for job, _ in taken} - done
        rest = [job for job in self._waiting if job not in done and job not in begun]
        self._waiting = deque([*rest, *(job for job in jobs if job in begun)])
        return taken

    def _forward(self, taken: list[tuple[Job, int]]) -> None:
        pieces = [job.work.pieces[place] for job, place in taken]
        ids = [piece.ids for piece in pieces]
        types = wanted = attended = None
        if any(piece.type_ids is not None for piece in pieces):
            types = [bytes(len(each.ids)) if each.type_ids is None else each.type_ids for each in pieces]
        if any(piece.wanted is not None for piece in pieces):
            wanted = [range(len(each.ids)) if each.wanted is None else each.wanted for each in pieces]
        if any(piece.attended is not None for piece in pieces):
            attended = [len(each.ids) if each.attended is None else each.attended for each in pieces]
        rows = self._engine.forward(ids, types, wanted, attended)
        end = 0
        for number, (job, place) in enumerate(taken):
            start, end = (
                end,
                end + (1 if self._engine.pooled else len(ids[number] if wanted is None else wanted[number])),
            )
            job.found[place] = job.work.find(place, rows[start] if self._engine.pooled else rows[start:end])
            if place == len(job.work.pieces) - 1:
                self._ended.append((job, None))

    def _fail(self, job: Job, error: Exception) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        self._ended = [each for each in self._ended if each[0] is not job]
        self._ended.append((job, error))

    def _hand_over(self) -> None:
        """Wake those who wait for what has ended: once for each loop, however many there are."""
        if not self._ended:
            return
        ended, self._ended = self._ended, []
        loop = ended[0][0].loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, ended)


def _settle(ended: list[tuple[Job, Exception | None]]) -> None:
    for job, error in ended:
        if job.future.done():
            continue
        if error is None:
            work, found = job.work, job.found
            job.future.set_result(lambda work=work, found=found: work.answer(found))
        else:
            job.future.set_exception(error)
