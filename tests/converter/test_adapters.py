"""Adapters of PEFT become part of their base model's weights."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minibert
from minibert.errors import CheckpointError, InputError, UnsupportedError
from minibert.format import read_model
from minibert_converter.convert import convert
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint, write_json
from tests.torch_zip import write_torch_file

QUERY = "bert.encoder.layer.{}.attention.self.query"
WORDS = "bert.embeddings.word_embeddings"
CLASSIFIER = {"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.RandomState(seed).standard_normal(shape) * 0.1).astype(np.float32)


def lora(module: str, rank: int, size: tuple[int, int] = (96, 96), table: bool = False) -> dict[str, np.ndarray]:
    """Two small matrices beside one [outputs, inputs], or beside a table [rows, columns]."""
    outputs, inputs = size[::-1] if table else size
    first, second = ("lora_embedding_A", "lora_embedding_B") if table else ("lora_A.weight", "lora_B.weight")
    return {f"{module}.{first}": noise(rank, inputs), f"{module}.{second}": noise(outputs, rank, seed=1)}


def write_adapter(folder: Path, weights: dict[str, np.ndarray], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"base_model.model.{name}": value for name, value in weights.items()}, folder / "adapter_model.safetensors"
    )
    usual = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "checkpoint",
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ["query"],
        "modules_to_save": None,
        "init_lora_weights": True,
    }
    write_json(folder / "adapter_config.json", usual | config)
    return folder


def product(weights: dict[str, np.ndarray], module: str, scaling: float) -> np.ndarray:
    return weights[f"{module}.lora_B.weight"] @ weights[f"{module}.lora_A.weight"] * np.float32(scaling)


@pytest.fixture
def base(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def plain() -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, np.ndarray]]:
    """Weights and settings of an adapter, and what they make of the base model's weights."""
    one, merged = QUERY.format(0), bert_weights(CONFIG)
    weights = lora(one, 4)
    merged[f"{one}.weight"] = merged[f"{one}.weight"] + product(weights, one, 6 / 4)
    return weights, {}, merged


def with_patterns():
    one, two, merged = QUERY.format(0), QUERY.format(1), bert_weights(CONFIG)
    weights = lora(one, 4) | lora(two, 2)
    settings = {
        "use_rslora": True,
        "rank_pattern": {"layer.1.attention.self.query": 2},
        "alpha_pattern": {QUERY.format(0): 3},
    }
    merged[f"{one}.weight"] = merged[f"{one}.weight"] + product(weights, one, 3 / math.sqrt(4))
    merged[f"{two}.weight"] = merged[f"{two}.weight"] + product(weights, two, 6 / math.sqrt(2))
    return weights, settings, merged


def with_a_classifier():
    weights, settings, merged = plain()
    own = {"classifier.weight": noise(3, 96, seed=3), "classifier.bias": noise(3, seed=4)}
    # With bias "all" PEFT also keeps what there was before, and the same once more.
    again = {"classifier.original_module.bias": noise(3), "classifier.modules_to_save.bias": own["classifier.bias"]}
    biases = {f"{QUERY.format(0)}.base_layer.bias": noise(96), "bert.pooler.dense.bias": noise(96, seed=1)}
    merged |= own | {name.replace(".base_layer", ""): bias for name, bias in biases.items()}
    return weights | own | again | biases, settings | {"bias": "all"} | CLASSIFIER, merged


def dora():
    one, merged = QUERY.format(0), bert_weights(CONFIG)
    weights = lora(one, 4) | {f"{one}.lora_magnitude_vector": 1 + noise(96, seed=5)}
    changed = merged[f"{one}.weight"] + product(weights, one, 6 / 4)
    lengths = np.linalg.norm(changed, axis=1)
    merged[f"{one}.weight"] = changed * (weights[f"{one}.lora_magnitude_vector"] / lengths)[:, None]
    return weights, {"use_dora": True}, merged


def with_a_bias():
    weights, _, merged = plain()
    one = QUERY.format(0)
    weights[f"{one}.lora_B.bias"] = noise(96, seed=6)
    merged[f"{one}.bias"] = merged[f"{one}.bias"] + weights[f"{one}.lora_B.bias"] * np.float32(6 / 4)
    return weights, {"lora_bias": True}, merged


def words():
    merged = bert_weights(CONFIG)
    weights = lora(WORDS, 4, (203, 96), table=True)
    first, second = (weights[f"{WORDS}.lora_embedding_{half}"] for half in "AB")
    merged[f"{WORDS}.weight"] = merged[f"{WORDS}.weight"] + (second @ first).T * np.float32(6 / 4)
    return weights, {"target_modules": ["word_embeddings"]}, merged


@pytest.mark.parametrize("made", [plain, with_patterns, with_a_classifier, dora, with_a_bias, words])
def test_the_file_is_that_of_merged_weights(made, base, tmp_path):
    weights, settings, merged = made()
    adapter = write_adapter(tmp_path / "adapter", weights, **settings)
    convert(adapter, tmp_path / "made", quantize="none")
    convert(write_checkpoint(tmp_path / "merged", weights=merged), tmp_path / "expected", quantize="none")
    expected, found = (read_model(tmp_path / name).tensors for name in ("expected", "made"))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-5, atol=1e-6)
    before = read_model(_converted(base, tmp_path)).tensors
    assert any(not np.array_equal(before[name], tensor) for name, tensor in found.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        _compare_with_peft(adapter, base, found, tmp_path)


def _converted(base: Path, tmp_path: Path) -> Path:
    convert(base, tmp_path / "before", quantize="none")
    return tmp_path / "before"


def _compare_with_peft(adapter: Path, base: Path, found: Any, tmp_path: Path) -> None:
    """What PEFT itself merges, where it is installed."""
    try:
        from peft import PeftModel
        from transformers import AutoModelForSequenceClassification
    except ImportError:
        return
    model = AutoModelForSequenceClassification.from_pretrained(base)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(tmp_path / "theirs")
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / "theirs" / name)
    convert(tmp_path / "theirs", tmp_path / "theirs.safetensors", quantize="none")
    for name, tensor in read_model(tmp_path / "theirs.safetensors").tensors.items():
        if name != "tokenizer.json":
            np.testing.assert_allclose(found[name], tensor, rtol=1e-5, atol=1e-6)


def test_weights_of_torch_and_a_base_given(base, tmp_path):
    weights, _, _ = plain()
    adapter = write_adapter(tmp_path / "elsewhere/adapter", weights, base_model_name_or_path="someone/model")
    with pytest.raises(CheckpointError, match="the base model 'someone/model' is no folder here"):
        convert(adapter, tmp_path / "made")
    convert(adapter, tmp_path / "made", base=base)
    (adapter / "adapter_model.safetensors").unlink()
    write_torch_file(
        adapter / "adapter_model.bin", {f"base_model.model.{name}": each for name, each in weights.items()}
    )
    convert(adapter, tmp_path / "again", base=base)
    assert (tmp_path / "made").read_bytes() == (tmp_path / "again").read_bytes()
    with pytest.raises(InputError, match="no adapter of PEFT"):
        convert(base, tmp_path / "made", base=base)


def test_a_classifier_on_an_encoder_that_has_none(tmp_path):
    """The task is the adapter's, and so is the number of labels."""
    config = {**CONFIG, "architectures": ["BertModel"], "id2label": {"0": "x", "1": "y"}}
    write_checkpoint(tmp_path / "checkpoint", config, bert_weights(config, labels=None))
    own = {"classifier.weight": noise(3, 96, seed=3), "classifier.bias": noise(3, seed=4)}
    convert(write_adapter(tmp_path / "adapter", lora(QUERY.format(0), 4) | own, **CLASSIFIER), tmp_path / "made")
    model = minibert.load(tmp_path / "made", backend="numpy")
    assert model.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert any("names 2 labels" in note for note in model.config.report["notes"])


def test_an_adapter_in_a_folder_of_sentence_transformers(base, tmp_path):
    """The modules and the tokenizer are the adapter's."""
    one = QUERY.format(0).removeprefix("bert.")
    adapter = write_adapter(tmp_path / "adapter", lora(one, 4), task_type="FEATURE_EXTRACTION")
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    write_json(adapter / "modules.json", modules)
    (adapter / "1_Pooling").mkdir()
    write_json(adapter / "1_Pooling/config.json", {"word_embedding_dimension": 96, "pooling_mode_cls_token": True})
    shutil.copy(base / "vocab.txt", adapter / "vocab.txt")
    write_json(adapter / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    convert(adapter, tmp_path / "made", quantize="none")
    model = minibert.load(tmp_path / "made", backend="numpy")
    assert (model.config.architecture.pooling, model.config.architecture.normalize) == ("cls", True)
    assert model.tokenizer.encode("Bad").ids != model.tokenizer.encode("bad").ids


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "of the type IA3; only LoRA"),
        ({"peft_type": "PREFIX_TUNING"}, "keys and values put before those of a text, which is no change of weights"),
        ({"target_modules": ".*query"}, "no list that names"),
        ({"target_modules": ["key"]}, "no list that names"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"rank_pattern": {".*query": 4}}, "only names are supported"),
        ({"something_new": True}, "sets something_new"),
    ],
)
def test_what_is_not_merged_is_refused(config, message, base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", lora(QUERY.format(0), 4), **config)
    with pytest.raises(UnsupportedError, match=message):
        convert(adapter, tmp_path / "made")


@pytest.mark.parametrize(
    ("weights", "config", "message"),
    [
        ({}, {"r": 8}, "r and rank_pattern are not 4"),
        ({}, {"lora_alpha": "much"}, "lora_alpha is 'much'"),
        ({}, {"use_dora": True}, "use_dora and lora_bias are not"),
        ({}, {"base_model_name_or_path": None}, "names no base model"),
        ({f"{QUERY.format(1)}.lora_A.weight": noise(4, 96)}, {}, "has no lora_B"),
        (lora("bert.other", 4), {"target_modules": ["query", "other"]}, "bert.other is no part of the base model"),
        (lora(QUERY.format(1), 4, (96, 95)), {}, "is changed by"),
        ({}, CLASSIFIER, "has no weights for classifier.bias"),
        ({"bert.other.weight": noise(4)}, {}, "is no part of the base model"),
    ],
)
def test_contradictions_are_refused(weights, config, message, base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", lora(QUERY.format(0), 4) | weights, **config)
    with pytest.raises(CheckpointError, match=message):
        convert(adapter, tmp_path / "made")


def test_an_adapter_beside_a_model_is_refused(base, tmp_path):
    """transformers would load it on top of another model than the one that lies here."""
    write_adapter(base, lora(QUERY.format(0), 4))
    assert load_file(base / "model.safetensors")
    with pytest.raises(UnsupportedError, match="a PEFT adapter lies beside the model"):
        convert(base, tmp_path / "made")
