"""--quantize auto: the fastest for a target, at a loss that is kept to or refused; and what --target has to say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from bench import common
from bench.targets import CORES, measured, modelled, table
from minibert.cli.main import main
from minibert.engine.library import chosen_isa
from minibert.errors import InputError
from minibert.format import read_model
from minibert.kernels.isa import TARGETS as ISAS
from minibert_converter.budget import TARGETS, Goal, GoalError, find_target, search
from minibert_converter.budget.choice import proposals
from minibert_converter.budget.space import Shape, forms_worth_trying, latency_ratio
from minibert_converter.budget.targets import NAMES, Target
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint
from tests.converter.networks import TEXTS

WIDE = {**CONFIG, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 1}
TEXTS = TEXTS[:16]
#: More than four bits lose in any matrix.
GENEROUS = 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint", WIDE, bert_weights(WIDE))


def fastest(folder, path, target, loss):
    chosen = TARGETS[target] if isinstance(target, str) else target
    return search(folder, path, Goal(max_loss=loss, fastest=True), texts=TEXTS, target=chosen)


@pytest.fixture(scope="module")
def four_bits(folder, tmp_path_factory):
    """What is found where int4 is faster, and the file."""
    path = tmp_path_factory.mktemp("found") / "model"
    return fastest(folder, path, "avx2", GENEROUS), path


def kinds(path) -> dict[str, str]:
    return {name: linear.kind for name, linear in read_model(path).config.linears.items()}


def test_targets_have_speeds_that_agree_with_themselves():
    for name, target in TARGETS.items():
        assert target.isa in ISAS
        assert target.speed("int8") == 1
        sparse = [target.speed("int8", density) for density in (0.6, 0.5, 0.25, 0.1, 0.01)]
        assert sparse == sorted(sparse), name
        assert sparse[-2] == sparse[-1]  # no faster than what was measured
        assert target.speed("int8", 0.61) == 1
        assert find_target(name) is target
    assert list(TARGETS) == list(NAMES)
    assert {target.isa for target in TARGETS.values()} == set(ISAS)
    # Of blocks of int8 the engine takes a dense copy where they are slower than that; of four bits it does not.
    slow = replace(TARGETS["avx2"], blocks=(0.3, 0.5, 1.5, 2.0), int4_blocks=0.8)
    assert [slow.speed(form, 0.5) for form in ("int8", "int4")] == [1, pytest.approx(0.4)]
    assert "this machine" in find_target(None).says
    for wrong, hint in (("pi", "did you mean 'pi3'. "), ("pi9", "did you mean 'pi5'. "), ("riscv", "")):
        with pytest.raises(InputError, match=f"no target '{wrong}': {hint}there are pi3, pi4, "):
            find_target(wrong)


def test_the_table_of_the_documents_is_current():
    """`python -m bench.targets` makes it."""
    page = (common.DOCS / "COMPRESSION.md").read_text(encoding="utf-8")
    assert f"<!-- table: bench/targets.py -->\n{table(TARGETS)}\n<!--" in page


@pytest.mark.slow  # it compiles kernels
def test_speeds_are_measured_with_kernels():
    isa = chosen_isa()
    found = Target(isa, "", **measured(isa, 0.0))
    assert min(found.int4, found.codebook, found.int4_blocks, *found.blocks) > 0
    assert found.speed("int8", 0.1) > found.speed("int8", 0.75)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("llvm-mca"), reason="needs llvm-mca")
@pytest.mark.parametrize("name", CORES)
def test_speeds_of_cores_are_those_of_their_models(name):
    found = modelled(CORES[name], "llvm-mca")
    assert Target(*NAMES[name], **{**found, "blocks": tuple(found["blocks"])}) == TARGETS[name]


def test_forms_are_tried_where_they_are_worth_it():
    shapes = {"a": Shape(1000, 1.0), "b": Shape(500, 1.0, uses=2)}
    fast = replace(TARGETS["pi4"], int4=1.4, codebook=0.9)
    assert forms_worth_trying(shapes, fast) == ("int8", "int4")
    assert forms_worth_trying(shapes, replace(fast, int4=1.0)) == ("int8", "int4")  # for the bytes
    assert forms_worth_trying(shapes, replace(fast, int4=0.9)) == ("int8",)
    assert forms_worth_trying(shapes, replace(fast, int4=0.9, codebook=2.0)) == ("int8", "codebook")
    ratio = latency_ratio(shapes, {"a": "int4", "b": "int8"}, 2000, fast)
    assert ratio == pytest.approx(0.22 + 0.78 * (1000 / 1.4 + 1000) / 2000)


def test_four_bits_are_taken_where_they_are_faster(folder, tmp_path, four_bits):
    found, path = four_bits
    assert {kind for name, kind in kinds(path).items() if name.startswith("layers.")} == {"int4"}
    assert found.recipe.to_json()["pass"] == [{"quantize": "int4"}]
    assert 0 < found.loss <= GENEROUS
    assert found.latency == pytest.approx(0.22 + 0.78 / TARGETS["avx2"].int4)
    assert [trial.holds for trial in found.trials] == [True]
    assert found.report.file_bytes == path.stat().st_size
    # The report says why, in the file as well; but for that the file is what its recipe makes.
    choice = read_model(path).config.report["choice"]
    assert choice == list(found.report.choice)
    assert choice[0] == "the fastest was asked for that keeps to a loss of at most 0.5"
    assert choice[1] == f"for AVX2, by speeds of {TARGETS['avx2'].measured_on}"
    assert "all in int8 would take 1.00 of the time of dense int8" in choice
    taken = f"file 1, 4 matrices in int4 would take {found.latency:.2f} of the time of dense int8"
    assert f"{taken}, its loss is {found.loss:.4f}: taken" in choice
    assert "choice: for AVX2" in found.report.table()
    assert f"loss: {found.loss:.4f}; allowed: 0.5" in found.table()
    convert(folder, tmp_path / "again", recipe=found.recipe, calibrate=TEXTS)
    again, file = read_model(tmp_path / "again"), read_model(path)
    assert {key: value for key, value in file.config.report.items() if key != "choice"} == again.config.report
    assert all(file.tensors[name].tobytes() == tensor.tobytes() for name, tensor in again.tensors.items())


def test_what_loses_too_much_stays_int8_and_what_cannot_be_had_is_refused(folder, tmp_path, four_bits):
    whole = four_bits[0].loss
    slow = replace(TARGETS["avx2"], int4=0.8, codebook=0.8)
    least = fastest(folder, tmp_path / "least", slow, GENEROUS)
    assert set(kinds(tmp_path / "least").values()) == {"int8"}
    assert any("all in int4 would take" in line and "not worth" in line for line in least.report.choice)
    assert 0 < least.loss < whole
    between = fastest(folder, tmp_path / "mixed", "avx2", (whole + least.loss) / 2)
    assert between.loss <= (whole + least.loss) / 2
    assert {"int8", "int4"} == {kind for name, kind in kinds(tmp_path / "mixed").items() if name.startswith("layers.")}
    assert four_bits[0].latency < between.latency < 1
    assert any("stays int8: as int4 it would lose" in line for line in between.report.choice)
    assert sum(line.endswith(": taken") for line in between.report.choice) == 1
    assert sum(line.startswith("file ") for line in between.report.choice) == len(between.trials)
    with pytest.raises(GoalError, match=r"a loss of at most 1e-06\): the nearest loses 0\.\d+, 0\.\d+ too much"):
        fastest(folder, tmp_path / "none", "avx2", 1e-6)
    assert not (tmp_path / "none").exists()


def test_equally_fast_forms_are_chosen_by_their_bytes(folder, tmp_path):
    found = fastest(folder, tmp_path / "model", replace(TARGETS["pi5"], int4=1.0), GENEROUS)
    assert found.latency == pytest.approx(1)
    assert {kind for name, kind in kinds(tmp_path / "model").items() if name.startswith("layers.")} == {"int4"}


def test_what_is_asked_for_beside_it_is_done_first(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    out = tmp_path / "model"
    command = [
        "convert",
        str(folder),
        "-o",
        str(out),
        "--calibrate",
        str(tmp_path / "texts.txt"),
        "--max-loss",
        "0.6",
        "-f",
    ]
    pruned = ["--prune", "4x4:0.5", "--prune-budget", "matrix", "--embeddings", "int4"]
    assert main([*command, "--quantize", "auto", "--target", "pi4", *pruned, "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    config = read_model(out).config
    steps = [{"prune": ["4x4:0.5"], "budget": "matrix"}, {"embeddings": ["int4"]}, {"quantize": "int8"}]
    assert found["search"]["recipe"]["pass"] == config.recipe["pass"] == steps
    assert {kind for name, kind in kinds(out).items() if name.startswith("layers.")} == {"int8-4x4"}
    assert found["search"]["loss"] <= 0.6
    assert 0.5 < found["search"]["latency_ratio"] < 0.7
    assert found["choice"] == config.report["choice"]
    assert found["choice"][1].startswith("for Raspberry Pi 4 (Cortex-A72)")
    assert not any("--prune" in line for line in found["choice"])
    assert found["search"]["goal"]["max_loss"] == 0.6
    assert any(each["forms"] == {"int8": 4} and each["holds"] for each in found["search"]["trials"])
    for more, said in (
        (["--quantize", "auto", "--early-exit"], "leave out --early-exit"),
        (["--quantize", "auto", "--recipe", "recipe.toml"], "leave out --recipe"),
        (["--quantize", "int4"], "--max-loss is for --quantize auto"),
        (["--quantize", "auto", "--max-latency-ratio", "0.1"], "the fastest is expected to take"),
        (["--quantize", "auto", "--target", "pi9"], "there is no target 'pi9': did you mean 'pi5'"),
    ):
        assert main([*command, *more]) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(InputError, match="quantize must be one of int8, int4, codebook, not 'auto'"):
        convert(folder, out, quantize="auto")


def test_goals_of_the_fastest_file():
    for wrong in (
        {"fastest": True},
        {"max_loss": 0.1},
        {"max_size": 10_000, "max_loss": 0.1},
        {"fastest": True, "max_loss": 0.0},
        {"fastest": True, "max_loss": 1.0},
        {"fastest": True, "max_loss": float("nan")},
    ):
        with pytest.raises(InputError):
            Goal(**wrong)
    assert str(Goal(max_loss=0.02, min_score=0.99, fastest=True)).endswith(
        "of the float32 score, a loss of at most 0.02"
    )


def test_a_score_is_kept_to_as_a_loss_is(folder, tmp_path, four_bits):
    """By half of the matrices, the file has the score, and no more of them may have four bits."""

    def score(path) -> float:
        return 1.0 - 0.1 * sum(kind == "int4" for kind in kinds(path).values())

    goal = Goal(min_score=0.75, fastest=True)
    found = search(folder, tmp_path / "model", goal, texts=TEXTS, score=score, target=TARGETS["avx2"])
    assert sum(kind == "int4" for kind in kinds(tmp_path / "model").values()) == 2
    assert found.score == pytest.approx(0.8)
    assert found.loss is None
    goal = Goal(min_score=0.9, fastest=True)
    with pytest.raises(GoalError, match=r"the best has 50.00% of the float32 score at .*, 40.00% too little"):
        search(folder, tmp_path / "none", goal, texts=TEXTS, score=lambda path: 0.5 + ("float32" in path.name) / 2)


def test_a_target_is_told_what_would_be_faster(folder, tmp_path, capsys):
    path = tmp_path / "model"
    assert main(["convert", str(folder), "-o", str(path), "--target", "pi4"]) == 0
    said = capsys.readouterr().out
    assert "target: for Raspberry Pi 4 (Cortex-A72) this file would take 1.00 of the time of dense int8" in said
    assert "target: --prune 4x4:0.5 would take 0.61 of the time of dense int8" in said
    assert set(kinds(path).values()) == {"int8"}  # told, not done
    config = read_model(path).config
    assert main(["convert", str(folder), "-o", str(path), "--target", "pi4", "--json", "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == proposals(config, TARGETS["pi4"])
    assert len(proposals(config, replace(TARGETS["amx"], int4=0.9, blocks=(0.5, 0.8, 1.4, 2.4)))) == 1
    said = "\n".join(proposals(config, TARGETS["pi3"]))
    assert (
        f"--quantize int4 would take {0.22 + 0.78 / TARGETS['pi3'].int4:.2f} of the time of dense int8, at half" in said
    )
    assert "--prune 4x4:0.5" in said
    convert(folder, path, quantize="none")
    assert proposals(read_model(path).config, TARGETS["pi4"]) == []
