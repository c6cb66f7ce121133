"""Recipes: reading them, refusing what makes no sense, and that a recipe and the flags it stands for are one thing."""

from __future__ import annotations

import gzip
import json
from xml.etree import ElementTree

import pytest

from bench import common
from bench.recipe_options import distillation, passes
from minibert.cli.main import main
from minibert.errors import InputError
from minibert.format import read_model
from minibert_converter.calibration.texts import MAX_TEXTS, read_texts
from minibert_converter.convert import convert
from minibert_converter.passes.adaptive.recipe import EarlyExit
from minibert_converter.passes.options import options, rows
from minibert_converter.passes.quantize.recipe import Quantize
from minibert_converter.passes.registry import PASSES
from minibert_converter.recipe import Recipe, read_recipe
from minibert_converter.recipe.flags import FLAGS, recipe_of
from minibert_converter.report_page import write_page
from tests.checkpoints import CONFIG, write_checkpoint
from tests.converter.networks import TEXTS

RECIPE = """
calibrate = "texts.txt"
seed = 7

[[pass]]
prune = ["ffn:0.5", "4x4:0.6"]
budget = "matrix"

[[pass]]
quantize = "int8"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_and_its_flags_give_the_same_bytes(folder, tmp_path):
    write(tmp_path / "texts.txt", "\n".join(TEXTS))
    write(tmp_path / "recipe.toml", RECIPE)
    report = convert(folder, tmp_path / "one", recipe=tmp_path / "recipe.toml")
    flags = {"prune": ["ffn:0.5", "4x4:0.6"], "prune_budget": "matrix", "seed": 7}
    convert(folder, tmp_path / "two", calibrate=tmp_path / "texts.txt", **flags)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    stored = read_model(tmp_path / "one").config
    assert Recipe.from_json(json.loads(json.dumps(stored.recipe))).passes == recipe_of(**flags).passes
    pruned, quantized = stored.report["passes"]
    assert pruned["macs"] < 0.5 * (96 * 96 * 4 + 96 * 100 * 2) * 2
    assert pruned["bytes"] > 2 * quantized["bytes"]
    assert pruned["parameters"] > quantized["parameters"]  # whose blocks of zeros are no longer stored
    assert set(quantized["errors"]) >= {"layers.0.ffn.up", "embeddings.word"}
    assert [each.step for each in report.passes] == [pruned["pass"], quantized["pass"]]


def test_forms_of_embeddings_one_after_another(folder, tmp_path):
    convert(folder, tmp_path / "model", embeddings=["low-rank:32", "int4"], calibrate=TEXTS[:8])
    config = read_model(tmp_path / "model").config
    assert config.recipe["pass"] == [{"embeddings": ["low-rank:32", "int4"]}, {"quantize": "int8"}]
    assert config.architecture.word_size == 32
    assert config.tables["embeddings.word"].kind == "int4"
    errors = config.report["passes"][0]["errors"]
    assert 0 < errors["embeddings.position"] < errors["embeddings.word"] < 1


def test_words_of_a_file_are_kept(folder, tmp_path):
    write(tmp_path / "texts.txt", "a good book\n\nthe house\n")
    write(tmp_path / "recipe.toml", "[[pass]]\nvocab_from = 'texts.txt'\n\n[[pass]]\nquantize = 'int8'")
    convert(folder, tmp_path / "one", recipe=tmp_path / "recipe.toml", calibrate=TEXTS[:8])
    convert(folder, tmp_path / "two", vocab_from=tmp_path / "texts.txt", calibrate=TEXTS[:8])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    config = read_model(tmp_path / "one").config
    assert config.recipe["pass"][0] == {"vocab_from": "texts.txt"}
    kept = config.report["passes"][0]["details"]["tokens_after"]
    assert kept == config.architecture.vocab_size < CONFIG["vocab_size"]
    with pytest.raises(InputError, match=r"absent\.txt"):
        convert(folder, tmp_path / "two", vocab_from=tmp_path / "absent.txt")


def test_an_empty_recipe_changes_nothing(folder, tmp_path):
    convert(folder, tmp_path / "one", recipe=Recipe())
    convert(folder, tmp_path / "two", quantize="none")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_recipe_survives_json():
    recipe = recipe_of(prune="heads:0.33", prune_method="magnitude", seed=3, sparse_threshold=0.25)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[pass]]\nsqueeze = 1", r"pass\[0\] must have one of the keys .*prune.*quantize.*; it has none"),
        ("[[pass]]\nprune = '4x4:0.5'\nquantize = 'int8'", "it has prune and quantize"),
        ("[[pass]]\nquantize = 'int7'", r"pass\[0\]\.quantize must be one of .*int8.*, not 'int7'"),
        ("[[pass]]\nquantize = 'int8'\nspeed = 1", "unknown key 'speed'; there are: quantize"),
        ("[[pass]]\nprune = '4x4:50'", r"pass\[0\]\.prune: .*write 0.5"),
        ("[[pass]]\nprune = 0.5", "a string or an array of strings"),
        ("[[pass]]\nprune = '4x4:0.5'\nmethod = 'guess'", "method must be one of"),
        ("[[pass]]\nprune = '4x4:0.5'\nbudget = 'row'", "budget must be one of global, matrix, not 'row'"),
        ("[[pass]]\nshare = '0+1'\nlow_rank = -1", "low_rank must be a whole number from 0"),
        ("[[pass]]\nquantize = 'none'", "quantize must be one of int8, int4, codebook, not 'none'"),
        ("[[pass]]\nquantize = 'int8'\ntensors = { head = 'fp4' }", r"tensors\['head'\] must be one of .*not 'fp4'"),
        ("[[pass]]\nearly_exit = ['1']", r"early_exit\[0\] must be a whole number"),
        ("[[pass]]\nprune_tokens = []", "an array of 1 to 256 items"),
        ("[[pass]]\nembeddings = 'int5'", r"pass\[0\]\.embeddings: .*int8, int4, codebook"),
        ("pass = 3", "pass must be an array"),
        ("seed = -1", "seed must be a whole number from 0"),
        ("sparse_threshold = 2", "a number from 0 to 1"),
        ("colour = 'red'", "unknown key 'colour'; there are: pass, seed"),
        ("[[pass]\n", "cannot be read as a recipe"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(tmp_path, text, message):
    path = write(tmp_path / "recipe.toml", text)
    with pytest.raises(InputError, match=message) as raised:
        read_recipe(path)
    assert str(path) in str(raised.value)


def test_what_recipes_and_flags_cannot_be_combined(folder, tmp_path):
    with pytest.raises(InputError, match="put prune into it"):
        convert(folder, tmp_path / "model", recipe=Recipe(), prune=["4x4:0.5"])
    with pytest.raises(InputError, match="cannot be read"):
        convert(folder, tmp_path / "model", recipe=tmp_path / "absent.toml")
    with pytest.raises(InputError, match=r"quantize must be one of int8, .*, not 'int9'"):
        recipe_of(quantize="int9")
    with pytest.raises(InputError, match="--share-rank is for --share"):
        recipe_of(share_rank=8)
    with pytest.raises(InputError, match="--fast is for --quantize, which none leaves out"):
        recipe_of(quantize="none", fast=True)
    with pytest.raises(InputError, match="unknown key 'speed'"):
        recipe_of(speed=8)


def test_flags_leave_out_what_is_empty():
    assert recipe_of(prune=[], prune_method="magnitude", share="", early_exit=None, quantize="none").passes == ()
    assert recipe_of(early_exit=()).passes == (Quantize(), EarlyExit(()))
    assert recipe_of(fast=True).passes == (Quantize(fast=True),)


@pytest.mark.parametrize("kind", [*PASSES.values(), Recipe])
def test_every_option_says_what_it_does(kind):
    assert all(one.help and not one.help.endswith(".") for _, one in rows(kind))
    assert (
        kind is Recipe or not any(one.flag for one in options(kind).values()) or next(iter(options(kind).values())).flag
    )


def test_flags_are_options_of_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for one in FLAGS.values():
        assert one.flag in shown
        assert one.help in shown


@pytest.mark.parametrize(("page", "made"), [("COMPRESSION.md", passes), ("DISTILLATION.md", distillation)])
def test_the_tables_of_the_documents_are_current(page, made):
    """`python -m bench.recipe_options` makes them."""
    assert f"<!-- table: bench/recipe_options.py -->\n{made()}\n<!--" in (common.DOCS / page).read_text(
        encoding="utf-8"
    )


def test_the_page_shows_every_part_and_needs_nothing_else(folder, tmp_path):
    report = convert(folder, tmp_path / "model", prune=["4x4:0.5"], calibrate=TEXTS[:8])
    write_page(report, tmp_path / "report.html", "a <model>")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    drawing = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    bars = drawing.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 4 * len(report.parts)
    ffn = [bar for bar in bars if (bar[0].text or "").startswith("layers.0.ffn")]
    part = next(part for part in report.parts if part.name == "layers.0.ffn")
    before, after, density, error = (float(bar.get("width", "nan")) for bar in ffn)
    assert after / before == pytest.approx(part.bytes_after / part.bytes_before, rel=0.01)
    assert density == pytest.approx(220 * part.density, abs=0.1)
    assert 0 < error <= 220
    assert "a &lt;model&gt;" in text
    assert "<script" not in text
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_inspect_shows_recipe_and_passes(folder, tmp_path, capsys):
    convert(folder, tmp_path / "model", prune=["4x4:0.5"], calibrate=TEXTS[:8])
    assert main(["inspect", str(tmp_path / "model")]) == 0
    out = capsys.readouterr().out
    assert 'quantize "int8"' in out
    lines = out[out.index("\nrecipe\n") + 8 : out.index("\nreport\n")]
    path = write(tmp_path / "again.toml", "\n".join(line.strip() for line in lines.splitlines()))
    assert read_recipe(path).passes == recipe_of(prune=["4x4:0.5"]).passes


def test_no_more_than_so_many_texts_are_held(tmp_path):
    with gzip.open(tmp_path / "texts.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("sentence\n" + "".join(f"text {number}\n" for number in range(5000)))
    texts = read_texts(tmp_path / "texts.tsv.gz")
    assert len(texts) == MAX_TEXTS
    assert texts[:2] == ["text 0", "text 4"]
    assert texts[-1] == "text 4995"


def test_patterns_choose_forms_of_matrices(folder, tmp_path):
    tensors = {"layers.*": "int4", "layers.1.ffn.*": "codebook", "head.output": "none"}
    recipe = Recipe.from_json({"pass": [{"quantize": "int8", "tensors": tensors}]})
    convert(folder, tmp_path / "model", recipe=recipe, calibrate=TEXTS[:8])
    kinds = {name: linear.kind for name, linear in read_model(tmp_path / "model").config.linears.items()}
    assert {kinds[f"layers.0.{part}"] for part in ("attention.qkv", "ffn.up")} == {"int4"}
    assert (kinds["layers.1.ffn.down"], kinds["head.output"], kinds["head.dense"]) == ("codebook", "float32", "int8")
    wrong = Recipe.from_json({"pass": [{"quantize": "int8", "tensors": {"layers.9.*": "int4"}}]})
    with pytest.raises(InputError, match=r"layers\.9"):
        convert(folder, tmp_path / "model", recipe=wrong, calibrate=TEXTS[:8])
