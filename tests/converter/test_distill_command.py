"""What `minibert distill` says before any training, with PyTorch or without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minibert.cli.main import main, parse
from minibert.errors import InputError
from minibert_converter.cli.training import read_examples
from minibert_converter.passes.distillation import Blocks, Distill, Loss
from minibert_converter.recipe import Recipe, read_recipe

RECIPES = Path(__file__).parents[2] / "examples/distill"
WORDS = ["distill", "--teacher", "t", "--recipe", "r.toml", "--data", "d.tsv", "-o", "out"]


def test_without_torch_it_says_what_to_install(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("minibert_converter.distill.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(WORDS) == 1
    assert "pip install 'minibert[distill]'" in capsys.readouterr().err


def test_a_recipe_survives_json():
    step = Distill(
        distill=2,
        tied_layers="2x3",
        loss=Loss(hidden=1.0),
        blocks=Blocks(0.8, score="movement"),
        bfloat16=True,
        batch_size=8,
    )
    recipe = Recipe((step,), seed=3)
    assert recipe.to_json()["pass"] == [
        {
            "distill": 2,
            "batch_size": 8,
            "tied_layers": "2x3",
            "loss": {"hidden": 1.0},
            "blocks": {"sparsity": 0.8, "score": "movement"},
            "bfloat16": True,
        }
    ]
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"distill": 0}, "distill must be a number above 0"),
        ({"distill": 1, "speed": 2}, "unknown key 'speed'; there are: .*distill.*int8_from"),
        ({"distill": 1, "loss": {"logits": 0}}, "every part of the loss weighs 0"),
        ({"distill": 1, "loss": {"hidden": -1}}, r"loss\.hidden must be a number from 0"),
        ({"distill": 1, "blocks": {}}, r"blocks\.sparsity is missing"),
        ({"distill": 1, "blocks": {"sparsity": 0.5, "start": 0.7}}, "start is 0.7, which is not before end, 0.6"),
        ({"distill": 1, "blocks": {"sparsity": 0.5, "score": "luck"}}, "one of magnitude, movement, fisher"),
        ({"distill": 1, "int8_from": 2}, "int8_from must be a number from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(table, message):
    with pytest.raises(InputError, match=message):
        Recipe.from_json({"pass": [table]})


def read(path, labels=True, **options):
    words = [*WORDS, *[word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]]
    return read_examples(parse(words), str(path), labels=labels)


def test_columns_are_found_by_name(tmp_path):
    table = tmp_path / "d.tsv"
    table.write_text("label\tid\tsentence\n1\t7\tgood\n", encoding="utf-8")
    assert read(table) == (["good"], ["1"])
    assert read(table, text="id") == (["7"], ["1"])
    table.write_text("score\tsentence1\tsentence2\n4.5\ta\tb\n", encoding="utf-8")
    assert read(table) == ([("a", "b")], ["4.5"])
    table.write_text("query\nhow\nwhy\n", encoding="utf-8")
    assert read(table, labels=False) == (["how", "why"], None)
    with pytest.raises(InputError, match=r"is called label or .*--label COL; there are: query"):
        read(table)
    table.write_text("body\nhow\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"is called text or .*--text COL; there are: body"):
        read(table)
    table.write_text("text\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no examples"):
        read(table)
    words = tmp_path / "d.conll"
    words.write_text("the\tO\nbank\tB-place\n\nno\tO\n", encoding="utf-8")
    assert read(words) == (["the bank", "no"], [("O", "B-place"), ("O",)])


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_the_examples_can_be_read(path):
    assert sum(isinstance(step, Distill) for step in read_recipe(path).passes) == 1
