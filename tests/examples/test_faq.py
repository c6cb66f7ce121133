"""examples/faq: a chat by the row's command, JSON, lists in Markdown and .tsv, mistakes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.examples.rows import row, run, running

FAQ = "python examples/faq/faq.py"
SHOP = f"{FAQ} examples/faq/shop.md"


def answers(text: bytes) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_row_is_a_chat(tmp_path):
    """An answer; a question that the list has no answer to; one of those that are offered instead."""
    done = run(row("faq"), tmp_path, "Could I still cancel what I bought?\n\nDo you sell shoes?\n1\n9\n")
    assert (done.returncode, done.stderr) == (0, b"")
    known, unknown, chosen, ninth = done.stdout.decode().split("\n\n", 3)
    assert known.startswith("Open *My orders* and choose **Cancel**.")
    first, *offered = unknown.splitlines()
    assert first == "I don't know that. Did you mean one of these?"
    assert offered[0] == "  1. Do you have gift cards?"
    assert len(offered) == 3
    assert chosen.startswith("Yes, of 10, 25 and 50 euros")
    assert ninth.startswith("I don't know that.")  # a number that was not offered is a question


def test_json_and_the_threshold(tmp_path):
    said = "is my parcel late?\nwho is the president\n"
    sure, unsure = answers(run(f"{SHOP} --json", tmp_path, said).stdout)
    assert "https://parcels.example/" in sure["answer"]
    assert "# your own number goes behind this" in sure["answer"]  # a line of code, no heading
    assert sure["nearest"][0]["question"] == "When does my parcel arrive?"
    assert unsure["answer"] is None
    scores = [each["score"] for each in unsure["nearest"]]
    assert scores == sorted(scores, reverse=True)
    assert len({each["question"] for each in unsure["nearest"]}) == 3
    (all_answered,) = answers(run(f"{SHOP} --json --threshold -1 who is the president", tmp_path).stdout)
    assert all_answered["answer"]
    assert all_answered["nearest"] == unsure["nearest"]


def test_two_ways_to_ask_share_an_answer_and_sections_have_none(tmp_path):
    found = answers(
        run(f"{SHOP} --json", tmp_path, "I ordered the wrong thing\nHow do I cancel my order?\nMoney\n").stdout
    )
    assert found[0]["answer"] == found[1]["answer"]
    assert found[0]["nearest"][0] == {"question": "I ordered the wrong thing", "score": pytest.approx(1, abs=1e-3)}
    asked = {each["question"] for each in found[2]["nearest"]}
    assert not asked & {"Money", "Orders", "Questions to a shop"}


def test_a_table(tmp_path):
    (tmp_path / "own.tsv").write_text("question\tanswer\nWo ist der Schlüssel?\tUnter der Matte 🗝\n", encoding="utf-8")
    done = run(f"{FAQ} own.tsv Wo ist der Schlüssel", tmp_path)
    assert done.stdout.decode() == "Unter der Matte 🗝\n\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("own.md", b"# Title\n\nText.\n", "own.md: has no question"),
        ("own.md", b"## \xff\n", "own.md: is no UTF-8"),
        ("own.tsv", b"question\tanswr\na\tb\n", "no column 'answer'"),
        ("own.pdf", b"", "own.pdf: must be a .tsv"),
        ("none.md", None, "No such file"),
    ],
)
def test_mistakes_are_said(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = run(f"{FAQ} {name} hello", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr.decode()
    assert done.stderr.startswith(b"faq.py: ")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_is_quiet(tmp_path):
    with running(SHOP, tmp_path) as process:
        process.stdin.write("how can i pay\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("By card")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == ""
