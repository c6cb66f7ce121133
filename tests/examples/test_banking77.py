"""examples/banking77: the row's command converts the model and measures it."""

from __future__ import annotations

import pytest

from tests.examples.rows import row, run


@pytest.mark.slow
def test_the_row(tmp_path):
    pytest.importorskip("huggingface_hub")
    done = run(row("banking77"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"accuracy" in done.stdout
