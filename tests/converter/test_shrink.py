"""Shrinking: students of the repository's own model, chosen within a budget and a time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import minibert  # noqa: E402
from minibert.cli.main import main  # noqa: E402
from minibert.datasets import read_columns  # noqa: E402
from minibert.errors import InputError, MinibertError  # noqa: E402
from minibert.format import read_model, write_model  # noqa: E402
from minibert_converter.budget.targets import find_target  # noqa: E402
from minibert_converter.checkpoints import read_checkpoint  # noqa: E402
from minibert_converter.distill.dataset import Examples  # noqa: E402
from minibert_converter.distill.sharing import share_layers  # noqa: E402
from minibert_converter.export import export  # noqa: E402
from minibert_converter.passes.embeddings.vocabulary import used_tokens  # noqa: E402
from minibert_converter.recipe import Context, Recipe, read_recipe, run  # noqa: E402
from minibert_converter.recipe.toml import recipe_toml  # noqa: E402
from minibert_converter.shrink import shrink as shrinking  # noqa: E402
from minibert_converter.shrink.goal import Goal  # noqa: E402
from minibert_converter.shrink.judge import Judge  # noqa: E402
from minibert_converter.shrink.page import page  # noqa: E402
from minibert_converter.shrink.shrink import Settings, ShrinkError, shrink  # noqa: E402
from minibert_converter.shrink.sifting import Watcher  # noqa: E402
from minibert_converter.shrink.space import ladder, promise, proposals  # noqa: E402
from minibert_converter.shrink.student import Cutter, Student  # noqa: E402
from minibert_converter.shrink.trainings import Job, Workshop  # noqa: E402
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples/banking77"
ROWS = read_columns(EXAMPLE / "data/train.tsv.gz", ("text", "label"))[::40]
TEST = read_columns(EXAMPLE / "data/test.tsv.gz", ("text", "label"))[::40]
TEXTS = Examples([text for text, _ in ROWS])
JUDGED = Examples([text for text, _ in TEST], [label for _, label in TEST])
#: One rung, whose students train for a second.
SHORT = Settings(minutes=0.1, workers=2, copies=0)


@pytest.fixture(scope="module")
def network():
    return read_checkpoint(EXAMPLE / "model")


@pytest.fixture(scope="module")
def cutter(network):
    used = used_tokens(network, list(TEXTS.texts))
    return Cutter(network, used, used_tokens(network, list(JUDGED.texts)), find_target("avx512"))


@pytest.fixture(scope="module")
def teacher(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "float32.safetensors"
    write_model(path, *export(network.copy()))
    return minibert.load(path, backend="numpy")


# Judging.


def test_a_teacher_is_like_itself(teacher):
    judge = Judge(teacher, JUDGED)
    answers = judge.answers(teacher)
    assert judge.likeness(answers) == pytest.approx(1)
    for stated in (False, True):
        kept = judge.kept(answers, stated=stated)
        assert (kept.part, kept.low, kept.high) == (1, 1, 1)
        assert kept.score == kept.teacher > 0.8
    assert judge.measure == "accuracy"


def test_what_is_stated_is_measured_on_other_texts_than_what_is_chosen_by(teacher):
    judge = Judge(teacher, JUDGED)
    answers = judge.answers(teacher)
    wrong = list(answers.said)
    for row in judge._choosing:
        wrong[row] = ("no label",)
    spoiled = replace(answers, said=wrong)
    assert judge.kept(spoiled).score == 0
    assert judge.kept(spoiled, stated=True).part == 1
    both = judge.kept(answers).texts + judge.kept(answers, stated=True).texts
    assert both == len(TEST) == judge.texts


def test_an_interval_holds_the_part_and_is_wider_for_fewer_texts(teacher):
    judge = Judge(teacher, JUDGED)
    answers = judge.answers(teacher)
    said = [("no label",) if row % 5 == 0 else each for row, each in enumerate(answers.said)]
    kept = judge.kept(replace(answers, said=said))
    assert kept.low < kept.part < kept.high
    few = Judge(teacher, Examples(JUDGED.texts[:24], JUDGED.labels[:24]))
    fewer = few.kept(replace(answers, said=said[:24], rows=answers.rows[:24]))
    assert fewer.high - fewer.low > kept.high - kept.low


def test_without_labels_the_teachers_answers_are_right(teacher):
    judge = Judge(teacher, Examples(JUDGED.texts))
    assert judge.kept(judge.answers(teacher)).teacher == 1


def test_too_few_texts_and_unknown_labels_are_refused(teacher):
    with pytest.raises(InputError, match="20 texts at least, and there are 3"):
        Judge(teacher, Examples(JUDGED.texts[:3]))
    with pytest.raises(InputError, match="'nonsense' is no label of the teacher, which has 77"):
        Judge(teacher, Examples(JUDGED.texts, ["nonsense"] * len(TEST)))


def test_judging_tags_and_vectors(tmp_path):
    config = {**CONFIG, "architectures": ["BertForTokenClassification"]}
    config["id2label"] = {"0": "O", "1": "B-x", "2": "I-x"}
    tagger = write_checkpoint(tmp_path / "tagger", config, bert_weights(config, 3))
    bare = {**CONFIG, "architectures": ["BertModel"]}
    embedder = write_checkpoint(tmp_path / "embedder", bare, bert_weights(bare, None))
    texts = [f"the good movie {'bank ' * (n % 5)}no" for n in range(30)]
    for folder, measure in ((tagger, "entity_f1"), (embedder, "spearman")):
        write_model(path := tmp_path / f"{measure}.safetensors", *export(read_checkpoint(folder)))
        model = minibert.load(path, backend="numpy")
        judge = Judge(model, Examples(texts))
        answers = judge.answers(model)
        assert judge.measure == measure
        assert judge.kept(answers, stated=True).part == pytest.approx(1)
        assert judge.likeness(answers) == pytest.approx(1)


# Shapes.


def test_a_students_bytes_are_foretold(cutter, network, tmp_path):
    words = len(cutter.used)
    for student in (
        Student(3, 192, words, 0, "int8", 1.0, "int8"),
        Student(2, 128, words // 2, 64, "int4", 1.0, "int4"),
        Student(3, 192, words, 96, "int4", 0.3, "int4"),
        Student(2, 192, words, 0, "int4", 1.0, "int4", turns=2),
        Student(3, 192, words, 0, "int8", 1.0, "int8", turns=3),
    ):
        before, after, passes = [], [], []
        for each in cutter.recipe(student)["pass"]:
            if "distill" not in each:
                passes.append(each)
                continue
            before, passes = passes, after
            if student.density < 1:
                passes.append({"prune": f"4x4:{each['blocks']['sparsity']}", "method": "magnitude", "texts": 32})
        if student.bits == "int8":
            passes.append({"quantize": "int8"})
        made, context = network.copy(), Context(list(TEXTS.texts))
        if before:
            run(Recipe.from_json({"pass": before}), made, context)
        if student.turns > 1:
            share_layers(made, f"{student.layers // student.turns}x{student.turns}")
        run(Recipe.from_json({"pass": passes}), made, context)
        size = write_model(tmp_path / "made.safetensors", *export(made))
        assert cutter.bytes(student) == pytest.approx(size, rel=0.06)


def test_proposals_fill_the_budget(cutter):
    most = 600_000
    found = proposals(cutter, lambda size, time: size <= most, 8)
    assert len(found) == len(set(found)) == 8
    assert all(cutter.bytes(student) <= most for student in found)
    assert len({(student.layers, student.hidden) for student in found}) > 2
    assert len({student.turns for student in found}) > 1
    for student in found:  # more blocks than these do not fit, unless it has them all
        assert student.density in (1, 0.6) or cutter.bytes(replace(student, density=student.density + 0.01)) > most
    ahead = found[: len({(student.layers, student.hidden, student.turns) for student in found})]
    assert [promise(cutter, one) for one in ahead] == sorted((promise(cutter, one) for one in ahead), reverse=True)
    assert proposals(cutter, lambda size, time: size <= 10_000, 8) == []


def test_words_that_texts_to_come_need_are_worth_their_bytes(cutter, network):
    """Where the texts to learn from lack many of them, students keep more than those texts use."""
    assert cutter.spelled(network.architecture.vocab_size) == 0
    assert cutter.spelled(len(cutter.used) // 2) > cutter.spelled(len(cutter.used)) > 0
    strange = Cutter(network, cutter.used, dict.fromkeys(range(3000), 1), cutter.target)
    fits = lambda size, time: size <= 900_000  # noqa: E731
    assert proposals(strange, fits, 1)[0].vocab > len(cutter.used)
    same = Cutter(network, cutter.used, cutter.used, cutter.target)
    assert proposals(same, fits, 1)[0].vocab == len(cutter.used)


def test_faster_students_are_proposed_for_a_time(cutter):
    found = proposals(cutter, lambda size, time: time <= 0.3, 6)
    assert found
    assert all(cutter.latency(student) <= 0.3 for student in found)


def test_a_ladder_of_sizes(cutter):
    sizes = ladder(cutter, lambda size, time: True, 6)
    assert sizes == sorted(sizes)
    assert len(sizes) == 6
    ratios = [high / low for low, high in pairwise(sizes)]
    assert max(ratios) / min(ratios) < 1.01
    assert all(proposals(cutter, lambda size, time, most=most: size <= most, 1) for most in sizes)
    assert max(cutter.bytes(one) for one in proposals(cutter, lambda size, time: True, 1000)) == sizes[-1]
    assert ladder(cutter, lambda size, time: size <= 10_000, 6) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "--max-size, --max-latency-ratio or --keep"),
        ({"keep": 1.2}, "keep is 1.2"),
        ({"max_latency_ratio": 0.0}, "max_latency_ratio is 0.0"),
        ({"max_size": 0}, "max_size is 0"),
    ],
)
def test_goals_that_make_no_sense(keys, message):
    with pytest.raises(InputError, match=message):
        Goal(**keys)


def test_of_more_texts_than_can_be_kept_some_are_taken(network, monkeypatch):
    said = []
    tell = lambda stage, done, total: said.append(stage)  # noqa: E731
    tokens = 20 * len(TEXTS.texts)
    assert shrinking._affordable(TEXTS, 2, tokens, network, 0, tell) == (TEXTS, 2)
    each = 2 * 192 * 4 * tokens
    monkeypatch.setattr(shrinking, "_MOST_KEPT", 2.5 * each)
    assert shrinking._affordable(TEXTS, 2, tokens, network, 0, tell) == (TEXTS, 1)
    monkeypatch.setattr(shrinking, "_MOST_KEPT", 0.5 * each)
    some, copies = shrinking._affordable(TEXTS, 2, tokens, network, 0, tell)
    assert copies == 0
    assert len(some.texts) == len(TEXTS.texts) // 2
    assert set(some.texts) <= set(TEXTS.texts)
    assert said == [f"taking {len(some.texts):,} of {len(TEXTS.texts):,} texts"]


# From end to end.


def test_a_student_within_a_size(tmp_path):
    out, trials = tmp_path / "small.safetensors", []
    goal = Goal(max_size=700_000)
    found = shrink(
        EXAMPLE / "model", TEXTS, out, goal, judged_on=JUDGED, settings=SHORT, watcher=Watcher(trial=trials.append)
    )
    assert out.stat().st_size == found.file_bytes <= 700_000
    assert len(trials) == found.trials == 2
    assert 0 < found.kept.part < 1.2
    assert found.kept.low <= found.kept.part <= found.kept.high
    assert found.sentence in read_model(out).config.report["choice"]
    assert not (tmp_path / "small.safetensors.shrink").exists()
    assert minibert.load(out, backend="numpy").predict("where is my card?")["label"] in JUDGED.labels
    # Its recipe is one that minibert distill takes, with the passes over the texts that the time allowed.
    recipe = read_recipe(tmp_path / "small.toml")
    assert recipe.to_json() == dict(read_model(out).config.recipe)
    assert json.dumps(found.to_json())
    drawn = page(found, "a & b")
    assert "a &amp; b" in drawn
    assert drawn.count("<circle") == len(found.front)


def test_what_cannot_be_met_is_refused_and_what_was_trained_is_kept(tmp_path):
    goal = Goal(max_size=400_000, keep=1.0)
    with pytest.raises(ShrinkError, match=r"at least 100.00% of its teacher's score.*the nearest.*--minutes"):
        shrink(EXAMPLE / "model", TEXTS, tmp_path / "none.safetensors", goal, judged_on=JUDGED, settings=SHORT)
    assert not (tmp_path / "none.safetensors").exists()
    assert list((tmp_path / "none.safetensors.shrink").glob("*.toml")) == []
    assert (tmp_path / "none.safetensors.shrink/measured.json").exists()
    with pytest.raises(ShrinkError, match="no student is that small or that fast"):
        shrink(EXAMPLE / "model", TEXTS, tmp_path / "tiny.safetensors", Goal(max_size=20_000), settings=SHORT)


def test_a_search_that_was_stopped_goes_on(tmp_path):
    out, goal = tmp_path / "small.safetensors", Goal(max_size=700_000)

    def stop(trial):
        raise KeyboardInterrupt

    trained = []
    one = replace(SHORT, workers=1)
    with pytest.raises(KeyboardInterrupt):
        shrink(EXAMPLE / "model", TEXTS, out, goal, judged_on=JUDGED, settings=one, watcher=Watcher(trial=stop))
    state = json.loads((tmp_path / "small.safetensors.shrink/measured.json").read_text())["measured"]
    assert sum(key.startswith("trial ") for key in state) == 1
    found = shrink(
        EXAMPLE / "model",
        TEXTS,
        out,
        goal,
        judged_on=JUDGED,
        settings=one,
        watcher=Watcher(trial=trained.append),
    )
    assert trained == []  # it was trained before
    assert asdict(found.best) == next(value for key, value in state.items() if key.startswith("trial "))


def test_the_command(tmp_path, capsys):
    data, judged = tmp_path / "texts.tsv", tmp_path / "dev.tsv"
    data.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS.texts))
    judged.write_text("label\ttext\n" + "".join(f"{label}\t{text}\n" for text, label in TEST))
    out = tmp_path / "small.safetensors"
    words = ["shrink", str(EXAMPLE / "model"), "--data", str(data), "--eval", str(judged), "--max-latency-ratio", "0.5"]
    words += ["--minutes", "0.1", "--workers", "2", "-o", str(out), "--report", str(tmp_path / "page.html")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "keeps" in said.out
    assert "1/1 training 2 students\n" in said.err
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert main([*words, "--json", "--force", "--copies", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["measure"] == "accuracy"
    with pytest.raises(SystemExit):
        main(["shrink", str(EXAMPLE / "model"), "-o", str(out)])
    assert main([*words[:4], "-o", str(tmp_path / "x.safetensors")]) == 1
    assert "--max-size" in capsys.readouterr().err


def test_a_training_that_fails_says_why(tmp_path):
    (tmp_path / "examples.json").write_text(json.dumps({"texts": ["where is it?"], "labels": None}))
    workshop = Workshop(tmp_path, EXAMPLE / "model", tmp_path / "examples.json", 1, 1)
    nothing = {"pass": [{"quantize": "int8"}]}
    with pytest.raises(MinibertError, match=r"a training failed \(key\): the recipe of a distillation has one pass"):
        workshop.train([Job("key", nothing, 1.0)], lambda job, end: None, lambda far: None)


def test_recipes_as_toml(tmp_path):
    recipe = Recipe.from_json(
        {
            "seed": 3,
            "pass": [
                {"vocab_size": 100, "characters": "seen"},
                {"prune": ["heads:0.5", "ffn:0.5"], "method": "magnitude", "texts": 64},
                {"distill": 1.5, "loss": {"hidden": 1.0}, "blocks": {"sparsity": 0.4}, "bfloat16": True},
                {"quantize": "int4", "tensors": {"layers.0.ffn.up": "int8"}},
            ],
        }
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe.to_json(), "two\nlines"))
    assert path.read_text().startswith("# two\n# lines\n")
    assert read_recipe(path).to_json() == recipe.to_json()
