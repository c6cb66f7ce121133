"""docs/HABITS.md: every line of its tables is run, and what it says of the answer is true."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest

import minibert
from minibert import InputError
from minibert.compat.sentence_transformers import CrossEncoder, SentenceTransformer
from minibert.compat.transformers import pipeline
from tests.tiny import token_config, write

PAGE = Path(__file__).parents[2] / "docs/HABITS.md"
ROWS = [
    (code, right)
    for left, right in re.findall(r"^\| (`.*`) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", left)
]


@pytest.fixture(scope="module")
def names(embedder, embedder_path, classifier, tagger, answerer, filler, inference, tiny_folder) -> dict[str, Any]:
    """What the page calls by name."""
    return {
        "model": embedder,
        "path": str(embedder_path),
        "texts": ["a great movie", "not very good"],
        "dim": 40,
        "hidden_size": 40,
        "encoder": minibert.MinibertEncoder(str(embedder_path)),
        "ranker": CrossEncoder(tiny_folder / "regression.safetensors", backend="numpy"),
        "classify": classifier,
        "tag": tagger,
        "ask": answerer,
        "fill": filler,
        "infer": inference,
        **{"SentenceTransformer": SentenceTransformer, "pipeline": pipeline},
        **{"minibert": minibert, "numpy": numpy, "pickle": pickle, "copy": copy},
    }


def test_all_rows_are_read():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(lines) > 60
    typed = [line.split(" | ")[0] for line in lines]
    assert [code for code, _ in ROWS] == [code for each in typed for code in re.findall(r"`([^`]+)`", each)]


@pytest.mark.parametrize(("code", "right"), ROWS, ids=[code for code, _ in ROWS])
def test_rows(code, right, names, monkeypatch):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    if right.startswith("refused") or ("PyTorch" in right and importlib.util.find_spec("torch") is None):
        with pytest.raises((InputError, minibert.UnsupportedError, minibert.MissingFileError)) as raised:
            eval(code, names)
        if "PyTorch" in right:
            return
        hint = re.search(r"did you mean `(\w+)`", right)
        if hint is not None:
            assert f"did you mean {hint[1]!r}" in str(raised.value)
            return
        answer: Any = raised.value
    else:
        answer = eval(code, names)
    checks = re.findall(r"`([^`]+)`", right)
    assert checks or right.startswith("refused")
    for check in checks:
        assert eval(check, {**names, "answer": answer}), check


# What the tables have no room for.


def test_tokens_of_a_sentence_are_those_of_features(embedder):
    texts = ["a great movie", "bad"]
    tokens = embedder.encode(texts, output_value="token_embeddings")
    assert all((each == right).all() for each, right in zip(tokens, embedder.features(texts), strict=True))
    everything = embedder.encode("bad", output_value=None, prompt="query : ", normalize_embeddings=True)
    assert everything["prompt_length"] == 3
    assert everything["input_ids"].tolist() == embedder.tokenizer.encode("query : bad").ids
    assert (everything["sentence_embedding"] == embedder.encode("query : bad", normalize_embeddings=True)).all()
    for option in ({"truncate_dim": 8}, {"normalize_embeddings": True}, {"precision": "binary"}, {"windows": True}):
        with pytest.raises(InputError, match="tokens"):
            embedder.encode(texts, output_value="token_embeddings", **option)


def test_numbers_of_eight_bits_are_those_of_quantize_embeddings(embedder):
    texts = ["a great movie", "bad", "not very good"]
    for precision in ("int8", "uint8"):
        right = minibert.quantize_embeddings(embedder.encode(texts), precision)
        assert (embedder.encode(texts, precision=precision) == right).all()
        assert embedder.encode([], precision=precision).dtype == precision
        with pytest.raises(InputError, match="range"):
            embedder.encode(["bad"], precision=precision)
        with pytest.raises(InputError, match="range"):
            embedder.iter_encode(texts, precision=precision)


def test_of_a_pair_only_the_first_text_is_cut(classifier):
    long = "bad " * 40
    pair = (long, "very " * 15)
    with pytest.warns(minibert.TruncationWarning):
        longest = classifier.predict(pair, truncation="longest_first", max_length=24)
    with pytest.warns(minibert.TruncationWarning):
        first = classifier.predict(pair, truncation="only_first", max_length=24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert first == classifier.predict(("bad " * 6, "very " * 15), max_length=24)
        assert longest == classifier.predict(("bad " * 11, "very " * 10), max_length=24)
    with pytest.raises(InputError, match="truncation is off"):
        classifier.predict(long, truncation="do_not_truncate")
    with pytest.raises(InputError, match="truncation must be one of"):
        classifier.predict("bad", truncation="only_second")


def test_words_are_read_as_their_text(tagger):
    words = ["hello", "world", "a", "great", "movie"]
    right = tagger.classify_tokens(" ".join(words), ignore_labels=[])
    assert tagger.classify_tokens(words, is_split_into_words=True, ignore_labels=[]) == right
    assert tagger.classify_tokens([words], is_split_into_words=True, ignore_labels=[]) == [right]
    wide = tagger.classify_tokens(words, is_split_into_words=True, ignore_labels=[], delimiter="  ")
    assert [each["start"] for each in wide] == [each["start"] + place for place, each in enumerate(right)]
    for wrong in ({"delimiter": "x"}, {"delimiter": "x", "is_split_into_words": True}):
        with pytest.raises(InputError, match="white space"):
            tagger.classify_tokens(words, **wrong)
    with pytest.raises(InputError, match="not split into words"):
        tagger.classify_tokens("hello world", is_split_into_words=True)


def test_what_is_set_for_all_calls_survives_pickling(embedder_path, embedder, tmp_path):
    layer = SentenceTransformer(str(embedder_path), truncate_dim=16, backend="numpy")
    layer.prompts = {"query": "hello "}
    layer.max_seq_length = 6
    layer.similarity_fn_name = "dot"
    for each in (layer, pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert each.get_sentence_embedding_dimension() == 16
        with pytest.warns(minibert.TruncationWarning, match="cut to 6"):
            vector = each.encode_query("bad good bad good")
        assert (vector == embedder.encode("hello bad good bad", truncate_dim=16)).all()
        assert each.similarity(vector, vector) == pytest.approx(vector @ vector)
    with layer.truncate_sentence_embeddings(8):
        assert layer.encode("bad").shape == (8,)
    assert layer.encode("bad").shape == (16,)
    with pytest.warns(UserWarning, match="the prompt counts"):
        assert (layer.encode("bad", prompt="hello ", prompt_name="query") == layer.encode_query("bad")).all()
    with pytest.raises(InputError, match="truncate_dim"):
        SentenceTransformer(str(embedder_path), truncate_dim="8")
    for name, wrong in {"prompts": {"a": 3}, "default_prompt_name": "x", "similarity_fn_name": "x"}.items():
        with pytest.raises(InputError):
            setattr(layer, name, wrong)
    with pytest.raises(InputError, match="positions"):
        layer.max_seq_length = 99
    # They are written, too.
    layer.save(tmp_path / "saved.safetensors")
    saved = minibert.load(tmp_path / "saved.safetensors", backend="numpy")
    assert (saved.prompts, saved.max_length, saved.similarity_fn_name) == ({"query": "hello "}, 6, "dot")
    layer.max_seq_length = None
    assert layer.max_seq_length == embedder.max_length
    # The file's own are as they were.
    assert embedder.prompts == {"query": "query : ", "passage": "hello "}


def test_scores_of_a_layer_are_those_of_the_model(ranker, tiny_folder, tmp_path):
    pairs = [("was it good", "bad"), ("was it good", "great " * 9)]
    layer = CrossEncoder(tiny_folder / "regression.safetensors", max_length=8, backend="numpy")
    for each in (layer, pickle.loads(pickle.dumps(layer))):
        with pytest.warns(minibert.TruncationWarning):
            assert (each.predict(pairs) == ranker.score(pairs, max_length=8)).all()
    layer.save(tmp_path / "saved.safetensors")
    assert minibert.load(tmp_path / "saved.safetensors").max_length == layer.max_length == 8
    several = CrossEncoder(tiny_folder / "inference.safetensors", backend="numpy")
    assert (several.predict(pairs) == minibert.load(several.path).score(pairs, function_to_apply="none")).all()
    assert several.predict(pairs, apply_softmax=True).sum(axis=1) == pytest.approx(1)
    with pytest.raises(InputError, match="num_labels=1"):
        several.rank("a", ["b"])
    with pytest.raises(InputError, match="apply_softmax"):
        several.predict(pairs, apply_softmax="yes")
    with pytest.raises(InputError, match="num_labels is 2"):
        CrossEncoder(several.path, 2)


def test_pipelines_answer_lazily(classifier, answerer, filler):
    texts = ["a great movie", "bad"]
    found = pipeline("text-classification", classifier, return_all_scores=True)(iter(texts))
    assert list(found) == [classifier.predict(text, top_k=None) for text in texts]
    assert pipeline("fill-mask", filler, top_k=2)(["a [MASK]"]) == filler.predict("a [MASK]", top_k=2)
    assert pipeline(None, answerer)([{"question": "a", "context": "b"}]) == answerer.predict("a", "b")
    with pytest.raises(InputError, match="framework"):
        pipeline(None, classifier, framework="tf")
    with pytest.raises(InputError, match="there is no option 'topk': did you mean 'top_k'"):
        pipeline(None, classifier, topk=2)("bad")


def test_sentences_are_given_once(embedder, colbert):
    for model in (embedder, colbert):
        with pytest.raises(InputError, match="either inputs or sentences"):
            model.encode_query("bad", sentences="good")
        assert (model.encode_query(sentences="good") == model.encode_query("good")).all()


def test_weights_of_a_ranking_are_three_numbers(embedder):
    for weights in (
        "abc",
        ("a", 1, 1),
        iter([1, 1, 1]),
        5,
        (float("nan"), 1, 1),
        (1, float("inf"), 1),
        (1, 1),
        (0, 0, 0),
    ):
        with pytest.raises(InputError, match="three numbers"):
            embedder.rank("bad", ["good"], weights=weights)


def test_a_closed_model_says_so_and_lets_its_file_go(tmp_path):
    path = write(tmp_path / "m.safetensors", token_config("fill-mask"))
    with minibert.load(path, backend="numpy") as model:
        assert model.predict("a [MASK]")
        features = model.features("bad")
    asked = (lambda: model.predict("a [MASK]"), lambda: model.features("bad"), lambda: model.size)
    for work in (*asked, lambda: pickle.dumps(model)):
        with pytest.raises(InputError, match=r"m\.safetensors is closed"):
            work()
    assert "closed" in repr(model)
    assert features.shape[1] == 40
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = model.nothing
    model.close()
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(path) not in maps.read_text()


def test_closing_while_another_thread_answers(embedder_path):
    model = minibert.load(embedder_path, backend="numpy")
    texts, found = ["a great movie"] * 400, []

    def answer() -> None:
        try:
            found.append(len(model.encode(texts)))
        except InputError:
            found.append(0)

    thread = threading.Thread(target=answer)
    thread.start()
    model.close()
    thread.join()
    assert found[0] in (0, 400)


def test_closing_while_a_call_will_need_the_model_once_more(embedder_path):
    model = minibert.load(embedder_path, backend="numpy")
    rows = model.pipeline.rows

    def closing(*given, **options):  # as another thread may do at this very place
        model.close()
        return rows(*given, **options)

    model.pipeline.rows = closing
    with pytest.raises(InputError, match="is closed"):
        model.fit(["bad", "good"], [0, 1])


def test_what_a_model_is_not_opened_by(tmp_path, embedder_path, monkeypatch):
    with pytest.raises(InputError, match='open it with "rb"'), open(PAGE) as text:
        minibert.load(text)
    with pytest.raises(InputError, match='open by "rb"'), open(embedder_path) as no_text:
        minibert.load(no_text)
    with pytest.raises(InputError, match='open by "rb"'), open(tmp_path / "new", "wb") as unreadable:
        minibert.load(unreadable)
    with open(embedder_path, "rb") as closed:
        pass
    with pytest.raises(InputError, match="closed file"):
        minibert.load(closed)
    monkeypatch.setenv("HOME", str(embedder_path.parent))
    monkeypatch.setenv("USERPROFILE", str(embedder_path.parent))
    assert minibert.load(f"~/{embedder_path.name}", backend="numpy").path == embedder_path
    data = embedder_path.read_bytes()
    for given in (bytearray(data), memoryview(data), memoryview(numpy.frombuffer(data, numpy.uint8))):
        assert minibert.load(given, backend="numpy").size == len(data)
    with open(embedder_path, "rb") as file:
        assert minibert.load(file, backend="numpy").size == len(data)
