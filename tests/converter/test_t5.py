"""Encoders of T5: what of a whole T5 is taken, how long texts may be, and outliers, of which its layers have many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibert.engine import Engine
from minibert.errors import CheckpointError, UnsupportedError
from minibert.format import read_model
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from tests.checkpoints import write_json
from tests.converter.test_families import change_config
from tests.families import SETUPS, cases, golden, shown_columns, write_family

EMBEDDING, TOKENS = "sentence-embedding", "token-classification"


def folder_of(path: Path, family: str = "t5", task: str = EMBEDDING) -> Path:
    return write_family(path, family, task, golden()[family])


def rewrite(folder: Path, change: Any) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def vectors(folder: Path, texts: list[list[int]], **options: Any) -> np.ndarray:
    path = folder.with_suffix(".safetensors")
    convert(folder, path, **options)
    return Engine(read_model(path), backend="numpy").forward(texts, [[0] * len(text) for text in texts])


def test_the_encoder_of_a_whole_t5_in_sentence_transformers(tmp_path):
    """As sentence-t5 and gtr-t5 lie on the Hub: all weights, each table of words under each of its names."""
    folder = folder_of(tmp_path / "checkpoint")
    projection = np.random.RandomState(1).standard_normal((40, 96)).astype(np.float32)
    rewrite(
        folder,
        lambda weights: (
            weights
            | {f"{side}.embed_tokens.weight": weights["shared.weight"] for side in ("encoder", "decoder")}
            | {f"decoder.{name.removeprefix('encoder.')}": v for name, v in weights.items() if "block" in name}
            | {"decoder.block.0.layer.1.EncDecAttention.q.weight": np.zeros((60, 96), np.float32)}
            | {"lm_head.weight": weights["shared.weight"]}
        ),
    )
    change_config(folder, {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True})
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    (folder / "2_Dense").mkdir()
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 96, "pooling_mode_mean_tokens": True})
    identity = "torch.nn.modules.linear.Identity"
    dense = {"in_features": 96, "out_features": 40, "bias": False, "activation_function": identity}
    write_json(folder / "2_Dense/config.json", dense)
    save_file({"linear.weight": projection}, folder / "2_Dense/model.safetensors")

    network = read_checkpoint(folder)
    assert not [note for note in network.notes if "config.json" in note]
    texts = [ids for ids, _types in cases(SETUPS["t5"]["config"])]
    made = vectors(folder, texts, quantize="none")
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    plain = vectors(folder_of(tmp_path / "plain"), texts, quantize="none")
    wanted = [row for (row,) in golden()["t5"]["tasks"][EMBEDDING]["outputs"]]
    np.testing.assert_allclose(plain[:, shown_columns(96)], wanted, atol=1e-5)
    projected = plain @ projection.T
    np.testing.assert_allclose(made, projected / np.linalg.norm(projected, axis=1, keepdims=True), atol=1e-6)


def test_words_under_the_encoders_name(tmp_path):
    folder = folder_of(tmp_path / "checkpoint")
    rewrite(folder, lambda weights: weights | {"encoder.embed_tokens.weight": weights.pop("shared.weight")})
    assert read_checkpoint(folder).tables["embeddings.word"].shape == (203, 96)


def test_texts_may_be_longer_than_in_training(tmp_path):
    folder = folder_of(tmp_path / "checkpoint")
    assert read_checkpoint(folder).text.max_length == 64
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 300}
    )
    network = read_checkpoint(folder)
    assert (network.text.max_length, network.architecture.max_positions) == (300, 300)
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    model = transformers.T5EncoderModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [2, *np.random.RandomState(2).randint(5, 203, 298).tolist(), 3]
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(vectors(folder, [ids], quantize="none")[0], wanted, atol=1e-5)


def test_outliers_cost_int8_little(tmp_path):
    """A few features of the residual sum a hundred times as large as the others, and neurons forty times."""
    folder = folder_of(tmp_path / "checkpoint")
    texts = [ids for ids, _types in cases(SETUPS["t5"]["config"])]

    def grow(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, value in weights.items():
            if name.endswith("wo.weight"):
                value[[3, 77]] *= 100
            if name.endswith("wi.weight"):
                value[[5, 50, 90]] *= 40
            if "layer_norm" in name:
                value[[3, 77]] *= 0.05
        return weights

    rewrite(folder, grow)
    exact, made = vectors(folder, texts, quantize="none"), vectors(folder, texts)
    cosine = (exact * made).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(made, axis=1)
    assert cosine.min() > 0.998


def test_layers_that_have_the_same_biases_may_share_their_matrices(tmp_path):
    folder = folder_of(tmp_path / "checkpoint")
    texts = [ids for ids, _types in cases(SETUPS["t5"]["config"])]
    assert np.isfinite(vectors(folder, texts, share="pairs", quantize="none")).all()
    aliases = read_model(folder.with_suffix(".safetensors")).config.aliases
    assert aliases["layers.1.ffn.up.weight"] == "layers.0.ffn.up.weight"
    assert aliases["layers.1.attention.position_bias"] == "layers.0.attention.position_bias"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"feed_forward_proj": "gated-gelu"},
            CheckpointError,
            r"missing: 'encoder.block.0.layer.1.DenseReluDense.wi_0",
        ),
        ({"feed_forward_proj": "quick_gelu"}, UnsupportedError, "feed_forward_proj is 'quick_gelu'"),
        ({"relative_attention_num_buckets": 16}, CheckpointError, r"num_buckets is 16, but .* has 32 rows"),
        ({"relative_attention_num_buckets": 2}, CheckpointError, "relative_attention_num_buckets is 2"),
        ({"relative_attention_max_distance": 8}, CheckpointError, "relative_attention_max_distance is 8"),
        ({"architectures": ["T5ForSequenceClassification"]}, UnsupportedError, "supported are T5EncoderModel"),
        ({"num_heads": 4}, CheckpointError, r"config.json calls for \[80, 96\]|\[32, 4\]"),
        ({"d_kv": 300}, CheckpointError, "d_kv is 300"),
    ],
)
def test_what_does_not_go_together(tmp_path, values, error, message):
    folder = folder_of(tmp_path / "checkpoint")
    change_config(folder, values)
    with pytest.raises(error, match=message):
        read_checkpoint(folder)


def test_norms_have_no_bias(tmp_path):
    folder = folder_of(tmp_path / "checkpoint")
    rewrite(folder, lambda weights: weights | {"encoder.final_layer_norm.bias": np.zeros(96, np.float32)})
    with pytest.raises(CheckpointError, match=r"there is 'encoder.final_layer_norm.bias'"):
        read_checkpoint(folder)


def test_heads_share_keys_and_values_only_in_equal_groups(tmp_path):
    folder = folder_of(tmp_path / "checkpoint", "eurobert", TOKENS)
    change_config(folder, {"num_key_value_heads": 4})
    with pytest.raises(CheckpointError, match="num_key_value_heads is 4, which does not divide num_attention_heads, 6"):
        read_checkpoint(folder)
