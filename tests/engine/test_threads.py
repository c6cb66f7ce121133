"""Many Python threads on one engine, threads of the engine's own, forks and interruptions."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.engine.child import run_child
from tests.models import random_model

#: Seconds after which a test counts as stuck; on a busy machine the slowest takes a few.
PATIENCE = 100


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_python_threads_share_an_engine(jit, threads):
    model = random_model(pooling="mean", hidden_size=100)
    engine = model.engine(threads=threads)
    batches = [model.texts(lengths, seed) for seed, lengths in enumerate([[1], [64] * 9, [3, 50], [20] * 40, [5] * 7])]
    expected = [model.engine().forward(*batch).tobytes() for batch in batches]
    start = threading.Barrier(8)

    def work(number: int) -> int:
        start.wait(PATIENCE)
        random = np.random.default_rng(number)
        wrong = 0
        for _ in range(60):
            chosen = random.integers(len(batches))
            wrong += engine.forward(*batches[chosen]).tobytes() != expected[chosen]
        return wrong

    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(work, number) for number in range(8)]
        assert [outcome.result(PATIENCE) for outcome in outcomes] == [0] * 8


def test_first_calls_at_once(jit):
    """Loading the kernels and lowering the plan happen in the first call: here in six at once."""
    model = random_model()
    engine = model.engine(threads=2)
    texts = model.texts([5, 9])
    start = threading.Barrier(6)

    def work(_number: int) -> bytes:
        start.wait(PATIENCE)
        return engine.forward(*texts).tobytes()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(work, range(6), timeout=PATIENCE)) == {model.reference().forward(*texts).tobytes()}


def test_one_thread_starts_no_other(jit):
    run_child("""
        model = random_model(pooling="mean")
        engine = model.engine(threads=1)
        before = os.listdir("/proc/self/task")
        for lengths in ([1], [64] * 20, [3, 4, 5]):
            engine.forward(*model.texts(lengths))
        assert os.listdir("/proc/self/task") == before
        assert threading.active_count() == 1
    """)


def test_threads_are_started_once_and_end_with_the_engine(jit):
    run_child("""
        import gc, time
        model = random_model(pooling="mean")
        engine = model.engine(threads=3)
        assert threading.active_count() == 1
        for _ in range(20):
            engine.forward(*model.texts([20] * 30))
            engine.forward(*model.texts([20]))
            assert threading.active_count() == 3
        assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
        del engine
        gc.collect()
        end = time.monotonic() + 20
        while threading.active_count() > 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert threading.active_count() == 1
    """)


@pytest.mark.parametrize("threads", [1, 2])
def test_fork_after_the_first_call(jit, threads):
    run_child(f"""
        model = random_model(pooling="mean")
        engine = model.engine(threads={threads})
        texts = model.texts([5] * 20 + [60] * 20)
        expected = engine.forward(*texts).tobytes()
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                right = all(engine.forward(*texts).tobytes() == expected for _ in range(5))
                right = right and engine.forward(*model.texts([7])).shape == (1, 40)
                os._exit(0 if right else 1)
            children.append(child)
        assert engine.forward(*texts).tobytes() == expected
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert engine.forward(*texts).tobytes() == expected
    """)


def test_fork_while_other_threads_predict(jit):
    run_child("""
        model = random_model(pooling="mean")
        engine = model.engine(threads=2)
        texts = model.texts([30] * 10)
        expected = engine.forward(*texts).tobytes()
        stop = threading.Event()

        def work():
            while not stop.is_set():
                assert engine.forward(*texts).tobytes() == expected

        workers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a child that is stuck dies of this
                os._exit(0 if engine.forward(*texts).tobytes() == expected else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for worker in workers:
            worker.join(20)
    """)


class _InterruptionError(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_an_interrupted_call_leaves_the_engine_whole(jit):
    """Ctrl-C while helpers are still at work: their memory must outlive them, and the next answer be right."""
    model = random_model(pooling="mean", hidden_size=200, ffn_size=400, max_positions=200)
    engine = model.engine(threads=3)
    batches = [model.texts([200]), model.texts([100] * 12)]
    expected = [engine.forward(*batch).tobytes() for batch in batches]

    def interrupt(_number, _frame):
        raise _InterruptionError

    earlier = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for attempt in range(200):
            batch = attempt % 2
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.00002 * (attempt % 50))
                answers = engine.forward(*batches[batch])
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert answers.tobytes() == expected[batch]
            except _InterruptionError:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, earlier)
    assert interrupted
    for batch, answer in zip(batches, expected, strict=True):
        assert engine.forward(*batch).tobytes() == answer
