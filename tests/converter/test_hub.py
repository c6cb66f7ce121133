"""Checkpoints by name: a Hub on this machine, its cache, and all that can go wrong with both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minibert.errors import CheckpointError, InputError
from minibert.format import read_model
from minibert_converter.checkpoints.hub import checkpoint_folder, name_of, needed
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint, write_json
from tests.converter.test_adapters import lora, write_adapter
from tests.converter.test_sentence_transformers import module, pooling_flags
from tests.hubs import COMMIT, Hub, serving

pytest.importorskip("huggingface_hub")
NAME = "org/small-en-v1.5"
READ = {
    "config.json",
    "model.safetensors",
    "modules.json",
    "vocab.txt",
    "tokenizer_config.json",
    "1_Pooling/config.json",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A sentence-transformers model with all that lies beside one on the Hub."""
    home = write_checkpoint(tmp_path / "made", {**CONFIG, "architectures": ["BertModel"]}, bert_weights(CONFIG, None))
    write_json(
        home / "modules.json", [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Normalize", "2_N")]
    )
    (home / "1_Pooling").mkdir()
    write_json(home / "1_Pooling/config.json", pooling_flags("cls_token"))
    for name in (
        "onnx/model.onnx",
        "openvino/openvino_model.bin",
        "pytorch_model.bin",
        "tf_model.h5",
        "README.md",
        "x.png",
    ):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_bytes(b"of no use")
    return home


@pytest.fixture
def hub(folder):
    refused = {
        "org/gated": (403, "GatedRepo"),
        "org/no": (401, "RepoNotFound"),
        "org/token": (401, ""),
        "org/ill": (500, ""),
    }
    with serving(
        Hub({NAME: folder, "org/empty": folder / "onnx", "org/half-gated": folder}, refused, {"org/half-gated"})
    ) as hub:
        yield hub


@pytest.fixture
def minibert(hub, tmp_path):
    """Runs a command in a process of its own, which the Hub's library reads its settings in."""
    work = tmp_path / "work"
    work.mkdir()

    def call(*words, code=0, **settings):
        paths = [str(Path(__file__).parents[2] / each) for each in (".", "converter")]
        own = {"PYTHONPATH": os.pathsep.join(paths), "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint}
        settings = {**os.environ, "HF_HUB_OFFLINE": "0", "NO_PROXY": "*", **own, **settings}
        command = [sys.executable, "-m", "minibert", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd=work, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    call.work, call.cache = work, tmp_path / "home/hub"
    return call


def test_a_name_is_fetched_once(minibert, hub, folder):
    done = minibert("convert", NAME, "--quantize", "none", "--json")
    assert "fetching org/small-en-v1.5" in done.stderr
    assert hub.fetched() == READ
    file = read_model(minibert.work / "small-en-v1.5.safetensors")
    assert file.config.provenance["checkpoint"] == NAME
    assert file.config.provenance["revision"] == COMMIT
    assert file.config.architecture.pooling == "cls"
    convert(folder, minibert.work / "folder.safetensors", quantize="none")
    other = read_model(minibert.work / "folder.safetensors")
    assert all((file.tensors[name] == tensor).all() for name, tensor in other.tensors.items())
    assert json.loads(done.stdout)["parts"] == [dict(part) for part in other.config.report["parts"]]

    # What is in the cache does again: the Hub is asked what there is, or nobody is.
    offline, unreachable = {"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for revision, settings in (("main", {}), ("main", offline), (COMMIT, offline), ("main", unreachable)):
        hub.asked.clear()
        words = ("--quantize", "none", "--revision", revision)
        done = minibert("convert", NAME, "-o", f"{revision}{len(list(minibert.work.iterdir()))}", *words, **settings)
        assert not hub.fetched()
        assert bool(hub.asked) == (not settings)
        assert ("gives no answer" in done.stderr) == ("HF_ENDPOINT" in settings)


def test_a_folder_of_that_name_wins(minibert, hub, folder):
    (minibert.work / "org").mkdir()
    shutil.copytree(folder, minibert.work / NAME)
    minibert("convert", NAME, "--quantize", "none")
    assert not hub.asked
    assert (minibert.work / "small-en-v1.5.safetensors").is_file()
    assert "has no revision 'v1'" in minibert("convert", NAME, "--revision", "v1", "-o", "x", code=1).stderr


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["org/none"], {}, "no such folder, and no such model at http://127.0.0.1"),
        (["org/no"], {}, "a private one needs `hf auth login`"),
        (["org/gated"], {}, "accepted its conditions (gated): do so at http"),
        (["org/token"], {}, "refuses it (401): `hf auth login`"),
        (["org/ill"], {}, "answers 500: run the same command again"),
        (["org/half-gated"], {}, "fetching stopped in 1_Pooling/config.json (what came is kept), as http"),
        (["org/half-gated"], {}, "or set HF_TOKEN"),
        (["org/em--pty"], {}, "no name of a model: that is ORG/NAME"),
        (["org/empty"], {}, "has no weights that can be read"),
        (["./org/none"], {}, "org/none: no such folder\n"),
        ([NAME, "--revision", "v9"], {}, "has no revision 'v9'"),
        ([NAME, "--revision", ".."], {}, "'..' is no name of a revision"),
        ([NAME, "--revision", "."], {}, "'.' is no name of a revision"),
        ([NAME, "--revision", ""], {}, "'' is no name of a revision"),
        ([NAME], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, and it is not in the Hub's cache"),
        ([NAME], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "gives no answer"),
        ([NAME], {"HF_HUB_CACHE": "/dev/null/cache"}, "HF_HUB_CACHE"),
    ],
)
def test_what_is_wrong_is_said(minibert, words, settings, message):
    done = minibert("convert", *words, "-o", "x.safetensors", code=1, **settings)
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("minibert: error: ")
    assert not list(minibert.work.iterdir())


def test_nothing_is_fetched_for_an_output_that_cannot_be(minibert, hub):
    assert "no such folder" in minibert("convert", NAME, "-o", "none/x.safetensors", code=1).stderr
    assert not hub.asked


def test_half_a_download_goes_on(minibert, hub):
    hub.cut["model.safetensors"] = 1000
    done = minibert("convert", NAME, "--quantize", "none", code=1)
    assert "fetching stopped in model.safetensors" in done.stderr
    assert (
        "only a part of org/small-en-v1.5, without weights"
        in minibert("convert", NAME, code=1, HF_HUB_OFFLINE="1").stderr
    )
    hub.cut.clear()
    hub.asked.clear()
    minibert("convert", NAME, "--quantize", "none")
    assert "model.safetensors" in hub.fetched() < READ


@pytest.mark.parametrize(
    "lost", ["model.safetensors", "1_Pooling/config.json", "model-00002-of-00002.safetensors", None]
)
def test_a_cache_that_lacks_something(minibert, folder, lost):
    """As the Hub's library lays it out, links to blobs; an older program fetched a part alone."""
    home = minibert.cache / f"models--{NAME.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        blob, link = (
            home / "blobs" / path.relative_to(folder).as_posix().replace("/", "-"),
            snapshot / path.relative_to(folder),
        )
        for each in (blob, link):
            each.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (snapshot / "pytorch_model.bin").unlink()
    (home / "refs").mkdir()
    (home / "refs/main").write_text(COMMIT)
    if lost and "-of-" in lost:
        (snapshot / "model.safetensors").rename(snapshot / lost.replace("00002-of", "00001-of"))
        write_json(snapshot / "model.safetensors.index.json", {"weight_map": {"a": lost}})
    elif lost:
        (snapshot / lost).unlink()
    words = ("convert", NAME, "--quantize", "none")
    if lost is None:
        minibert(*words, HF_HUB_OFFLINE="1")
    else:
        missing = "weights" if lost == "model.safetensors" else lost
        assert f"without {missing}" in minibert(*words, code=1, HF_HUB_OFFLINE="1").stderr


@pytest.mark.parametrize(
    ("there", "read"),
    [
        ("model.safetensors pytorch_model.bin model.fp16.safetensors", "model.safetensors"),
        ("pytorch_model.bin tf_model.h5 flax_model.msgpack", "pytorch_model.bin"),
        (
            "model.safetensors.index.json model-00001-of-00001.safetensors pytorch_model-00001-of-00002.bin",
            "model.safetensors.index.json model-00001-of-00001.safetensors",
        ),
        ("pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin",) * 2,
        (
            "2_Dense/model.safetensors 2_Dense/pytorch_model.bin pytorch_model.bin",
            "2_Dense/model.safetensors pytorch_model.bin",
        ),
        (
            "adapter_model.bin adapter_model.safetensors adapter_config.json",
            "adapter_model.safetensors adapter_config.json",
        ),
        ("spiece.model merges.txt vocab.json special_tokens_map.json added_tokens.json",) * 2,
        (
            "onnx/config.json coreml/x/config.json .gitattributes runs/a train_script.py LICENSE x.gguf",
            "train_script.py",
        ),
        ("lora/adapter_config.json sparse_linear.pt model_head.pkl",) * 2,
    ],
)
def test_which_files_are_needed(there, read):
    assert needed(there.split()) == sorted(read.split())


def test_names_of_folders_in_the_cache(tmp_path):
    folder = tmp_path / "models--org--a-b" / "snapshots" / COMMIT
    assert name_of(folder) == ("org/a-b", COMMIT)
    assert name_of(tmp_path) is None
    assert checkpoint_folder(tmp_path) == tmp_path
    for path in ("a/b/c", "./a", "https://huggingface.co/a/b"):
        with pytest.raises(CheckpointError, match="no such folder"):
            checkpoint_folder(path)
    with pytest.raises(InputError, match="has no revision 'v1'"):
        checkpoint_folder(tmp_path, "v1")


@pytest.mark.parametrize("base", ["org/base", "org/none"])
def test_the_base_model_of_an_adapter_is_fetched_too(minibert, hub, tmp_path, base):
    hub.folders["org/base"] = write_checkpoint(tmp_path / "base")
    query = "bert.encoder.layer.0.attention.self.query"
    hub.folders["org/lora"] = write_adapter(tmp_path / "lora", lora(query, 4), base_model_name_or_path=base)
    done = minibert("convert", "org/lora", "--quantize", "none", "--json", code=base == "org/none")
    if base == "org/none":
        assert "org/none: no such folder, and no such model at" in done.stderr
        minibert("convert", "org/lora", "--quantize", "none", "--base", "org/base")
    assert (minibert.work / "lora.safetensors").is_file()
