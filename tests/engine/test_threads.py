"""Many Python threads on one engine, threads of the engine's own, forks and interruptions."""

from __future__ import annotations

import gc
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from minibert.engine import threads
from tests.engine.child import run_child
from tests.models import random_model
from tests.tiny import classifier_path, tiny_folder  # noqa: F401 - fixtures

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


#: The system shows a thread for a moment after it has ended and was joined.
COUNT = """
        def tasks():
            return len(os.listdir("/proc/self/task"))

        def falls_to(count):
            import time
            for _ in range(3000):
                if tasks() <= count:
                    return True
                time.sleep(0.01)
            return False
"""


def test_one_thread_starts_no_other(jit):
    run_child(f"""
        {COUNT}
        model = random_model(pooling="mean")
        engine = model.engine(threads=1)
        engine.warmup()
        before = tasks()
        for lengths in ([1], [64] * 20, [3, 4, 5]):
            engine.forward(*model.texts(lengths))
        assert tasks() == before
    """)


def test_threads_are_started_once_and_end_with_the_engine(jit):
    run_child(f"""
        {COUNT}
        model = random_model(pooling="mean")
        engine = model.engine(threads=3)
        engine.warmup()
        before = tasks()
        for _ in range(20):
            engine.forward(*model.texts([20] * 30))
            engine.forward(*model.texts([20]))
            assert tasks() == before + 2
        assert threading.active_count() == 1  # they are none of Python's
        del engine
        assert falls_to(before)
    """)


def test_threads_of_python_where_there_are_no_others(jit, monkeypatch):
    monkeypatch.setattr("minibert.engine.threads.makes_helpers", lambda: False)
    model = random_model(pooling="mean")
    engine = model.engine(threads=3)
    for lengths in ([20] * 30, [20]):
        texts = model.texts(lengths)
        assert engine.forward(*texts).tobytes() == model.reference().forward(*texts).tobytes()
    helpers = engine._executor._free[0].team._in_python
    assert len(helpers) == 2
    del engine
    gc.collect()
    assert all(helper.leaves for helper in helpers)


def test_a_helper_on_the_caller_s_own_thread_is_none(jit, monkeypatch):
    """As greenlets are, in the place of Python's threads: they would wait for each other for ever."""
    monkeypatch.setattr("minibert.engine.threads.makes_helpers", lambda: False)
    run = threads._thread.start_new_thread
    monkeypatch.setattr(threads, "_thread", SimpleNamespace(**vars(threads._thread)))
    monkeypatch.setattr(threads._thread, "get_native_id", lambda: 7)
    assert threads._thread.start_new_thread is run
    model = random_model(pooling="mean")
    engine = model.engine(threads=2)
    texts = model.texts([20] * 30)
    assert engine.forward(*texts).tobytes() == model.reference().forward(*texts).tobytes()
    assert engine._executor._free[0].team.ready(1) == 0


def test_the_caller_works_alone_where_no_thread_can_be_started(jit):
    run_child(f"""
        import resource
        {COUNT}
        model = random_model(pooling="mean")
        engine = model.engine(threads=3)
        engine.warmup()
        texts = [model.texts(lengths) for lengths in ([20] * 30, [20], [64] * 9)]
        expected = [model.reference().forward(*each).tobytes() for each in texts]
        before = tasks()
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        if os.getuid() == 0:  # who may go beyond the limit
            os.setuid(65534)
        for _ in range(3):
            assert [engine.forward(*each).tobytes() for each in texts] == expected
        assert tasks() == before
    """)


def test_answers_while_the_interpreter_ends(jit):
    """In a thread that outlives the main one, in handlers at exit, and in daemon threads that are cut off."""
    out = run_child("""
        import atexit, time
        model = random_model(pooling="mean")
        engine = model.engine(threads=3)
        texts = model.texts([20] * 30)
        expected = model.reference().forward(*texts).tobytes()

        def answer(where):
            print(where, engine.forward(*texts).tobytes() == expected, flush=True)

        def endless():
            while True:
                engine.forward(*texts)

        engine.warmup()
        atexit.register(answer, "atexit")
        for _ in range(3):
            threading.Thread(target=endless, daemon=True).start()
        threading.Thread(target=lambda: (time.sleep(0.2), answer("late"))).start()
    """)
    assert sorted(out.split()) == ["True", "True", "atexit", "late"]


def test_a_burst_of_callers_waits_and_leaves_little_behind(jit):
    run_child(f"""
        import weakref
        from concurrent.futures import ThreadPoolExecutor
        from minibert.engine import executor
        {COUNT}
        alive, counts = weakref.WeakSet(), []
        initialize = executor._Workspace.__init__

        def counted(self, *arguments):
            alive.add(self)
            counts.append(len(alive))
            initialize(self, *arguments)

        executor._Workspace.__init__ = counted
        model = random_model(pooling="mean")
        engine = model.engine(threads=2)
        engine.max_concurrency = 6
        texts = model.texts([30] * 20)
        expected = engine.forward(*texts).tobytes()
        before = tasks()
        with ThreadPoolExecutor(40) as pool:
            outcomes = [pool.submit(engine.forward, *texts) for _ in range(400)]
            assert all(outcome.result().tobytes() == expected for outcome in outcomes)
        assert 1 < max(counts) <= 6
        assert len(engine._executor._free) <= executor.KEPT_WORKSPACES
        assert not engine._executor._waiting
        assert falls_to(before + executor.KEPT_WORKSPACES)
    """)


def test_fork_while_another_thread_loads_the_kernels(jit):
    run_child("""
        import time
        from minibert.engine import library
        model = random_model(pooling="mean")
        engine = model.engine(threads=2)
        texts = model.texts([20] * 30)
        with library._lock:  # as a thread has it that loads or compiles
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                os._exit(0 if len(engine.forward(*texts)) == 30 else 1)
        assert os.waitpid(child, 0)[1] == 0
    """)


def test_a_model_is_freed_at_once(jit, classifier_path):  # noqa: F811
    """Also its threads and its mapping, without the help of the collector."""
    run_child(f"""
        import gc
        import minibert
        {COUNT}
        path = {str(classifier_path)!r}
        minibert.load(path).predict("warm")
        gc.collect()
        gc.disable()
        before = tasks()
        for _ in range(3):
            model = minibert.load(path, threads=3)
            model.predict(["a great movie", "bad"] * 40)
            model.features("good")
            assert tasks() > before
            del model
            with open("/proc/self/maps") as maps:
                assert path not in maps.read()
            assert falls_to(before)
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
