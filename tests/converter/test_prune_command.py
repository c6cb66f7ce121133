"""`minibert convert --prune`: options, the table, errors."""

from __future__ import annotations

import json

import pytest

from minibert.cli.main import main
from minibert.format import read_model
from tests.checkpoints import write_checkpoint
from tests.converter.networks import TEXTS


@pytest.fixture
def convert(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / "checkpoint")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")

    def run(*options):
        command = ["convert", str(folder), "-o", str(tmp_path / "model"), "--calibrate", str(texts), *options]
        try:
            code = main(command)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_options_reach_the_file(convert, tmp_path):
    options = ("--prune", "4x4:0.6", "--prune", "ffn:0.5", "--prune-method", "magnitude", "--prune-budget", "global")
    code, out, _ = convert(*options)
    assert code == 0
    assert "density" in out.splitlines()[0]
    config = read_model(tmp_path / "model").config
    requests = ["4x4:0.6", "ffn:0.5"]
    prune = {"prune": requests, "method": "magnitude", "budget": "global"}
    assert config.recipe["pass"] == [prune, {"quantize": "int8"}]
    assert {layer.ffn_size for layer in config.architecture.layers} <= {32, 48, 64}


def test_json(convert):
    code, out, _ = convert("--prune", "heads:0.33", "--json")
    report = json.loads(out)
    assert code == 0
    assert sum(layer["num_heads"] for layer in report["passes"][0]["details"]["layers"]) == 4
    assert min(part["density"] for part in report["parts"]) < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prune", "4x4:80"), "write 0.8"),
        (("--prune", "rows:0.5"), "heads, ffn, layers"),
        (("--prune", "4x4:0.5", "--prune", "1x4:0.5"), "ask for blocks once"),
        (("--prune", "layers:7"), "one at least must stay"),
        (("--prune-method", "random"), "random"),
        (("--prune-method", "magnitude"), "--prune-method is for --prune: give both or neither"),
    ],
)
def test_errors_name_the_option_and_leave_no_file(convert, tmp_path, options, message):
    code, _, err = convert(*options)
    assert code != 0
    assert message in err
    assert not (tmp_path / "model").exists()
