"""A model before and after its conversion, and what the page and the command show of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import minibert
from minibert.cli.main import main
from minibert_converter.calibration.tokens import builtin_texts
from minibert_converter.comparison import KEPT, TEXTS, compare
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint
from tests.tiny import token_config, write

WORDS = ["a good movie", "the worst film of the year", "no card in the house", "money for old people"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A classifier in float32, and one of other weights: many of its answers differ."""
    folder = tmp_path_factory.mktemp("both")
    models = []
    for seed in (1, 2):
        convert(
            write_checkpoint(folder / f"{seed}", weights=bert_weights(CONFIG, seed=seed)),
            folder / f"{seed}.safetensors",
            quantize="none",
        )
        models.append(minibert.load(folder / f"{seed}.safetensors", backend="numpy"))
    return models


def test_answers_that_changed_are_counted(both):
    before, after = both
    found = compare(before, after, WORDS)
    labels = [[each["label"] for each in model.predict(WORDS)] for model in both]
    assert found.texts == len(WORDS)
    changed = [place for place in range(len(WORDS)) if labels[0][place] != labels[1][place]]
    assert found.changed == len(changed) > 0
    assert found.examples == tuple((WORDS[place], labels[0][place], labels[1][place]) for place in changed)
    assert found.before.seconds > 0 < found.after.texts_per_second
    many = compare(before, after)
    assert many.texts == min(TEXTS, len(builtin_texts()))
    assert len(many.examples) == min(KEPT, many.changed)
    assert compare(before, before).changed == 0


def test_without_answers_to_texts_alone_speed_is_compared(tmp_path):
    model = minibert.load(write(tmp_path / "m.safetensors", token_config("question-answering")), backend="numpy")
    in_memory = minibert.load((tmp_path / "m.safetensors").read_bytes(), backend="numpy")
    found = compare(model, in_memory, WORDS)
    assert found.texts == 0
    assert found.before.seconds > 0 < found.after.seconds


def test_vectors_are_compared_by_their_angle(tmp_path):
    home = write_checkpoint(tmp_path / "made", {**CONFIG, "architectures": ["BertModel"]}, bert_weights(CONFIG, None))
    for quantize in ("none", "int4"):
        convert(home, tmp_path / quantize, quantize=quantize)
    before, after = (minibert.load(tmp_path / quantize, backend="numpy") for quantize in ("none", "int4"))
    found = compare(before, after, WORDS)
    pairs = before.similarity_pairwise(before.encode(WORDS), after.encode(WORDS))
    assert found.alike == pytest.approx(float(pairs.mean()), abs=1e-5)
    assert [text for text, _, _ in found.examples] == [WORDS[place] for place in pairs.argsort()]
    assert found.changed == 0


def test_the_page_shows_both(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "small-bert")
    (tmp_path / "dev.tsv").write_text("text\tlabel\na good movie\tgood\nno card\tbad\n")
    words = ["convert", "small-bert", "--quantize", "int4", "--report", "page.html", "--eval", "dev.tsv"]
    assert main(words) == 0
    outcome = capsys.readouterr()
    assert re.search(
        r"^1/3 reading weights: .*^2/3 quantizing: .*^3/3 writing: ", outcome.err, re.MULTILINE | re.DOTALL
    )
    assert 'Try: minibert predict small-bert.safetensors "a text"' in outcome.err
    page = (tmp_path / "page.html").read_text()
    rows = dict(re.findall(r"<tr><td>([^<]*)<td>([^<]*)<td>", page))
    assert {"size", "one text, here", "texts a second, here", "accuracy", "macro f1"} <= rows.keys()
    assert "Of the answers to" in page
    assert main(words) == 1
    assert "small-bert.safetensors: exists; to replace it give --force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibrate", "none.txt"], "--calibrate none.txt: no such file"),
        (["--eval", "none.tsv"], "--eval none.tsv: no such file"),
        (["--vocab-from", "none.txt"], "--vocab-from none.txt: no such file"),
        (["--recipe", "none.toml"], "--recipe none.toml: no such file"),
        (["--prune", "everything"], "prune"),
        (["--exit-tolerance", "0.1"], "--exit-tolerance is for"),
        (["--text", "body"], "--text is a column of --eval"),
        (["--report", "none/page.html"], "no such folder"),
    ],
)
def test_options_are_checked_before_a_name_is_looked_up(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minibert_converter.checkpoints.checkpoint_folder", lambda *_: pytest.fail("it was looked up"))
    assert main(["convert", "org/name", *words]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_is_stopped_leaves_nothing(tmp_path, number, code):
    home = write_checkpoint(tmp_path / "made")
    (tmp_path / "dev.tsv").write_text("text\tlabel\n" + "a good movie\tgood\n" * 20000)
    (tmp_path / "tmp").mkdir()
    command = [
        sys.executable,
        "-m",
        "minibert",
        "convert",
        str(home),
        "-o",
        str(tmp_path / "x"),
        "--eval",
        str(tmp_path / "dev.tsv"),
    ]
    work = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "MINIBERT_BACKEND": "numpy"},
        text=True,
    )
    for line in work.stderr:  # the float32 file, in a folder that is removed, is there
        if line.startswith("writing"):
            break
    assert list((tmp_path / "tmp").iterdir())
    time.sleep(0.3)
    work.send_signal(number)
    assert work.wait() == code, work.stderr.read()
    work.stderr.close()
    assert not list((tmp_path / "tmp").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.tsv", "made", "tmp", "x"]
