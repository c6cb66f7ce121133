"""BGE-M3: dense, sparse and token vectors, beside what FlagEmbedding computes of the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert.cli.main import main
from minibert.engine import library
from minibert.errors import InputError, UnsupportedError
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from tests import families
from tests.checkpoints import write_json
from tests.torch_zip import write_torch_file

TEXTS = ["where is the bank and the bank of the river?", "x", "the old man was not playing well, was he", "q 9 zz"]
HIDDEN, DIM = 96, 40


def linears() -> dict[str, dict[str, np.ndarray]]:
    random = np.random.RandomState(3)
    shapes = {"sparse_linear.pt": 1, "colbert_linear.pt": DIM}
    return {
        name: {
            "weight": (random.standard_normal((outputs, HIDDEN)) / 10).astype(np.float32),
            "bias": random.standard_normal(outputs).astype(np.float32) / 3,
        }
        for name, outputs in shapes.items()
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    home = families.write_family(tmp_path, "xlm-roberta", "sentence-embedding", families.golden()["xlm-roberta"])
    text = (home / "tokenizer.json").read_text()
    for old, new in (("[CLS]", "<s>"), ("[SEP]", "</s>"), ("[UNK]", "<unk>"), ("[PAD]", "<pad>")):
        text = text.replace(old, new)
    (home / "tokenizer.json").write_text(text)
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    named = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in kinds]
    write_json(home / "modules.json", named)
    (home / "1_Pooling").mkdir()
    write_json(home / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": True})
    for name, tensors in linears().items():
        write_torch_file(home / name, tensors)
    return home


def made(folder: Path, quantize: str = "none", **options) -> minibert.Model:
    convert(folder, folder / "out.safetensors", quantize=quantize)
    return minibert.load(folder / "out.safetensors", **{"backend": "numpy", **options})


def by_flag_embedding(model: minibert.Model, text: str) -> tuple[np.ndarray, dict[int, float], np.ndarray]:
    """dense_vecs, lexical_weights and colbert_vecs."""
    rows, ids = model.features(text), model.tokenizer.encode(text).ids
    sparse, colbert = (rows @ one["weight"].T + one["bias"] for one in linears().values())
    weights: dict[int, float] = {}
    for id, weight in zip(ids, np.maximum(sparse[:, 0], 0), strict=True):
        if model.tokenizer.token(id) not in ("<s>", "</s>", "<pad>", "<unk>") and weight > weights.get(id, 0):
            weights[id] = float(weight)
    vectors = colbert[1:] / np.linalg.norm(colbert[1:], axis=1, keepdims=True)
    return rows[0] / np.linalg.norm(rows[0]), weights, vectors


def check(folder: Path, quantize: str, tolerance: float) -> None:
    model, exact = made(folder, quantize), made(folder)
    answers = model.encode_all(TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        dense, weights, vectors = by_flag_embedding(exact, text)
        np.testing.assert_allclose(answer.dense, dense, atol=tolerance)
        np.testing.assert_allclose(answer.tokens, vectors, atol=tolerance)
        found = dict(zip(answer.sparse.indices.tolist(), answer.sparse.values.tolist(), strict=True))
        for id in {*weights, *found}:
            assert found.get(id, 0) == pytest.approx(weights.get(id, 0), abs=4 * tolerance)


def test_everything_in_one_pass(folder):
    check(folder, "none", 1e-5)


def test_int8(folder):
    check(folder, "int8", 0.05)


def test_one_text_has_the_same_bits_everywhere(folder):
    model = made(folder, "int8")
    together = model.encode_all(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        alone = model.encode_all(text)
        assert [alone.dense.tobytes(), alone.tokens.tobytes()] == [answer.dense.tobytes(), answer.tokens.tobytes()]
        assert alone.sparse.values.tobytes() == answer.sparse.values.tobytes()
        assert model.encode(text).tobytes() == answer.dense.tobytes()
    sparse = model.encode_sparse(TEXTS)
    assert [each.indices.tolist() for each in sparse] == [each.sparse.indices.tolist() for each in together]


def test_kernels(folder, monkeypatch):
    monkeypatch.setattr("minibert.engine.executor.WORTH_WAKING", 0)
    if not library.can_compile():
        pytest.skip("needs numba, which compiles the kernels")
    reference, compiled = made(folder, "int8"), made(folder, "int8", backend="jit", threads=2)
    for mine, other in zip(compiled.encode_all(TEXTS * 5), reference.encode_all(TEXTS * 5), strict=True):
        assert mine.dense.tobytes() == other.dense.tobytes()
        assert mine.tokens.tobytes() == other.tokens.tobytes()
        assert mine.sparse.values.tobytes() == other.sparse.values.tobytes()


def test_ranking_by_all_three(folder):
    model = made(folder, "int8")
    query, *documents = model.encode_all(TEXTS)
    common = [set(query.sparse.indices) & set(each.sparse.indices) for each in documents]

    def weight(vectors, id) -> float:
        return float(vectors.sparse.values[vectors.sparse.indices == id][0])

    expected = [
        0.4 * query.dense @ each.dense
        + 0.2 * sum(weight(query, id) * weight(each, id) for id in ids)
        + 0.4 * (query.tokens @ each.tokens.T).max(axis=1).mean()
        for each, ids in zip(documents, common, strict=True)
    ]
    ranked = model.rank(TEXTS[0], TEXTS[1:], weights=(0.4, 0.2, 0.4))
    assert {each["corpus_id"]: pytest.approx(each["score"], abs=1e-5) for each in ranked} == dict(enumerate(expected))
    assert len(model.rank(TEXTS[0], TEXTS[1:])) == 3
    with pytest.raises(InputError, match="three numbers"):
        model.rank(TEXTS[0], TEXTS[1:], weights=(1, 1))


def test_command(folder, capsys, monkeypatch):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    model = made(folder, "int8")
    answer = model.encode_all(TEXTS[0])
    assert main(["encode", str(model.path), TEXTS[0], "--all"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert np.float32(said["dense"]).tobytes() == answer.dense.tobytes()
    assert np.float32(said["tokens"]).tobytes() == answer.tokens.tobytes()
    words = [model.tokenizer.token(id) for id in answer.sparse.indices.tolist()]
    assert {word: np.float32(weight) for word, weight in said["sparse"].items()} == dict(
        zip(words, answer.sparse.values, strict=True)
    )
    assert main(["inspect", str(model.path)]) == 0
    assert "tokens" in capsys.readouterr().out


def test_files_that_are_not_there(folder):
    (folder / "sparse_linear.pt").unlink()
    network = read_checkpoint(folder)
    assert network.architecture.token_heads == ()
    assert any("left out colbert_linear.pt" in note for note in network.notes)
    with pytest.raises(UnsupportedError, match="no vectors of several kinds"):
        made(folder).encode_all("a")
    with pytest.raises(UnsupportedError, match="is a sentence-embedding model"):
        made(folder).encode_sparse("a")
