"""Threads of a team may be some steps apart: nothing that one writes lies where another still reads."""

from __future__ import annotations

import random

import numpy as np
import pytest

from minibert.errors import FormatError
from minibert.format.schema import Config
from minibert.plan import Buffer, Codes, build_plan
from minibert.plan.steps import Attend, Exit, Pool, PruneTokens, SelectTokens
from tests.engine.zoo import SHAPES, zoo
from tests.format.random_models import random_config
from tests.models import random_model

#: Before and behind these all threads wait for one another; before a Pool too, but not behind it.
MEETINGS = (Attend, Exit, PruneTokens, SelectTokens)


def widths_between_meetings(config: Config, token_heads: bool = False) -> list[tuple[str, set[int]]]:
    """Buffers that have several widths while threads may be some steps apart."""
    found, widths = [], {}
    for step in build_plan(config, token_heads=token_heads).steps:
        if isinstance(step, (*MEETINGS, Pool)):
            widths = {}
        for part in () if isinstance(step, MEETINGS) else step:
            if isinstance(part, Buffer) and part.rows == "tokens":
                widths.setdefault(part.name, set()).add(part.width)
                if len(widths[part.name]) > 1:
                    found.append((part.name, widths[part.name]))
    return found


@pytest.mark.parametrize("kind", ["int8", "float32", "mixed"])
@pytest.mark.parametrize("name", SHAPES)
def test_buffers_have_one_width_while_threads_may_be_apart(name, kind):
    assert widths_between_meetings(zoo(name, kind).config) == []


def test_so_have_those_of_random_models():
    source, buffers = random.Random(5), 0
    for _ in range(400):
        try:
            config = Config.from_json(random_config(source))
        except FormatError:
            continue
        assert widths_between_meetings(config) == []
        assert widths_between_meetings(config, token_heads=True) == []
        buffers += sum(isinstance(part, Buffer | Codes) for step in build_plan(config).steps for part in step)
    assert buffers > 10_000


def test_a_head_of_many_widths_on_every_token(jit):
    """Rows of 16 columns would lie where the other thread's first rows of 208 are still read."""
    head = [(200, "tanh", False), (200, "relu", False), (3, "none", False)]
    model = random_model("float32", pooling="none", head=head, max_positions=300)
    engine, texts = model.engine(threads=2), model.texts([300])
    expected = model.engine(threads=1).forward(*texts).tobytes()
    for _ in range(150):
        for workspace in engine._executor._free if engine._executor else ():
            for room in workspace.arenas:
                room[:] = 0xFF
        assert engine.forward(*texts).tobytes() == expected
    assert np.isfinite(np.frombuffer(expected, np.float32)).all()
