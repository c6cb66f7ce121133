"""Searches of budgets: bounds by arithmetic, an end in time, what is said on the way, and scores held to intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

import minibert
from minibert.cli.main import main
from minibert.errors import InputError
from minibert.evaluate.examples import Options, evaluate_file
from minibert.evaluate.spread import GROUPS, evaluate_spread
from minibert.format import read_model
from minibert_converter.budget import Goal, GoalError, Score, clock, search
from minibert_converter.budget.bounds import after, frame_of, shapes_of, words_bytes
from minibert_converter.budget.clock import Clock, TimeUpError
from minibert_converter.budget.interval import kept
from minibert_converter.budget.probe import Probe
from minibert_converter.budget.space import PRUNING, words_pass
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from minibert_converter.export import WORDS, table_tensors
from minibert_converter.passes.prune import remove_blocks
from minibert_converter.passes.quantize.quantizer import quantize
from minibert_converter.recipe import Context, Recipe, run
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint
from tests.converter.networks import OTHER_TEXTS, TEXTS

WIDE = {**CONFIG, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2}
TEXTS = TEXTS[:16]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint", WIDE, bert_weights(WIDE))


@pytest.fixture(scope="module")
def network(folder):
    return read_checkpoint(folder)


@pytest.fixture(scope="module", autouse=True)
def few_levels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRUNING, "blocks", (("4x4:0.5",), ("4x4:0.8",)))  # type: ignore[arg-type]
        patch.setitem(PRUNING, "structures", (("ffn:0.5",),))  # type: ignore[arg-type]
        yield


@pytest.fixture(scope="module")
def int8_size(folder, tmp_path_factory):
    return convert(folder, tmp_path_factory.mktemp("int8") / "model", calibrate=TEXTS).file_bytes


def in_int8(network):
    stored = network.copy()
    quantize(stored, "int8", method="nearest")
    return stored


def done_to(network, *passes):
    made = network.copy()
    run(Recipe.from_json({"pass": list(passes)}), made, Context(TEXTS))
    return made


# Bounds.


@pytest.mark.parametrize("form", ["int8", "int4", "codebook", "codebook:8", "codebook:16", "low-rank:32+int4"])
def test_words_weigh_what_arithmetic_says(network, form):
    made = in_int8(done_to(network, words_pass(form)))
    stored = sum(tensor.nbytes for tensor in table_tensors(WORDS, made.tables[WORDS]).values())
    if projection := made.linears.get("embeddings.word_projection"):
        stored += projection.q.nbytes + 12 * len(projection.q)
        stored += 0 if projection.input_factor is None else projection.input_factor.nbytes
    expected = words_bytes(form, *network.tables[WORDS].shape)
    assert stored <= expected <= stored + 4 * 32  # a factor of each of 32 inputs, which rounding to the nearest has not


@pytest.mark.parametrize(
    "base", [{"prune": ["4x4:0.5"]}, {"prune": ["ffn:0.5"]}, {"prune": ["layers:1"]}, {"share": "similar:1"}]
)
def test_matrices_are_what_arithmetic_says(network, base):
    expected, _ = after(shapes_of(network), [base])
    found = shapes_of(done_to(network, base))
    assert len(expected) == len(found)
    for left in (expected, found):
        assert all(name.startswith("layers.") for name in left)
    kept_of = [sum(each.weights * each.density for each in left.values()) for left in (expected, found)]
    assert kept_of[0] == pytest.approx(kept_of[1], rel=0.02)


def test_a_file_weighs_what_arithmetic_says(folder, network, tmp_path):
    from minibert_converter.budget.targets import TARGETS

    frame = frame_of(network, in_int8(network), TARGETS["avx2"])
    expected = frame.least(["codebook:16"])
    report = convert(folder, tmp_path / "model", quantize="codebook", embeddings="codebook:16", calibrate=TEXTS)
    assert report.file_bytes == pytest.approx(expected, rel=0.05)
    assert frame.fastest([{"prune": ["4x4:0.8"]}]) < frame.fastest()


def test_what_cannot_be_had_is_refused_before_anything_is_measured(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Probe, "_measure_form", lambda *_: pytest.fail("something was measured"))
    monkeypatch.setattr(Probe, "_measure_table", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(GoalError, match=r"smallest is expected to weigh .* too much \(the tokenizer.*words .*layers"):
        search(folder, tmp_path / "model", Goal(max_size=5_000), texts=TEXTS)
    with pytest.raises(GoalError, match=r"make it possible: --vocab-from TEXTS.*minibert distill.*or --max-size \d"):
        search(folder, tmp_path / "model", Goal(max_size=5_000), texts=TEXTS)
    with pytest.raises(GoalError, match=r"fastest is expected to take 0\.\d\d.*minibert distill"):
        search(folder, tmp_path / "model", Goal(max_latency_ratio=0.05), texts=TEXTS)
    assert not list(tmp_path.iterdir())


def test_layers_go_where_nothing_less_is_enough_and_blocks_with_them(folder, network, tmp_path, monkeypatch):
    monkeypatch.setitem(PRUNING, "blocks", (("4x4:0.5",),))  # type: ignore[arg-type]
    monkeypatch.setitem(PRUNING, "structures", ())  # type: ignore[arg-type]
    passes = [{"prune": ["layers:1"]}, words_pass("low-rank:16+int4"), {"quantize": "codebook"}]
    one_layer = convert(folder, tmp_path / "one", recipe=Recipe.from_json({"pass": passes}), calibrate=TEXTS)
    # Half of the blocks are not enough, nor is one of two layers; together they are.
    goal = Goal(max_size=int(0.95 * one_layer.file_bytes))
    found = search(folder, tmp_path / "model", goal, texts=TEXTS)
    assert found.recipe.to_json()["pass"][0]["prune"] == ["layers:1", "4x4:0.5"]
    assert len(read_model(tmp_path / "model").config.architecture.layers) == 1
    assert "it answers little like the checkpoint" in found.table()
    convert(folder, tmp_path / "again", recipe=found.recipe, calibrate=TEXTS)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_the_vocabulary_is_cut_as_a_last_resort_and_only_with_texts(folder, tmp_path, monkeypatch):
    for family in PRUNING:
        monkeypatch.setitem(PRUNING, family, ())  # type: ignore[arg-type]
    monkeypatch.setattr("minibert_converter.budget.space._removable", lambda _: ())
    monkeypatch.setattr("minibert_converter.budget.space.most_pairs", lambda _: 0)
    (tmp_path / "texts.txt").write_text("a good book\n", encoding="utf-8")
    sizes = []
    for cut in ([], [{"vocab_from": str(tmp_path / "texts.txt")}]):
        recipe = Recipe.from_json({"pass": [*cut, words_pass("low-rank:16+int4"), {"quantize": "codebook"}]})
        sizes.append(convert(folder, tmp_path / "model", recipe=recipe).file_bytes)
    (tmp_path / "model").unlink()
    goal = Goal(max_size=sum(sizes) // 2)
    with pytest.raises(GoalError):
        search(folder, tmp_path / "model", goal, texts=TEXTS)
    said: list[str] = []
    words = tmp_path / "texts.txt"
    found = search(folder, tmp_path / "model", goal, texts=TEXTS, words_from=words, say=said.append)
    assert found.recipe.to_json()["pass"][0] == {"vocab_from": "texts.txt"}
    assert read_model(tmp_path / "model").config.architecture.vocab_size < WIDE["vocab_size"]
    assert "nothing else is small enough: the vocabulary is cut to the calibration texts" in said
    assert any("other words are spelled in pieces" in line for line in found.report.choice)


def test_blocks_are_scored_once_for_all_shares(network, monkeypatch):
    scored: list[str] = []
    whole = remove_blocks.second_order_scores
    monkeypatch.setattr(remove_blocks, "second_order_scores", lambda *given: scored.append("one") or whole(*given))
    memory: dict[str, object] = {}
    alone, kept_scores = [], []
    for share in (0.5, 0.8):
        recipe = Recipe.from_json({"pass": [{"prune": [f"4x4:{share}"]}]})
        for found, given in ((alone, None), (kept_scores, memory)):
            made = network.copy()
            run(recipe, made, Context(TEXTS, memory=given))  # type: ignore[arg-type]
            found.append({name: linear.weight.tobytes() for name, linear in made.linears.items() if "layers" in name})
    assert alone == kept_scores
    assert len(scored) == 3 * len(alone[0])


# What is said, and the end in time.


def test_a_search_says_what_it_does(folder, tmp_path, int8_size):
    said: list[str] = []
    goal = Goal(max_size=int(0.85 * int8_size))
    found = search(folder, tmp_path / "model", goal, texts=TEXTS, say=said.append, score=lambda _: 0.5)
    assert said[0].startswith("a search for a recipe: at most ")
    phases = [line for line in said if ": what" in line or ": making" in line]
    assert [line.partition(" of ")[0] for line in phases if "step 1" not in line] == ["phase 1", "phase 2", "phase 4"]
    assert any(line.startswith("phase 2 of 4, step 1 of ") for line in said)
    assert any(line.startswith("by arithmetic the smallest file would weigh ") for line in said)
    best = [line for line in said if line.startswith("best so far: ")]
    assert len(best) == 1
    for figure in ("expected loss 0.", "score 0.5000", "kept 100.00%", "of the time of dense int8"):
        assert figure in best[0]
    assert 0 < found.report.seconds == found.seconds


def test_json_stays_alone_on_stdout(folder, tmp_path, int8_size, capsys):
    words = ["convert", str(folder), "-o", str(tmp_path / "model"), "--max-size", str(2 * int8_size), "--json"]
    assert main([*words, "--minutes", "60"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["search"]["time_was_up"] is False
    assert "phase 4 of 4, step 1 of 2: a file of " in shown.err
    for wrong, complaint in (("0", "more than none"), ("nan", "more than none")):
        assert main([*words, "--force", "--minutes", wrong]) == 1
        assert complaint in capsys.readouterr().err
    assert main([*words[:4], "--minutes", "5"]) == 1
    assert "--minutes is for a budget" in capsys.readouterr().err


def test_a_search_whose_time_is_up_says_how_near_it_came_and_goes_on_later(folder, tmp_path, int8_size):
    goal = Goal(max_size=int(0.85 * int8_size))
    with pytest.raises(GoalError, match=r"the time was up before .* no file was made.*with more --minutes"):
        search(folder, tmp_path / "model", goal, texts=TEXTS, minutes=1e-9)
    assert (tmp_path / "model.search").exists() is False  # nothing was measured
    whole = search(folder, tmp_path / "whole", goal, texts=TEXTS)
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if "phase 4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(folder, tmp_path / "model", goal, texts=TEXTS, say=stop)
    until = list(said)
    # Everything has been measured, and there is time for a file.
    found = search(folder, tmp_path / "model", goal, texts=TEXTS, minutes=10, say=said.append)
    assert sum("phase 2 of 4, step" in line for line in said) == sum("phase 2 of 4, step" in line for line in until)
    assert found.recipe == whole.recipe
    assert not found.ended


def test_the_best_file_until_then_is_taken_when_the_time_is_up(folder, tmp_path, monkeypatch):
    """The first file of a halving holds; the second would come too late."""
    files: list[str] = []

    def score(path) -> float:
        files.append(path.name)
        if len(files) == 3:
            raise TimeUpError
        return 1.0

    found = search(folder, tmp_path / "model", Goal(min_score=0.9), texts=TEXTS, score=score, minutes=60)
    assert found.ended
    assert len(found.trials) == 1
    assert "when the time was up" in found.table()
    assert found.to_json()["time_was_up"] is True
    assert (tmp_path / "model").stat().st_size == found.report.file_bytes


def test_a_clock_learns_what_steps_take_and_ends_them_in_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    said: list[str] = []
    mine = Clock(said.append, lambda *_: None, minutes=2, unit=1.0)
    mine.later = 10
    mine.phase(2, [5, 5])
    assert said[-1].endswith("; 2 steps; about 0:20 min left")
    with mine.step("one", 5):
        now[0] = 15.0  # three times as long
        mine.progress("stage", 1, 2)
    with mine.step("two", 5):
        assert said[-1] == "phase 2 of 4, step 2 of 2: two; about 0:45 min left"
        now[0] = 30.0
    mine.later = 0
    mine.file = 20
    with pytest.raises(TimeUpError), mine.step("leaves no time for a file", 15):
        pytest.fail("it began")
    with mine.step("a file", 20, for_file=True):
        now[0] = 119.0
        mine.progress("stage", 0, 1)
        now[0] = 121.0
        with pytest.raises(TimeUpError):
            mine.progress("stage", 1, 1)


# Intervals.


def scores(right: np.ndarray) -> Score:
    """The accuracy of answers that are right or not, with groups left out."""
    groups = np.arange(len(right)) % GROUPS
    return Score(right.mean(), tuple(right[groups != group].mean() for group in range(GROUPS)), len(right))


def test_an_interval_covers_what_is_kept_of_all_texts():
    random = np.random.default_rng(0)
    low = covered = 0
    for _ in range(400):
        full = random.random(1000) < 0.9
        mine = full ^ (random.random(1000) < 0.03)  # three in a hundred answers differ
        found = kept(scores(mine), scores(full))
        assert found is not None
        true = (0.9 * 0.97 + 0.1 * 0.03) / 0.9
        covered += found.least <= true <= found.most
        low += found.least <= true
    assert 0.92 < covered / 400 < 0.98
    assert low / 400 > 0.95


def test_an_interval_is_that_of_the_mean_where_answers_are_independent():
    random = np.random.default_rng(1)
    full, mine = np.ones(5000), (random.random(5000) < 0.95).astype(float)
    found = kept(scores(mine), scores(full))
    assert found is not None
    error = (0.95 * 0.05 / 5000) ** 0.5
    assert found.most - found.least == pytest.approx(2 * 2.01 * error, rel=0.3)
    assert kept(Score(0.5), Score(1.0)) == (0.5, 0.5, 0.5, 0)
    assert kept(Score(0.5), Score(0.0)) is None
    assert str(kept(Score(0.5), Score(1.0))) == "50.00%"
    assert "95% interval" in str(found)
    assert "from 5,000 examples" in str(found)


def test_a_least_score_is_held_to_the_lower_end_of_its_interval(folder, tmp_path):
    """A file keeps 99.5% on few examples, which assure less."""
    full = np.ones(200)
    mine = np.ones(200)
    mine[0] = 0

    def score(path) -> Score:
        return scores(full if path.name == "float32" else mine)

    goal = Goal(min_score=0.99, max_size=10_000_000)
    with pytest.raises(GoalError, match=r"the best has 99.50% .* 200 examples assure 98\.\d\d%.*more examples would"):
        search(folder, tmp_path / "model", goal, texts=TEXTS, score=score)
    found = search(folder, tmp_path / "model", Goal(min_score=0.98, max_size=10_000_000), texts=TEXTS, score=score)
    assert found.kept is not None
    assert found.kept.least >= 0.98
    assert found.kept.part == pytest.approx(0.995)
    assert "kept of the float32 score: 99.50% (95% interval 98." in found.table()
    assert found.to_json()["kept"]["interval"] == [found.kept.least, found.kept.most]
    config = read_model(tmp_path / "model").config
    assert "98.00% of the float32 score on examples like those given" in config.report["choice"][0]
    assert list(found.report.choice) == config.report["choice"]


def test_a_figure_without_each_group_of_examples(folder, tmp_path, monkeypatch):
    convert(folder, tmp_path / "model", calibrate=TEXTS)
    model = minibert.load(tmp_path / "model", backend="numpy")
    labels = [answer["label"] for answer in model.predict(OTHER_TEXTS)]
    labels[::3] = [next(each for each in model.labels if each != label) for label in labels[::3]]
    lines = [f"{text}\t{label}" for text, label in zip(OTHER_TEXTS, labels, strict=True)]
    (tmp_path / "dev.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    asked: list[str] = []
    predict = type(model).iter_predict
    monkeypatch.setattr(
        type(model),
        "iter_predict",
        lambda self, texts, **more: predict(self, [asked.append(each) or each for each in texts], **more),
    )
    found = evaluate_spread(model, tmp_path / "dev.tsv", Options())
    assert asked == list(OTHER_TEXTS)  # each once
    assert found.name == "accuracy"
    assert found.whole == evaluate_file(model, tmp_path / "dev.tsv", Options())["accuracy"]
    wrong = len(labels[::3])
    count = len(labels)
    assert found.examples == count == len(found.without)  # fewer than GROUPS: each one alone
    expected = sorted([(count - wrong) / (count - 1)] * wrong + [(count - wrong - 1) / (count - 1)] * (count - wrong))
    assert sorted(found.without) == pytest.approx(expected)


def test_minutes_of_nothing():
    with pytest.raises(InputError, match="more than none"):
        search(".", "model", Goal(max_size=10_000), minutes=-1.0)
