"""A model within programs of all kinds: pools of threads and processes, event loops, servers that fork, greenlets."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest

import minibert
from minibert.forking import Lazy
from tests.engine.child import run_child
from tests.tiny import classifier_path, tiny_folder  # noqa: F401 - fixtures

TEXTS = ["a great movie", "bad " * 20, "the plot was good"] * 5
#: Before each child's own lines: a model, and what it answers.
BEGIN = """
import faulthandler, os, signal, sys, threading
faulthandler.dump_traceback_later(170, exit=True)
{first}
import minibert
import minibert.engine.executor
minibert.engine.executor.WORTH_WAKING = 0  # a small model, and yet all threads
texts = {texts!r}
model = minibert.load({path!r}, threads=2)
{load}
def right():
    return model.predict(texts) == expected

"""
ANSWER = "expected = model.predict(texts)"


@pytest.fixture
def child(jit, classifier_path):  # noqa: F811
    def run(code: str, *, first: str = "", load: str = ANSWER) -> str:
        begin = BEGIN.format(first=first, load=load, texts=TEXTS, path=str(classifier_path))
        return run_child(code, preamble=begin)

    return run


@pytest.fixture
def model(jit, classifier_path):  # noqa: F811
    return minibert.load(classifier_path, threads=2)


def test_more_threads_than_anybody_needs(model):
    expected = model.predict(TEXTS)
    with ThreadPoolExecutor(64) as pool:
        assert all(answers == expected for answers in pool.map(model.predict, [TEXTS] * 200, timeout=100))


def test_an_event_loop(model):
    expected = model.predict(TEXTS)

    async def ask() -> list:
        return await asyncio.gather(*(asyncio.to_thread(model.predict, TEXTS) for _ in range(50)))

    assert asyncio.run(asyncio.wait_for(ask(), 100)) == [expected] * 50


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(child, how):
    """The model goes to the workers by its method's pickle, or by the fork."""
    child(f"""
        import multiprocessing
        with multiprocessing.get_context({how!r}).Pool(2) as pool:
            assert pool.map(model.predict, [texts] * 6, 1) == [expected] * 6
        assert right()
    """)


def test_a_program_that_python_is_embedded_in(child):
    """Threads that Python did not start ask, before a fork and in its children, as in uWSGI's workers."""
    child("""
        import ctypes
        c = ctypes.CDLL(None)
        outcomes = []

        @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        def work(_argument):
            outcomes.extend(right() for _ in range(5))

        def threads_of_c():
            outcomes.clear()
            threads = [ctypes.c_size_t() for _ in range(4)]
            for each in threads:
                assert c.pthread_create(ctypes.byref(each), None, work, None) == 0
            for each in threads:
                assert c.pthread_join(each, None) == 0
            return outcomes == [True] * 20

        assert threads_of_c()
        for _ in range(2):
            worker = os.fork()
            if worker == 0:
                signal.alarm(100)
                os._exit(0 if threads_of_c() else 1)
            assert os.waitpid(worker, 0)[1] == 0
        assert threads_of_c()
    """)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")
def test_an_interrupt_in_the_middle_of_many_texts(child):
    child("""
        import time
        many, begun = texts * 40, time.monotonic()
        answers = model.predict(many)
        whole, inside = time.monotonic() - begun, 0
        for turn in range(8):
            answered = False
            try:
                threading.Timer(whole * (turn + 0.5) / 10, os.kill, [os.getpid(), signal.SIGINT]).start()
                assert model.predict(many) == answers
                answered = True
                while True:  # until it comes
                    time.sleep(0.01)
            except KeyboardInterrupt:
                inside += not answered
            assert right()
        assert inside
        assert model.predict(many) == answers
    """)


def test_no_other_thread_can_be_started(child, classifier_path):  # noqa: F811
    """As in a container with a limit of processes: a model's first answer and many texts do without."""
    child(f"""
        import resource
        other, many = minibert.load({str(classifier_path)!r}, threads=2), texts * 40
        answers = model.predict(many)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        if os.getuid() == 0:  # who may go beyond the limit
            os.setuid(65534)
        try:
            threading.Thread(target=right).start()
        except RuntimeError:
            pass
        else:
            raise AssertionError("there is no limit")
        assert other.predict(many) == answers
        assert list(other.iter_predict(many)) == answers
        assert model.predict(many) == answers
    """)


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_greenlets_in_the_place_of_threads(child, kind):
    """What patches Python's threads; and after a fork, as in the workers of a server."""
    if find_spec(kind) is None:
        pytest.skip(f"needs {kind}")
    patches = {
        "gevent": "from gevent import monkey, spawn, wait; monkey.patch_all()",
        "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
    }
    ask = {
        "gevent": "all(each.get() for each in [spawn(right) for _ in range(30)])",
        "eventlet": "all(each.wait() for each in [eventlet.spawn(right) for _ in range(30)])",
    }
    child(
        f"""
        from concurrent.futures import ThreadPoolExecutor
        def ask():
            with ThreadPoolExecutor(4) as pool:
                pooled = list(pool.map(lambda _: right(), range(10)))
            return {ask[kind]} and all(pooled) and model.predict(texts * 100) == expected * 100

        assert ask()
        worker = os.fork()
        if worker == 0:
            signal.alarm(100)
            os._exit(0 if ask() else 1)
        assert os.waitpid(worker, 0)[1] == 0
        """,
        first=patches[kind],
    )


def test_a_fork_at_any_import_of_the_first_answer(child):
    """Another thread is at its first answer, as in a server that warms up while its workers are forked."""
    child(
        """
        import time

        class Slow:
            # Each module takes so long that a fork finds its import half-done, if it does not wait for it.
            def find_spec(self, name, path=None, target=None):
                begun.set()
                time.sleep(0.005)

        def first_answer():
            return minibert.load(path, threads=2).predict(texts)

        begun, seen, forks = threading.Event(), set(sys.modules), 0
        sys.meta_path.insert(0, Slow())
        first = threading.Thread(target=first_answer)
        first.start()
        while first.is_alive():
            if not begun.wait(0.01):
                continue
            begun.clear()
            worker = os.fork()
            forks += 1
            if worker == 0:
                signal.alarm(60)
                sys.meta_path.pop(0)
                first_answer()
                os._exit(0)
            assert os.waitpid(worker, 0)[1] == 0
        assert forks
        assert {"tokenizers", "zlib"} <= set(sys.modules) - seen
        """,
        load="path = os.fspath(model._path); del model",
    )


def test_a_queue_that_is_flushed_at_the_end(child):
    """In a thread that outlives the main one, and in a handler at exit: more texts than are read at once."""
    out = child("""
        import atexit, time
        many = texts * 40

        def flush(where):
            print(where, model.predict(many) == expected * 40, flush=True)

        atexit.register(flush, "atexit")
        threading.Thread(target=lambda: (time.sleep(0.1), flush("late"))).start()
    """)
    assert sorted(out.split()) == ["True", "True", "atexit", "late"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
def test_a_fork_while_an_attribute_is_made():
    begun, ended = threading.Event(), threading.Event()

    class Owner:
        @Lazy
        def value(self) -> int:
            begun.set()
            ended.wait(10)
            return 7

    owner = Owner()
    other = threading.Thread(target=lambda: owner.value)
    other.start()
    begun.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        ended.set()
        os._exit(owner.value)
    ended.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == owner.value == 7
