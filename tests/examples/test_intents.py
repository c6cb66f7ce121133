"""examples/intents: utterances by the row's command, a changed file, a named pipe, commands, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tests.examples.rows import ROOT, row, run, running, until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="waits on a pipe")
ROUTE = "python examples/intents/route.py"
toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML by Python 3.11")


def intents(text: bytes | str) -> list[str | None]:
    return [json.loads(line)["intent"] for line in text.splitlines()]


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "own.tsv"
    lines = ["intent\ttext", "tea\tmake me some tea", "tea\ta cup of tea please", "door\topen the door"]
    file.write_text("\n".join([*lines, "door\tlet them in", "none\tit rained all day", "none\tuh"]) + "\n")
    return file


@toml
def test_the_row(tmp_path):
    said = "[00:00:00.000 --> 00:00:02.000]  Could you turn the lamp on?\n[BLANK_AUDIO]\n\nis it going to snow\n"
    done = run(
        row("intents"), tmp_path, said + "who won the game last night\nput some jazz on\ncould you pause the music"
    )
    assert done.returncode == 0
    assert intents(done.stdout) == ["lights_on", "weather", None, "music_play", "music_stop"]
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["text"], first["exit"]) == ("Could you turn the lamp on?", 0)
    assert done.stderr.splitlines()[-1] == b"lamp on"  # the command that the file names
    assert all(0 <= json.loads(line)["confidence"] <= 1 for line in done.stdout.splitlines())


@toml
def test_what_was_said_is_one_word_of_a_command(tmp_path):
    said = "tea; touch hacked $(touch hacked) please"
    file = tmp_path / "own.toml"
    file.write_text('[tea]\nexamples = ["tea please"]\nrun = ["printf", "<%s>", "{text}"]\n[no]\nexamples = ["bye"]\n')
    done = run(f"{ROUTE} own.toml --run --threshold 0", tmp_path, said)
    assert done.stderr.decode().endswith(f"<{said}>")
    assert not (tmp_path / "hacked").exists()
    assert "exit" not in json.loads(run(f"{ROUTE} own.toml --threshold 0", tmp_path, said).stdout)


def test_a_file_that_changes_is_read_again(tmp_path, table):
    with running(f"{ROUTE} own.tsv --fifo speech", tmp_path) as process:
        until(process.stderr, "6 examples of 3 intents")
        for said, meant in (("could i have tea", "tea"), ("open the front door", "door")):
            (tmp_path / "speech").write_text(f"{said}\n")  # each closes the pipe, and the router goes on
            assert intents(process.stdout.readline()) == [meant]
        table.write_text(table.read_text().replace("tea\t", "drink\t"))
        until(process.stderr, "6 examples of 3 intents")  # without another word
        (tmp_path / "speech").write_text("could i have tea\n")
        assert intents(process.stdout.readline()) == ["drink"]
        table.write_text("intent\ttext\nlonely\n")
        until(process.stderr, "line 2: 1 fields, the header has 2; what was read before stays")
        (tmp_path / "speech").write_text("could i have tea\n")
        assert intents(process.stdout.readline()) == ["drink"]
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", "intent\ttext\na\tb\n", "from 2 to"),
        ("a.tsv", "label\ttext\na\tb\n", "no column 'intent'"),
        ("a.toml", "[tea]\nexamples = [1]\n", "[tea] has examples = [texts] and run = [words], and nothing else"),
        ("a.toml", "threshold = 2\n", "threshold must be a number from 0 to 1"),
        ("a.toml", "[tea\n", "line 1"),
        ("b.toml", "", "No such file"),
    ],
)
def test_mistakes_are_said(tmp_path, name, text, said):
    if name.endswith("toml") and sys.version_info < (3, 11):
        pytest.skip("reads TOML by Python 3.11")
    if text:
        (tmp_path / name).write_text(text)
    done = run(f"{ROUTE} {name}", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr.decode()
    assert done.stderr.startswith(b"route.py: ")


def test_no_pipe_and_no_model(tmp_path, table):
    done = run(f"{ROUTE} own.tsv --fifo own.tsv", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, b"route.py: own.tsv: is no named pipe")
    done = run(f"{ROUTE} own.tsv --model {ROOT}/examples/banking77/small.safetensors", tmp_path)
    assert done.returncode == 1
    assert b"sentence-embedding" in done.stderr
