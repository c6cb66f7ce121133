"""What shares a pass, who has a turn, and whose fault an error is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

import numpy as np
import pytest

from minibert.errors import InputError
from minibert.serve.batcher import Batcher, Job, Piece, Work
from minibert.serve.metrics import Metrics
from minibert.serve.refusals import Stopping


class Engine:
    """Answers each text with the sum of its ids; the first pass waits until it may go on."""

    def __init__(self, pooled: bool = True) -> None:
        self.pooled, self.out_features, self.threads = pooled, 1, 1
        self.passes: list[list[Any]] = []
        self.begun, self.go_on = Event(), Event()

    def forward(self, ids, token_types=None, wanted=None, attended=None):
        self.passes.append([ids, token_types, wanted, attended])
        self.begun.set()
        assert self.go_on.wait(60)
        if any(13 in each for each in ids):
            raise InputError("13")
        if self.pooled:
            return np.array([[sum(each)] for each in ids], np.float32)
        places = [range(len(each)) for each in ids] if wanted is None else wanted
        return np.array([[each[place]] for each, at in zip(ids, places, strict=True) for place in at], np.float32)


def work(texts: list[list[int]], **more: Any) -> Work:
    pieces = [Piece(each, **more) for each in texts]
    return Work(pieces, lambda _, rows: np.array(rows), lambda found: [each.ravel().tolist() for each in found])


def together(engine: Engine, *prepared: Callable[[], Work], **options: Any) -> list[Any]:
    """Answers, or exceptions, of jobs that all wait behind one that the engine is at."""
    metrics = Metrics(lambda: 0)
    batcher = Batcher(engine, metrics, "model", **options)

    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()
        first = Job(lambda: work([[1]]), loop)
        batcher.submit(first)
        await loop.run_in_executor(None, engine.begun.wait, 60)
        jobs = [Job(prepare, loop) for prepare in prepared]
        for job in jobs:
            batcher.submit(job)
        engine.go_on.set()
        done = await asyncio.gather(*(job.future for job in [first, *jobs]), return_exceptions=True)
        return [each if isinstance(each, BaseException) else each() for each in done][1:]

    try:
        return asyncio.run(run())
    finally:
        batcher.stop()


def sizes(engine: Engine) -> list[list[int]]:
    """Of each pass but the first, the lengths of its texts."""
    return [[len(each) for each in ids] for ids, *_ in engine.passes[1:]]


def test_what_waits_shares_a_pass():
    engine = Engine()
    answers = together(engine, *(lambda place=place: work([[place, 1], [place]]) for place in range(20, 60)))
    assert answers == [[[place + 1], [place]] for place in range(20, 60)]
    assert sizes(engine) == [[2, 1] * 40]


def test_unpacked_requests_have_passes_of_their_own():
    engine = Engine()
    together(engine, *(lambda: work([[2, 1], [3]]) for _ in range(5)), packed=False)
    assert sizes(engine) == [[2, 1]] * 5


def test_a_long_request_lets_short_ones_pass():
    """It has a quarter of each pass while others wait, and all of it afterwards."""
    engine = Engine()
    long = [[1] * 256 for _ in range(40)]
    answers = together(engine, lambda: work(long), lambda: work([[7] * 300] * 5), lambda: work([[5]]))
    assert answers == [[[256]] * 40, [[2100]] * 5, [[5]]]
    first = sizes(engine)[0]
    assert 1 in first
    assert first.count(256) < 8
    assert all(sum(each) <= 2048 for each in sizes(engine))
    assert sizes(engine)[-1].count(256) > 1


def test_passes_are_bounded_by_tokens_and_hold_a_longer_text_alone():
    engine = Engine()
    together(engine, lambda: work([[1] * 2000, [1] * 3000, [1] * 40]))
    assert sizes(engine) == [[2000], [3000], [40]]


def test_rows_as_wide_as_a_vocabulary_bound_a_pass():
    engine = Engine(pooled=False)
    engine.out_features = 1 << 16
    metrics = Metrics(lambda: 0)
    batcher = Batcher(engine, metrics, "model")
    batcher.stop()
    assert batcher.pass_tokens == 64


def test_an_error_hits_the_request_that_it_is_of():
    engine = Engine()

    def broken() -> Work:
        raise ValueError("no work")

    answers = together(
        engine, lambda: work([[1], [2]]), lambda: work([[4], [13], [5]]), broken, lambda: work([]), lambda: work([[3]])
    )
    assert answers[0] == [[1], [2]]
    assert isinstance(answers[1], InputError)
    assert isinstance(answers[2], ValueError)
    assert answers[3] == []
    assert answers[4] == [[3]]


def test_pieces_of_all_kinds_share_a_pass_of_tokens():
    engine = Engine(pooled=False)
    answers = together(
        engine,
        lambda: work([[1, 2, 3]]),
        lambda: work([[4, 5, 6]], wanted=[0, 2]),
        lambda: work([[7, 8]], type_ids=[0, 1], attended=1),
    )
    assert answers == [[[1, 2, 3]], [[4, 6]], [[7, 8]]]
    (_, (ids, types, wanted, attended)) = engine.passes
    assert ids == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert [list(each) for each in types] == [[0, 0, 0], [0, 0, 0], [0, 1]]
    assert [list(each) for each in wanted] == [[0, 1, 2], [0, 2], [0, 1]]
    assert attended == [3, 3, 1]


def test_pooled_texts_with_places_share_no_pass_with_those_without():
    """None and all places are two ways of pooling to the engine."""
    engine = Engine()
    together(engine, lambda: work([[1, 2]], wanted=[1]), lambda: work([[3]]), lambda: work([[4, 5]], wanted=[0]))
    assert [[ids, wanted] for ids, _, wanted, _ in engine.passes[1:]] == [
        [[[1, 2], [4, 5]], [[1], [0]]],
        [[[3]], None],
    ]


def test_what_nobody_waits_for_is_not_run():
    engine = Engine()
    batcher = Batcher(engine, Metrics(lambda: 0), "model")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        jobs = [
            Job(lambda: work([[1] * 1000] * 10), loop),
            Job(lambda: work([[2]]), loop),
            Job(lambda: work([[3]]), loop),
        ]
        batcher.submit(jobs[0])
        await loop.run_in_executor(None, engine.begun.wait, 60)
        batcher.submit(jobs[1])
        batcher.submit(jobs[2])
        jobs[0].cancelled = jobs[1].cancelled = True
        engine.go_on.set()
        assert (await jobs[2].future)() == [[3]]

    asyncio.run(run())
    batcher.stop()
    assert sizes(engine) == [[1]]


def test_stopping_answers_what_waits_and_takes_no_more():
    engine = Engine()
    batcher = Batcher(engine, Metrics(lambda: 0), "model")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        jobs = [Job(lambda: work([[1]]), loop) for _ in range(3)]
        for job in jobs:
            batcher.submit(job)
        engine.go_on.set()
        await loop.run_in_executor(None, batcher.stop)
        assert [(await job.future)() for job in jobs] == [[[1]]] * 3
        with pytest.raises(Stopping):
            batcher.submit(jobs[0])

    asyncio.run(run())


def test_many_long_requests_let_a_short_one_pass():
    """Few of them are tokens at once, and one is made so before each pass."""
    engine, made = Engine(), []

    def long(place: int) -> Work:
        made.append(len(engine.passes))
        return work([[place] * 500] * 20)

    metrics = Metrics(lambda: 0)
    batcher = Batcher(engine, metrics, "model")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        first = Job(lambda: work([[1]]), loop)
        batcher.submit(first)
        await loop.run_in_executor(None, engine.begun.wait, 60)
        jobs = [Job(lambda place=place: long(place), loop, 1 << 20) for place in range(20, 30)]
        jobs.append(Job(lambda: work([[5]]), loop, 100))
        for job in jobs:
            batcher.submit(job)
        engine.go_on.set()
        answers = await asyncio.gather(*(job.future for job in jobs))
        assert [each() for each in answers] == [[[500 * place]] * 20 for place in range(20, 30)] + [[[5]]]

    try:
        asyncio.run(run())
    finally:
        batcher.stop()
    assert [5] in [list(each) for each in engine.passes[1][0]]
    assert made[:4] == [1, 2, 3, 4]
    assert made[4] > 4


def test_long_requests_that_are_given_up_are_not_read():
    engine, made = Engine(), []
    batcher = Batcher(engine, Metrics(lambda: 0), "model")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        first = Job(lambda: work([[1]]), loop)
        batcher.submit(first)
        await loop.run_in_executor(None, engine.begun.wait, 60)
        job = Job(lambda: made.append(1) or work([[1]]), loop, 1 << 20)
        batcher.submit(job)
        job.cancelled = True
        engine.go_on.set()
        await first.future

    try:
        asyncio.run(run())
    finally:
        batcher.stop()
    assert not made
