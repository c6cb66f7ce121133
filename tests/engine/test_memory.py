"""Kernels stay inside the memory they are given, read nothing stale, and memory does not grow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from minibert.engine import executor
from minibert.errors import InputError, UnsupportedError
from tests.combinations import in_pairs
from tests.engine.child import run_child
from tests.engine.zoo import SHAPES, lengths_of, zoo

#: Bytes on each side: what is written beyond the end should end in a guard, not in a crash.
GUARD = 1 << 18


class Guarded:
    """Takes the place of the executor's allocator: memory full of one byte, between guards of another."""

    def __init__(self, fill: int) -> None:
        self.fill, self.guard = fill, fill ^ 0x5A
        self.blocks: list[tuple[np.ndarray, int, int]] = []

    def __call__(self, size: int) -> np.ndarray:
        raw = np.full(size + 2 * GUARD + 64, self.guard, np.uint8)
        start = GUARD + -(raw.ctypes.data + GUARD) % 64
        raw[start : start + size] = self.fill
        self.blocks.append((raw, start, size))
        return raw[start : start + size]

    def check(self) -> None:
        assert self.blocks
        for raw, start, size in self.blocks:
            assert (raw[:start] == self.guard).all(), "written before the start"
            assert (raw[start + size :] == self.guard).all(), "written beyond the end"


# 0xFF: float32 NaN, integers -1. 0x7F: float32 3.4e38, the largest integers.
@in_pairs(isa=(), name=SHAPES, kind=["int8", "float32", "mixed"], fill=[0xFF, 0x7F])
def test_nothing_outside_is_written_and_nothing_stale_is_read(isa, monkeypatch, name, kind, fill):
    model = zoo(name, kind)
    lengths = lengths_of(model)
    texts = model.texts(lengths)
    expected = model.engine().forward(*texts)
    ends = np.cumsum([1] * len(lengths) if model.config.architecture.pooling != "none" else lengths)
    for threads in (1, 3):
        allocator = Guarded(fill)
        monkeypatch.setattr(executor, "empty", allocator)
        engine = model.engine(threads=threads)
        assert engine.forward(*texts).tobytes() == expected.tobytes()
        for number in (2, 0, len(lengths) - 1, 2):  # after long texts short ones, and the other way round
            one = engine.forward([texts[0][number]], [texts[1][number]])
            first = 0 if number == 0 else ends[number - 1]
            assert one.tobytes() == expected[first : ends[number]].tobytes()
        allocator.check()
        monkeypatch.undo()
        monkeypatch.setenv("MINIBERT_ISA", isa)


def test_inputs_and_answers_have_room_for_what_is_read_and_written(isa, monkeypatch):
    """Token ids and the answer are not in the arena: guards around them too."""
    model = zoo("tokens", "int8")
    engine = model.engine(threads=2)
    texts = model.texts([64, 3, 200 % 64, 1])
    expected = engine.forward(*texts)
    made: list[tuple[np.ndarray, int]] = []
    empty = np.empty

    def guarded(shape, dtype=float):
        raw = np.full((shape[0] + 32, shape[1]), -7.0, dtype)
        made.append((raw, shape[0]))
        return raw[16 : 16 + shape[0]]

    monkeypatch.setattr(executor.np, "empty", guarded)
    answers = engine.forward(*texts)
    monkeypatch.setattr(executor.np, "empty", empty)
    np.testing.assert_array_equal(answers, expected)
    ((raw, rows),) = made
    assert (raw[:16] == -7).all()
    assert (raw[16 + rows :] == -7).all()


def test_memory_does_not_grow_with_calls(jit):
    run_child("""
        import gc
        from tests.engine.zoo import zoo

        def resident():
            gc.collect()
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        model = zoo("long", "int8")
        engines = [model.engine(threads=threads) for threads in (1, 2)]
        random = np.random.default_rng(0)

        def calls(count):
            for number in range(count):
                lengths = random.integers(1, 40, random.integers(1, 12)).tolist()
                if number % 50 == 0:
                    lengths.append(512)
                answers = engines[number % 2].forward(*model.texts(lengths, number))
                assert np.isfinite(answers).all()

        calls(300)
        before = resident()
        calls(2000)
        assert resident() - before < 3e6, (resident() - before) / 1e6
    """)


@pytest.mark.parametrize("name", ["long", "tokens"])
def test_memory_is_known_beforehand(name):
    """What Python and NumPy allocate from the first call on is the plan's peak, and little else."""
    model = zoo(name, "int8")
    texts = model.texts([64, 3, 17, 1] * 40)
    tokens, count = sum(map(len, texts[0])), len(texts[0])
    model.engine(threads=2).forward(*texts)  # kernels and modules are loaded
    engine = model.engine(threads=2)
    plan = engine.plan_memory(tokens, count)
    assert plan.weights == sum({id(each): each.nbytes for each in model.tensors.values()}.values())
    tracemalloc.start()
    try:
        engine.forward(*texts)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    expected = plan.peak - plan.made  # made when the engine was
    assert 0.5 * expected < peak < 1.1 * expected + 100_000
    assert engine.plan_memory(2 * tokens, count).workspace == plan.workspace


def test_what_cannot_be_planned():
    model = zoo("long", "int8")
    with pytest.raises(InputError, match="at least"):
        model.engine().plan_memory(3, 4)
    with pytest.raises(InputError, match="at least"):
        model.engine().plan_memory(0, 0)
    with pytest.raises(UnsupportedError, match="NumPy"):
        model.engine(backend="numpy").plan_memory(5)
