"""Budgets: the knapsack, goals that are met, refused, taken up again; and the same seed's same bytes."""

from __future__ import annotations

import importlib
import itertools
import json

import numpy as np
import pytest

from minibert.cli.main import main
from minibert.errors import InputError
from minibert.format import read_model
from minibert_converter.budget import Goal, GoalError, parse_size, probe, search
from minibert_converter.budget.knapsack import Option, frontier
from minibert_converter.budget.space import PRUNING
from minibert_converter.budget.state import State
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint
from tests.converter.networks import OTHER_TEXTS, TEXTS

#: Wide enough that weights, not the header, are most of the file.
WIDE = {**CONFIG, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 1}
TEXTS = TEXTS[:16]
#: Of the bytes of int8: more than four bits need.
PART = 0.85


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint", WIDE, bert_weights(WIDE))


@pytest.fixture(scope="module", autouse=True)
def few_levels():
    levels = {"blocks": (("4x4:0.5",), ("4x4:0.8",)), "structures": (("ffn:0.5",), ("heads:0.33", "ffn:0.75"))}
    with pytest.MonkeyPatch.context() as patch:
        for family, each in levels.items():
            patch.setitem(PRUNING, family, each)  # type: ignore[arg-type]
        yield


MEASURED: dict[str, object] = {}


@pytest.fixture
def measured_once(monkeypatch):
    """What is measured of `folder` on TEXTS does not depend on the goal: not again for each of them."""
    get = State.get

    def get_once(self, key, measure):
        if not key.startswith(("base ", "form ", "table ")):
            return get(self, key, measure)
        if key not in MEASURED:
            MEASURED[key] = get(self, key, measure)
        return get(self, key, lambda: MEASURED[key])

    monkeypatch.setattr(State, "get", get_once)


@pytest.fixture(scope="module")
def int8_size(folder, tmp_path_factory):
    return convert(folder, tmp_path_factory.mktemp("int8") / "model", calibrate=TEXTS).file_bytes


@pytest.fixture(scope="module")
def smaller(folder, tmp_path_factory, int8_size):
    """What is found for fewer bytes than int8 needs, and the file."""
    path = tmp_path_factory.mktemp("smaller") / "model"
    return search(folder, path, Goal(max_size=int(PART * int8_size)), texts=TEXTS), path


def test_the_frontier_is_the_best_for_its_weight():
    random = np.random.default_rng(3)
    items = {
        name: [
            Option(form, int(size), float(loss))
            for form, size, loss in zip("abc", random.integers(10, 100, 3), random.random(3), strict=True)
        ]
        for name in ("one", "two", "three", "four")
    }
    choices = frontier(items)
    assert choices[0].loss == pytest.approx(sum(min(each.loss for each in options) for options in items.values()))
    assert choices[-1].weight == sum(min(each.weight for each in options) for options in items.values())
    everything = [
        (sum(each.weight for each in chosen), sum(each.loss for each in chosen))
        for chosen in itertools.product(*items.values())
    ]
    for choice in choices:
        assert choice.weight == sum(
            next(each.weight for each in items[name] if each.name == form) for name, form in choice.options.items()
        )
        assert min(loss for size, loss in everything if size <= choice.weight) == pytest.approx(choice.loss)


@pytest.mark.parametrize(
    ("text", "size"), [("8MB", 8_000_000), ("7.5 MiB", 7_864_320), ("800000", 800_000), ("12kb", 12_000)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "8 apples", "-3MB", "0"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="no size"):
        parse_size(text)


def test_a_size_without_its_unit_is_refused_at_once():
    with pytest.raises(InputError, match=r"'8' means 8 bytes.*such as 8MB"):
        parse_size("8")


def test_goals_that_make_no_sense():
    for wrong in ({}, {"min_score": 99.0}, {"max_latency_ratio": 0.0}, {"max_size": 0}, {"min_score": float("nan")}):
        with pytest.raises(InputError):
            Goal(**wrong)


def test_a_size_is_met_at_the_least_loss_and_the_same_recipe_gives_the_same_bytes(folder, tmp_path, int8_size, smaller):
    found, path = smaller
    assert found.report.file_bytes == path.stat().st_size <= PART * int8_size
    assert list(path.parent.iterdir()) == [path]
    convert(folder, tmp_path / "again", recipe=found.recipe, calibrate=TEXTS)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    config = read_model(path).config
    kinds = {linear.kind for linear in config.linears.values()}
    assert kinds & {"int4", "codebook"}
    assert "int8-4x4" not in kinds  # nothing need be pruned


def test_passes_that_are_done_in_any_case(folder, tmp_path, int8_size):
    (tmp_path / "texts.txt").write_text("a good book", encoding="utf-8")
    first = [{"vocab_from": str(tmp_path / "texts.txt")}]
    found = search(folder, tmp_path / "model", Goal(max_size=int8_size), texts=TEXTS, first=first)
    assert found.recipe.to_json()["pass"] == [{"vocab_from": "texts.txt"}, {"quantize": "int8"}]
    assert read_model(tmp_path / "model").config.architecture.vocab_size < WIDE["vocab_size"]


@pytest.mark.usefixtures("measured_once")
def test_a_size_that_int8_has_already_needs_nothing_else(folder, tmp_path, int8_size):
    found = search(folder, tmp_path / "model", Goal(max_size=2 * int8_size), texts=TEXTS)
    assert found.recipe.to_json()["pass"] == [{"quantize": "int8"}]


@pytest.mark.usefixtures("measured_once")
def test_what_cannot_be_had_is_refused_with_the_best_there_is(folder, tmp_path):
    with pytest.raises(GoalError, match=r"smallest is expected to weigh .* too much"):
        search(folder, tmp_path / "model", Goal(max_size=10_000), texts=TEXTS)
    with pytest.raises(GoalError, match=r"fastest is expected to take 0\.\d\d of the time"):
        search(folder, tmp_path / "model", Goal(max_latency_ratio=0.01), texts=TEXTS)
    with pytest.raises(InputError, match="needs examples"):
        search(folder, tmp_path / "model", Goal(min_score=0.5), texts=TEXTS)
    assert not (tmp_path / "model").exists()


@pytest.mark.usefixtures("measured_once")
def test_a_latency_ratio_is_met_by_pruning(folder, tmp_path):
    found = search(folder, tmp_path / "model", Goal(max_latency_ratio=0.75), texts=TEXTS)
    assert found.latency <= 0.75
    assert found.recipe.to_json()["pass"][0]["prune"]


def examples(tmp_path, folder):
    """A table whose labels are what the float32 model says, so that its score is 1."""
    import minibert

    convert(folder, tmp_path / "float32", quantize="none")
    model = minibert.load(tmp_path / "float32", backend="numpy")
    lines = [f"{text}\t{answer['label']}" for text, answer in zip(OTHER_TEXTS, model.predict(OTHER_TEXTS), strict=True)]
    (tmp_path / "float32").unlink()
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("text\tlabel\n" + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_layers_that_share_are_weighed_as_they_are_stored(tmp_path, monkeypatch):
    monkeypatch.setitem(PRUNING, "blocks", ())
    monkeypatch.setitem(PRUNING, "structures", ())
    two = {**WIDE, "hidden_size": 192, "num_hidden_layers": 2}
    folder = write_checkpoint(tmp_path / "checkpoint", two, bert_weights(two))
    four_bits = convert(folder, tmp_path / "model", quantize="codebook", embeddings="int4", calibrate=TEXTS)
    # Less than any form of the whole model: the two layers must share.
    found = search(folder, tmp_path / "model", Goal(max_size=int(0.95 * four_bits.file_bytes)), texts=TEXTS)
    assert found.recipe.to_json()["pass"][0] == {"share": "similar:1", "low_rank": 16}
    config = read_model(tmp_path / "model").config
    assert config.aliases["layers.1.ffn.up.codes"] == "layers.0.ffn.up.codes"


@pytest.mark.parametrize("budget", [["--max-size", "1MB"], []])
@pytest.mark.parametrize(
    ("columns", "said"),
    [([], "name one by --label COL; there are: text, kind"), (["--text", "text", "--label", "intent"], "intent")],
)
def test_examples_are_looked_at_before_the_search(folder, tmp_path, capsys, monkeypatch, budget, columns, said):
    examples(tmp_path, folder)
    (tmp_path / "dev.tsv").write_text((tmp_path / "dev.tsv").read_text().replace("label", "kind", 1))
    for work in (importlib.import_module("minibert_converter.convert"), probe):
        monkeypatch.setattr(work, "read_checkpoint", lambda *_, **__: pytest.fail("the work began"))
    command = ["convert", str(folder), "-o", str(tmp_path / "model"), "--eval", str(tmp_path / "dev.tsv")]
    assert main([*command, *budget, *columns]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("model*"))


@pytest.mark.usefixtures("measured_once")
def test_a_score_is_met_or_refused_from_the_command_line(folder, tmp_path, capsys, monkeypatch, int8_size):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    examples(tmp_path, folder)
    out = tmp_path / "model"
    common = ["convert", str(folder), "-o", str(out), "--calibrate", str(tmp_path / "texts.txt")]
    common += ["--eval", str(tmp_path / "dev.tsv"), "--text", "text", "--label", "label"]
    assert main([*common, "--min-score", "0.9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["search"]
    assert found["float_score"] == 1.0
    assert found["score"] >= 0.9
    assert out.stat().st_size <= int8_size + 1000
    out.unlink()
    smaller = str(int(0.45 * int8_size))
    assert main([*common, "--min-score", "1.0", "--max-size", smaller]) == 1
    assert "% of the float32 score at" in (complaint := capsys.readouterr().err) or "too much" in complaint
    assert not out.exists()
    assert main([*common, "--max-size", "8MB", "--prune", "4x4:0.5"]) == 1
    assert "leave out --prune" in capsys.readouterr().err
    assert main([*common[:6], "--text", "text"]) == 1
    assert "--text is a column of --eval's examples" in capsys.readouterr().err


def test_scores_before_and_after(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    examples(tmp_path, folder)
    words = ["convert", str(folder), "-o", str(tmp_path / "model"), "--quantize", "int4"]
    words += ["--calibrate", str(tmp_path / "texts.txt")]
    words += ["--eval", str(tmp_path / "dev.tsv"), "--text", "text", "--label", "label"]
    assert main(words) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("accuracy"))
    assert "100.00 %" in line
    assert main([*words, "--json", "--force"]) == 0
    figures = json.loads(capsys.readouterr().out)["eval"]
    assert figures["before"]["accuracy"] == 1.0
    assert 0 < figures["after"]["accuracy"] <= 1.0


def test_a_search_that_was_stopped_goes_on_where_it_was(folder, tmp_path, int8_size, smaller):
    """And finds what one that was not stopped does: the same seed gives the same bytes."""
    goal = Goal(max_size=int(PART * int8_size))
    whole, path = smaller
    stages: list[str] = []

    def stop(stage: str, done: int, total: int) -> None:
        stages.append(stage)
        if stage == "writing" and done == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(folder, tmp_path / "model", goal, texts=TEXTS, progress=stop)
    assert (tmp_path / "model.search/measured.json").exists()
    before, stages = len(stages), []
    again = search(folder, tmp_path / "model", goal, texts=TEXTS, progress=lambda stage, *_: stages.append(stage))
    assert len(stages) < before
    assert again.recipe == whole.recipe
    assert (tmp_path / "model").read_bytes() == path.read_bytes()
    assert not (tmp_path / "model.search").exists()
