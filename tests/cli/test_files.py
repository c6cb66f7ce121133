"""eval, inspect, bench, warmup, convert, demo."""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import minibert
from minibert import startup
from minibert.cli import console
from minibert.cli.main import COMMANDS, command, parse
from minibert.datasets import read_columns
from minibert.engine import library
from minibert.evaluate import evaluate, metrics
from minibert.format import write_model
from minibert.progress import Progress, Stages
from tests.format.models import CONFIGS, make_tensors
from tests.tiny import WORDS, classifier_config, embedding_config, write

TEXTS = [" ".join(WORDS.split()[i : i + 4]) for i in range(20)]


@pytest.fixture
def labelled(classifier):
    """Texts, the labels that the model gives them, and labels of which every third is another one."""
    answers = [each["label"] for each in classifier.predict(TEXTS)]
    others = [classifier.labels[(classifier.labels.index(each) + (i % 3 == 0)) % 3] for i, each in enumerate(answers)]
    return TEXTS, answers, others


def test_eval_of_a_classifier(run, labelled, classifier, classifier_path, tmp_path):
    texts, answers, truth = labelled
    data = tmp_path / "data.tsv"
    data.write_text(
        "id\tsentence\tlabel\n" + "".join(f"{i}\t{t}\t{y}\n" for i, (t, y) in enumerate(zip(texts, truth, strict=True)))
    )
    figures = run("eval", classifier_path, data, "--text", "sentence", "--label", "label", "--json").json
    assert figures["texts"] == 20
    assert figures["accuracy"] == pytest.approx(13 / 20)
    assert figures["macro_f1"] == pytest.approx(metrics.macro_f1(truth, answers))
    shown = run("eval", classifier_path, data, "--text", "sentence", "--label", "label").out
    assert "accuracy        65.00 %" in shown
    columns = ("--text", "sentence", "--label", "label")
    both = run("eval", classifier_path, data, *columns, "--against", classifier_path, "--json").json
    assert both["against"]["accuracy"] == both["accuracy"]
    lines = run("eval", classifier_path, data, *columns, "--against", classifier_path).out.splitlines()
    assert lines[1].split() == ["accuracy", "65.00", "%", "65.00", "%", "0.00", "%"]
    # Labels by number are the same labels.
    numbers = [str(classifier.labels.index(each)) for each in truth]
    assert evaluate(classifier, texts, numbers)["accuracy"] == pytest.approx(13 / 20)


def test_eval_of_multi_label_and_regression(tiny_folder):
    multi = minibert.load(tiny_folder / "multi.safetensors", backend="numpy")
    answers = [{x["label"] for x in each if x["score"] > 0.5} for each in multi.predict(TEXTS, top_k=None)]
    figures = evaluate(multi, TEXTS, [", ".join(sorted(each)) for each in answers])
    assert figures["exact_match"] == figures["micro_f1"] == 1
    figures = evaluate(multi, TEXTS, ["negative"] * 20)
    assert figures["micro_f1"] == pytest.approx(metrics.micro_f1([{"negative"}] * 20, answers))

    score = minibert.load(tiny_folder / "regression.safetensors", backend="numpy")
    truth = [each["score"] * 3 + 1 for each in score.predict(TEXTS)]
    figures = evaluate(score, TEXTS, [str(each) for each in truth])
    assert figures["pearson"] == pytest.approx(1)
    assert figures["spearman"] == pytest.approx(1)


def test_eval_of_sentence_pairs(run, embedder, embedder_path, tmp_path):
    pairs = list(zip(TEXTS, TEXTS[3:], strict=False))
    scores = [float(embedder.similarity(embedder.encode(a), embedder.encode(b))[0, 0]) for a, b in pairs]
    data = tmp_path / "pairs.csv"
    data.write_text("a,b,score\n" + "".join(f'"{a}","{b}",{5 * s}\n' for (a, b), s in zip(pairs, scores, strict=True)))
    figures = run("eval", embedder_path, data, "--text", "a", "--text-pair", "b", "--label", "score", "--json").json
    assert figures["pearson"] == pytest.approx(1)
    assert figures["spearman"] == pytest.approx(1)
    outcome = run("eval", embedder_path, data, "--text", "a", "--label", "score")
    assert outcome.code == 1
    assert "--text-pair" in outcome.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", "text\tlabel\ngood\n", "line 2: 1 fields, the header has 2"),
        ("x.tsv", "text\tlabel\n", "holds no examples"),
        ("x.tsv", "", "holds no examples"),
        ("x.tsv", "text\tkind\ngood\tx\n", "no column 'label'; there are: text, kind"),
        ("x.tsv", "text\tlabel\ngood\tnone\n", "'none' is no label of the model, which has 3: negative"),
        ("x.tsv", b"text\tlabel\ngood\tx\nbad\xff\tx\n", "line 3: is no UTF-8"),
        ("x.csv.gz", gzip.compress(b"text,label\ngood\xe9,x\n", mtime=0), "line 2: is no UTF-8"),
        ("x.tsv", "text\tlabel\ngood\tx\n".encode("utf-16"), "UTF-16"),
        ("x.csv", "text,label\ngood,x\n".encode("utf-16-be"), "UTF-16"),
        ("x.jsonl", '{"text": "good", "label": 1}\n'.encode("utf-32"), "UTF-16 or the like"),
        ("x.csv.gz", gzip.compress("text,label\ngood,x\n".encode("utf-16"), mtime=0), "UTF-16"),
        ("x.csv.gz", gzip.compress(b"text,label\ngood,x\n", mtime=0)[:10] + b"\xff" * 20, "cannot be read"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"text": null, "label": 1}\n', "line 2: column 'text' must be a text"),
        ("x.jsonl", '{"text": "a", "label": null}\n', "line 1: column 'label' must be a text, got null"),
        ("x.jsonl", '{"text": NaN, "label": 1}\n', "line 1: column 'text' must be a text, got NaN"),
        ("x.jsonl", '{"text": "a", "label": [null]}\n', "line 1: column 'label' must be"),
        ("x.jsonl", '{"text": {"a": 1}, "label": 1}\n', "line 1: column 'text' must be"),
        ("x.tsv.gz", "not gzip", "cannot be read"),
        ("x.csv", 'text,label\n"good,x\n', "line 1: unexpected end"),
        ("x.csv", "text,label\ngood\n", "line 2"),
        ("x.jsonl", "{\n", "line 1: not JSON"),
        ("x.jsonl", "[1]\n", "line 1: must be an object"),
        ("x.parquet", "PAR1", "must be a .tsv, .csv, .jsonl file"),
    ],
)
def test_eval_of_broken_tables(run, classifier_path, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = run("eval", classifier_path, path, "--text", "text", "--label", "label")
    assert outcome.code == 1
    assert message in outcome.err


def test_tables_of_every_kind(tmp_path):
    rows = [("naïve “text”", "1"), ("b", "x,y")]
    (tmp_path / "a.tsv").write_text("label\ttext\n1\tnaïve “text”\nx,y\tb\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text('text,label\nnaïve “text”,1\nb,"x,y"\n', encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"text": "naïve “text”", "label": 1})
        + "\n\n"
        + json.dumps({"text": "b", "label": ["x", "y"]})
        + "\n"
    )
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    for name in ("a.tsv", "a.csv", "a.jsonl", "a.tsv.gz"):
        assert read_columns(tmp_path / name, ("text", "label")) == rows


def test_inspect(run, classifier_path):
    found = run("inspect", classifier_path, "--json", "--tensors").json
    assert found["bytes"] == classifier_path.stat().st_size
    assert found["task"]["labels"] == ["negative", "neutral", "positive"]
    assert found["recipe"] == {"dtype": "int8"}
    parts = {part["name"]: part for part in found["parts"]}
    assert next(iter(parts)) == "embeddings.word"
    assert parts["layers.1.ffn"]["kind"] == "int8"
    assert parts["head"]["parameters"] == 48 * 40 + 40 + 48 * 3 + 3
    assert sum(part["bytes"] for part in found["parts"]) == sum(each["bytes"] for each in found["tensors"])
    shown = run("inspect", classifier_path, "--tensors").out
    for word in ("text-classification, single_label", "3: negative, neutral, positive", "layers.0.attention", "total"):
        assert word in shown
    assert "embeddings.norm.weight" in shown


def test_inspect_says_what_makes_tokens(run, tmp_path, classifier_path):
    assert "tokens      the tokenizers library\n" in re.sub(" +\n", "\n", run("inspect", classifier_path).out)
    path = tmp_path / "tables.safetensors"
    write_model(path, CONFIGS["tables"], make_tensors(CONFIGS["tables"]))
    assert "tokens      tables of this file" in run("inspect", path).out
    found = run("inspect", path, "--json", "--tensors").json
    assert found["tokens"] == "tables of this file"
    assert found["text"]["tables"]["model"] == "wordpiece"
    parts = {part["name"]: part for part in found["parts"]}
    stored = [each["bytes"] for each in found["tensors"] if each["name"].startswith(("text.", "tokenizer."))]
    assert parts["tokenizer"] == {"name": "tokenizer", "kind": "tables", "parameters": 0, "bytes": sum(stored)}
    config = replace(CONFIGS["int8"], provenance={"tokens": "its normalizer\x1b[2J has none"})
    write_model(path, config, make_tensors(config))
    assert "the tokenizers library (its normalizer [2J has none)" in run("inspect", path).out


@pytest.mark.parametrize("parts", [3, "x", [3], [{"name": ["x"]}], [{"name": "head", "error": "much"}], {"a": 1}])
def test_inspect_shows_a_report_that_anybody_wrote(run, tmp_path, parts):
    config = replace(
        classifier_config(), report={"parts": parts, "note": "\x1b[2Jgone", "many": dict.fromkeys("abcdefghij")}
    )
    outcome = run("inspect", write(tmp_path / "odd.safetensors", config))
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "note: [2Jgone" in outcome.out
    assert "many: 10 entries" in outcome.out


def test_bench(run, embedder_path, classifier_path):
    figures = run("bench", classifier_path, "--lengths", 4, 8, "--seconds", "0.01", "--json").json
    assert [row["length"] for row in figures["lengths"]] == [4, 8]
    assert all(row["seconds"] > 0 and row["gmacs"] > 0 for row in [*figures["lengths"], figures["ragged"]])
    assert figures["one_text"]["seconds"] > figures["one_text"]["engine"] * 0.1 > 0
    shown = run("bench", embedder_path, "--lengths", 8, "--seconds", "0.01").out
    assert "GMAC/s" in shown
    assert "text to answer" in shown
    outcome = run("bench", embedder_path, "--lengths", 64)
    assert outcome.code == 1
    assert "32 positions" in outcome.err


@pytest.mark.parametrize("kind", ["questions", "masks", "vectors", "tokens", "hidden states"])
def test_bench_of_every_task(run, tiny_folder, tmp_path, kind):
    path = tiny_folder / f"{kind}.safetensors"
    if kind == "hidden states":
        config = embedding_config()
        path = tmp_path / "m.safetensors"
        write(path, replace(config, architecture=replace(config.architecture, pooling="none")))
    found = run("bench", path, "--lengths", 8, "--seconds", "0.001", "--json")
    assert found.json["one_text"]["seconds"] > 0, found.err


def test_bench_of_a_start(run, classifier_path, tmp_path):
    outcome = run("bench", classifier_path, "--startup", "--json")
    assert outcome.code == 0
    stages = [outcome.json[name] for name in startup.STAGES]
    assert min(stages) > 0
    assert outcome.json["total"] >= max(stages)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    outcome = run("bench", broken, "--startup")
    assert outcome.code == 1
    assert "broken.safetensors" in outcome.err


def test_multiply_adds_by_hand(classifier):
    from minibert.bench import macs

    layer = 48 * 144 + 48 * 40 + 48 * 52 + 64 * 40
    head = 48 * 40 + 48 * 3
    assert macs(classifier.config, 10) == 2 * (10 * layer + 2 * 100 * 3 * 12) + head


def test_warmup_keeps_kernels_where_it_says(run, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    compiled = library.kernels(prebuilt=False).isa
    code = library.cache_path(compiled).read_bytes()[:-32]

    def compiler(command, **_options):
        Path(command[-1]).write_bytes(code)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", compiler)
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path))
    monkeypatch.setattr(library, "_loaded", {})
    found = run("warmup", "--json").json
    assert [str(path) for path in tmp_path.iterdir()] == [found["cache"]]
    assert found["seconds"] > 0


@pytest.mark.parametrize("missing", ["minibert_converter", "tomllib" if sys.version_info >= (3, 11) else "tomli"])
def test_convert_without_the_workstation_half(run, monkeypatch, tmp_path, missing):
    class Without:
        @staticmethod
        def find_spec(name, *_):
            if name == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.split(".")[0] in ("minibert_converter", missing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without, *sys.meta_path])
    outcome = run("convert", tmp_path, "-o", tmp_path / "x.safetensors")
    assert outcome.code == 1
    assert "pip install 'minibert[convert]'" in outcome.err


def test_convert_says_what_is_wrong(run, tmp_path):
    outcome = run("convert", tmp_path, "-o", tmp_path / "x.safetensors")
    assert outcome.code == 1
    assert "config.json" in outcome.err
    assert list(tmp_path.iterdir()) == []
    assert run("convert").code == 2


def test_colour_only_where_someone_looks(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert console.bold("x") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.bold("x") == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert console.bold("x") == "x"


def test_what_people_are_shown():
    assert console.one_line("a\tb\x1b[2J\n c", 20) == "a b [2J c"
    assert console.one_line("x" * 30, 10) == "xxxxxxxxx…"
    assert console.megabytes(22_700_000) == "22.70 MB"
    assert console.megabytes(950) == "0.9 kB"
    assert console.milliseconds(0.0005) == "0.50 ms"
    assert console.table([("a", "1"), ("bb", "22")], ("n", "x")).splitlines() == ["n    x", "a    1", "bb  22"]


def test_what_exists_is_asked_about(run, embedder_path, tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    words = ("encode", embedder_path, "a text", "--npy", out)
    assert run(*words).code == 0
    before = out.read_bytes()
    outcome = run("encode", embedder_path, "another", "--npy", out)
    assert outcome.code == 1
    assert f"{out}: exists; to replace it give --force" in outcome.err
    assert out.read_bytes() == before
    assert run("encode", embedder_path, "another", "--npy", out, "-f").code == 0
    assert out.read_bytes() != before

    monkeypatch.setattr("minibert.cli.options.is_terminal", lambda stream: True)
    assert run(*words, stdin="n\n").code == 1
    assert run(*words, stdin="").code == 1
    assert out.read_bytes() != before
    outcome = run(*words, stdin="y\n")
    assert "Replace it? [y/N]" in outcome.err
    assert out.read_bytes() == before


def test_every_command_has_examples_that_can_be_read():
    for name in COMMANDS:
        for example in command(name).EXAMPLES:
            words = shlex.split(re.split(r" [<>] ", example)[0])
            assert words[0] == name
            assert parse(words).run is command(name).run


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_progress_says_what_is_left(monkeypatch):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr("minibert.progress.time.monotonic", lambda: next(now))
    screen = Screen()
    with Progress("eval", 40, stream=screen) as progress:
        progress.update(10)
    assert screen.getvalue().split("\x1b[K")[1:] == ["eval: 10/40 (1/s, 0:30 left)\r", ""]

    screen = Screen()
    with Stages(stream=screen) as stages:
        stages("reading", 0, 1)
        stages.step(2, 3)
        for done in range(3):
            stages("fitting", done, 4)
        stages("fitting", 4, 4)
        stages.step(0, 0)
        stages("writing", 1, 1)
    lines = screen.getvalue().split("\r\x1b[K")[1:]
    assert lines == [
        "reading ...",
        "2/3 fitting: 0/4",
        "2/3 fitting: 1/4, 0:30 left",
        "2/3 fitting: 2/4, 0:20 left",
        "2/3 fitting: 30.0 s\n",
        "writing: 0.0 s\n",
    ]


def test_a_shell_is_told_of_all_commands(run):
    pytest.importorskip("shtab")
    for shell in ("bash", "zsh", "tcsh"):
        out = run("completion", shell).out
        assert all(name in out for name in COMMANDS)
    assert "--top-k" in run("completion", "bash").out
    assert "did you mean 'bash'?" in run("completion", "bas").err
