"""Models of one vector a token: folders of three libraries, and what PyLate makes of them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert.errors import CheckpointError, InputError, UnsupportedError
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from tests.checkpoints import vocabulary, write_json
from tests.colbert_folders import (
    DIM,
    DOCUMENTS,
    QUERIES,
    SKIPPED,
    VARIANTS,
    stanford_linear,
    write_native,
    write_pylate,
    write_stanford,
)

GOLDEN = Path(__file__).parents[1] / "golden/colbert.json"


@cache
def golden(variant: str) -> list[list[np.ndarray]]:
    """Queries' and documents' vectors, by PyLate."""
    read = json.loads(GOLDEN.read_text())[variant]
    return [[np.array(each, np.float32) for each in read[side]] for side in ("queries", "documents")]


def made(folder: Path, quantize: str = "none") -> minibert.Model:
    convert(folder, folder / "out.safetensors", quantize=quantize)
    return minibert.load(folder / "out.safetensors", backend="numpy")


def vectors(model: minibert.Model) -> list[list[np.ndarray]]:
    return [model.encode_query(QUERIES), model.encode_document(DOCUMENTS)]


def check(ours: list[list[np.ndarray]], theirs: list[list[np.ndarray]], tolerance: float) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert [each.shape for each in mine] == [each.shape for each in other]
        assert all(each.dtype == np.float32 for each in mine)
        np.testing.assert_allclose(np.concatenate(mine), np.concatenate(other), atol=tolerance)


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
@pytest.mark.parametrize("variant", VARIANTS)
def test_pylate(tmp_path, variant):
    check(vectors(made(write_pylate(tmp_path, **VARIANTS[variant]))), golden(variant), 1e-5)


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_int8(tmp_path):
    check(vectors(made(write_pylate(tmp_path), "int8")), golden("plain"), 0.1)


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_sentence_transformers(tmp_path):
    check(vectors(made(write_native(tmp_path))), golden("plain"), 1e-5)


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
@pytest.mark.parametrize("write", [write_pylate, write_stanford, write_native])
def test_beside_the_library(tmp_path, write):
    pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    if not hasattr(library, "MultiVectorEncoder"):
        pytest.skip("needs sentence-transformers 6")
    other = library.MultiVectorEncoder(str(write(tmp_path)), device="cpu")
    theirs = [
        other.encode_query(QUERIES, convert_to_numpy=True),
        other.encode_document(DOCUMENTS, convert_to_numpy=True),
    ]
    model = made(tmp_path)
    check(vectors(model), theirs, 1e-5)
    np.testing.assert_allclose(model.similarity(*theirs), other.similarity(*theirs).numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_stanford(tmp_path):
    """The sides are PyLate's; the projection is `linear.weight`, and the longest text is not the tokenizer's."""
    network = read_checkpoint(write_stanford(tmp_path / "stanford"))
    other = read_checkpoint(write_pylate(tmp_path / "pylate"))
    assert (network.task.query, network.task.kind) == (other.task.query, "multi-vector")
    assert network.architecture.normalize
    np.testing.assert_array_equal(network.linears["head.projection.0"].weight[:, :96], stanford_linear())
    tokens = vocabulary(203)
    assert set(network.task.document.skip) == {tokens.index(mark) for mark in ".,!?'-"} | {tokens.index("[UNK]")}
    kept = read_checkpoint(write_stanford(tmp_path / "kept", mask_punctuation=False, attend_to_mask_tokens=True))
    assert (kept.task.document.skip, kept.task.query.attend_to_fill) == ((), True)
    with pytest.raises(UnsupportedError, match="similarity is 'l2'"):
        read_checkpoint(write_stanford(tmp_path / "l2", similarity="l2"))


def test_what_a_file_says_of_both_sides(tmp_path):
    task = read_checkpoint(write_pylate(tmp_path)).task
    tokens = vocabulary(203)
    assert (task.kind, task.similarity) == ("multi-vector", "maxsim")
    query, document = task.query, task.document
    assert query is not None
    assert document is not None
    assert (query.max_length, query.prefix, query.fill_to) == (12, tokens.index("[unused0]"), 12)
    assert (query.fill_token, query.attend_to_fill, query.skip) == (tokens.index("[MASK]"), False, ())
    assert (document.max_length, document.prefix, document.fill_to) == (20, tokens.index("[unused1]"), 0)
    # "~" is no word: PyLate takes the unknown token for it, and so skips that.
    assert set(document.skip) == {tokens.index(word) for word in (*SKIPPED[:3], "[UNK]")}


def test_a_mask_of_sentence_transformers(tmp_path):
    task = read_checkpoint(write_native(tmp_path, skiplist_tasks=["query"])).task
    tokens = vocabulary(203)
    assert task.document is not None
    assert task.query is not None
    assert (set(task.query.skip), task.document.skip) == ({tokens.index(word) for word in SKIPPED[:3]}, ())
    with pytest.raises(UnsupportedError, match="keep_only_token_ids"):
        read_checkpoint(write_native(tmp_path, keep_only_token_ids=[3]))


EXPANSION = {"strategy": "fixed", "attend": False, "length": 12}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query_expansion": EXPANSION | {"strategy": "all"}}, "its strategy is fixed or min"),
        ({"query_expansion": EXPANSION | {"surprise": 1}}, "query_expansion: sets surprise"),
        ({"query_expansion": EXPANSION | {"length": None}}, "query_expansion needs a length, up to query_length"),
        ({"query_expansion": EXPANSION, "query_length": 11}, "query_expansion needs a length, up to query_length"),
    ],
)
def test_expansions_that_are_refused(tmp_path, settings, message):
    folder = write_native(tmp_path)
    said = json.loads((folder / "sentence_bert_config.json").read_text())
    write_json(folder / "sentence_bert_config.json", said | settings)
    with pytest.raises((CheckpointError, UnsupportedError), match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize("attend", [True, False])
def test_expansion_without_a_mask(tmp_path, attend):
    """What isn't attended to has vectors by the mask alone."""
    folder = write_native(tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", [one for one in modules if "Mask" not in one["type"]])
    said = json.loads((folder / "sentence_bert_config.json").read_text())
    expansion = EXPANSION | {"strategy": "min", "attend": attend}
    write_json(folder / "sentence_bert_config.json", said | {"query_expansion": expansion, "query_length": 16})
    if not attend:
        with pytest.raises(UnsupportedError, match="no MultiVectorMask"):
            read_checkpoint(folder)
        return
    query = read_checkpoint(folder).task.query
    assert query is not None
    assert (query.max_length, query.fill_to, query.attend_to_fill) == (16, 12, True)


def test_other_settings_of_sentence_transformers_that_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match=r"3_MultiVectorMask.config.json: sets surprise"):
        read_checkpoint(write_native(tmp_path / "mask", surprise=1))
    folder = write_native(tmp_path / "similarity")
    said = json.loads((folder / "config_sentence_transformers.json").read_text())
    write_json(folder / "config_sentence_transformers.json", said | {"similarity_fn_name": "cosine"})
    with pytest.raises(UnsupportedError, match="similarity_fn_name 'cosine' is none of maxsim"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"query_prefix": "[Q] "}, UnsupportedError, r"lacks the prefix token, \[Q\] "),
        ({"query_length": "long"}, CheckpointError, "query_length is 'long', not a number of tokens"),
        ({"skiplist_words": [1]}, CheckpointError, "not an array of strings"),
        ({"do_query_expansion": 1}, CheckpointError, "not true or false"),
    ],
)
def test_settings_that_are_refused(tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        read_checkpoint(write_pylate(tmp_path, **settings))


def test_modules_that_are_refused(tmp_path):
    folder = write_pylate(tmp_path)
    config = json.loads((folder / "1_Dense/config.json").read_text())
    for change, message in (
        ({"activation_function": "torch.nn.modules.activation.Tanh"}, r"behind Tanh \(use_residual\)"),
        ({"module_input_name": "sentence_embedding"}, "only 'token_embeddings'"),
        ({"surprise": 1}, "sets surprise"),
    ):
        write_json(folder / "1_Dense/config.json", config | change)
        with pytest.raises(UnsupportedError, match=message):
            read_checkpoint(folder)
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", [modules[1], modules[0]])
    with pytest.raises(UnsupportedError, match="the modules are Dense, Transformer"):
        read_checkpoint(folder)


def test_the_encoder_alone(tmp_path):
    assert read_checkpoint(write_pylate(tmp_path), task="sentence-embedding").task.kind == "sentence-embedding"
    assert read_checkpoint(tmp_path, task="multi-vector").task.kind == "multi-vector"


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
def test_answers(tmp_path):
    model = made(write_pylate(tmp_path), "int8")
    queries, documents = vectors(model)
    # One text, and the same text in any batch.
    for text, whole in zip(DOCUMENTS, documents, strict=True):
        np.testing.assert_array_equal(model.encode_document(text), whole)
        assert whole.shape[1] == DIM
    assert next(model.iter_encode_query(QUERIES)).tobytes() == queries[0].tobytes()
    assert np.linalg.norm(documents[0], axis=1) == pytest.approx(1, abs=1e-5)
    scores = model.similarity(queries, documents)
    assert scores.shape == (3, 3)
    assert model.similarity(queries[0], documents[1]) == scores[:1, 1:2]
    np.testing.assert_allclose(model.similarity_pairwise(queries, documents), np.diag(scores), atol=1e-5)
    ranked = model.rank(QUERIES[0], DOCUMENTS, top_k=2, return_documents=True)
    assert [each["corpus_id"] for each in ranked] == np.argsort(-scores[0])[:2].tolist()
    assert ranked[0]["text"] == DOCUMENTS[ranked[0]["corpus_id"]]
    assert len(model.encode_query("the bank", max_length=6)) == 6
    with pytest.raises(UnsupportedError, match="use encode_query or encode_document"):
        model.encode("the bank")
    with pytest.raises(InputError, match="no option 'is_query'"):
        model.encode_query("the bank", is_query=True)  # pyright: ignore[reportCallIssue]
