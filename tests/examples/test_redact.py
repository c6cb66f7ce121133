"""examples/redact: what is found, what stays, the way back, and that nothing leaks where something fails."""

from __future__ import annotations

import json
import os
import stat

import pytest

from tests.examples.rows import row, run

REDACT = "python examples/redact/redact.py"
PATTERNS = "redact.py: no --model: patterns alone, no names of persons, places, organisations\n"


def redact(text: str, folder, options: str = "") -> str:
    done = run(f"{REDACT} {options}", folder, text)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_the_row(tmp_path):
    """The row's command says that it finds no names, and gives what `--restore` makes the text again of."""
    text = "🙂 Äda <ada@example.org>, +49 (0)30 1234567\r\n👩‍👧: DE89 3704 0044 0532 0130 00 und 4111-1111-1111-1111.\n"
    done = run(row("redact"), tmp_path, text)
    assert (done.returncode, done.stderr.decode()) == (0, PATTERNS)
    shown = done.stdout.decode()
    assert shown == "🙂 Äda <[EMAIL_1]>, [PHONE_2]\r\n👩‍👧: [IBAN_3] und [CARD_4].\n"
    (file,) = tmp_path.glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name == "nt"
    assert json.loads(file.read_text())["[IBAN_3]"] == "DE89 3704 0044 0532 0130 00"
    assert redact(f"Answer: {shown}", tmp_path, f"--restore {file.name}") == f"Answer: {text}"
    # The map is read again: the same has the same tag, and what is new another.
    assert redact("b@example.org, ada@example.org", tmp_path, f"--map {file.name}") == "[EMAIL_5], [EMAIL_1]"


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        *(("EMAIL", each) for each in ("a@b.de", "first.last+tag@sub.domain.example", "jürgen@müller.de")),
        *(
            ("PHONE", each)
            for each in ("+49 30 1234567", "(030) 1234567", "555-123-4567", "(555) 123-4567", "0301234567")
        ),
        *(
            ("IBAN", each)
            for each in ("DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "gb82west12345698765432")
        ),
        *(
            ("CARD", each)
            for each in ("4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "4111111111111111")
        ),
        *(("IP", each) for each in ("127.0.0.1", "255.255.255.255", "2001:db8::8a2e:370:7334", "::1", "fe80::")),
    ],
)
def test_patterns(tmp_path, kind, found):
    """Whatever stands beside it: words, digits of something else, punctuation, letters of another script."""
    around = ("{}", "x {} und dann", "({})", "é{}." if kind == "EMAIL" else "é {}.", "漢 {}, 12 mal", "No 7: {} 12")
    shown = redact("\n".join(text.format(found) for text in around), tmp_path).splitlines()
    assert len(shown) == len(around)
    for line in shown:
        assert found not in line
        assert f"[{kind}_" in line


@pytest.mark.parametrize(
    "text",
    [
        "DE88370400440532013000",  # check digits are wrong
        "4111111111111112",
        "256.1.1.1 and 12:30:45 and std::cout",
        "on 2026-11-21, or 01.02.2026 at 12:30",
        "a@b and me@",
        "room 123, 45 people, page 1234567",
    ],
)
def test_what_stays(tmp_path, text):
    assert redact(text, tmp_path) == text


def test_tags_that_the_text_has_itself(tmp_path):
    """They are passed over; where a map has them, nothing could tell them apart, and nothing is written."""
    text = "[EMAIL_1] is a@b.de and [EMAIL_3] is c@d.de"
    shown = redact(text, tmp_path, "--map own.json")
    assert shown == "[EMAIL_1] is [EMAIL_2] and [EMAIL_3] is [EMAIL_4]"
    assert redact(shown, tmp_path, "--restore own.json") == text
    done = run(f"{REDACT} --map own.json", tmp_path, "[EMAIL_2]")
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    "options",
    ["--map none/own.json", "--model none.safetensors", "--map broken.json", "none.txt", "--model {classifier}"],
)
def test_nothing_leaks_where_something_fails(tmp_path, options):
    (tmp_path / "broken.json").write_text('["secret"]')
    options = options.format(classifier="examples/banking77/small.safetensors")
    done = run(f"{REDACT} {options}", tmp_path, "secret@example.org")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"secret" not in done.stderr
    assert done.stderr.endswith(b"; nothing was written\n")
    assert not list(tmp_path.glob("own*"))


def test_no_utf_8(tmp_path):
    done = run(REDACT, tmp_path, b"secret@example.org \xff")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"secret" not in done.stderr


@pytest.fixture(scope="module")
def entities(shared, tmp_path_factory):
    """A model of entities of the data WNUT17 (CC BY 4.0)."""
    file = tmp_path_factory.mktemp("model") / "entities.safetensors"
    pytest.importorskip("huggingface_hub")
    checkpoint = shared / "models/wnut17-minilm"
    done = run(f"python -m minibert convert {checkpoint} -o {file} --quantize none", file.parent)
    assert done.returncode == 0, done.stderr
    return file


def test_names(tmp_path, entities):
    text = (
        "🙂 Yesterday Barack Obama flew\u2028from London to Paris.\r\n\r\nNaïve 👩‍👧 Justin Bieber, ada@example.org.\n"
    )
    options = f"--model {entities} --map own.json"
    shown = redact(text, tmp_path, options)
    for name in ("Barack", "Obama", "London", "Paris", "Justin", "Bieber", "ada"):
        assert name not in shown
    assert shown.startswith(
        "🙂 Yesterday [PERSON_1] flew\u2028from [PLACE_2] to [PLACE_3].\r\n\r\nNaïve 👩‍👧 [PERSON_4], ["
    )
    assert redact(shown, tmp_path, "--restore own.json") == text


def test_a_name_is_found_wherever_it_stands(tmp_path, entities):
    """Also in a line in which the model by itself sees none."""
    alone, options = "qqq London qqq Londoner\n", f"--model {entities}"
    assert redact(alone, tmp_path, options) == alone
    shown = redact(f"Yesterday Barack Obama flew from London to Paris.\n{alone}", tmp_path, options)
    assert shown.endswith("from [PLACE_2] to [PLACE_3].\nqqq [PLACE_2] qqq Londoner\n")
