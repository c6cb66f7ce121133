"""examples/raspberry_pi/watch.py: a stream of lines by the row's command, filters, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.examples.rows import row, run, running, until

LINES = "where is my new card?\n\n  my pin is blocked \n\xff\n"


def test_the_row(tmp_path):
    done = run(row("raspberry_pi"), tmp_path, LINES.encode("latin-1"))  # the last line is no UTF-8
    assert done.returncode == 0
    card, pin, damaged = map(json.loads, done.stdout.splitlines())
    assert (card["text"], card["label"]) == ("where is my new card?", "card_arrival")
    assert (pin["text"], pin["label"]) == ("my pin is blocked", "pin_blocked")
    assert damaged["text"] == "\ufffd"
    assert all(0 <= each["score"] <= 1 and each["ms"] >= 0 for each in (card, pin, damaged))


def test_only_what_was_asked_for(tmp_path):
    done = run(f"{row('raspberry_pi')} --label pin_blocked --label top_up_failed --threads 1", tmp_path, LINES[:-2])
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["pin_blocked"]
    assert run(f"{row('raspberry_pi')} --above 1.1", tmp_path, LINES[:-2]).stdout == b""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_answers_at_once_and_ends_quietly(tmp_path, stop, code):
    with running(row("raspberry_pi"), tmp_path) as process:
        until(process.stderr, "ready: ")
        process.stdin.write("where is my new card?\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"] == "card_arrival"
        process.send_signal(stop)
        assert process.wait() == code
        assert process.stderr.read() == ""


def test_no_model(tmp_path):
    done = run("python examples/raspberry_pi/watch.py none.safetensors", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"watch.py: ")
