"""Odd inputs and options in every method: a right answer, or an error of minibert's own that names what is wrong."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minibert
from minibert import InputError, MinibertError
from minibert.options import ELSEWHERE

NAN = float("nan")
#: What a caller may give for any option, by mistake or rightly.
VALUES = [
    *(None, True, False, np.True_, 0, 1, 3, 7, -1, 10**30, 0.5, 2.5, NAN, Decimal(3), 3j),
    *(
        np.int64(7),
        np.int8(2),
        np.uint64(3),
        np.float32(0.5),
        np.float64(3),
        np.array(3),
        np.array([1]),
        np.array([1, 2]),
    ),
    *(
        "3",
        "",
        "yes",
        "{}",
        "SIGMOID",
        "first",
        "query",
        "ubinary",
        b"x",
        [],
        ["a"],
        ["a", None],
        [3],
        {},
        {"a"},
        object(),
    ),
]


# For each option, whether a value is right for it.


def count(least: int = 1):
    def right(value: Any) -> bool:
        plain = value.item() if isinstance(value, np.generic) or getattr(value, "ndim", None) == 0 else value
        return type(plain) is int and least <= plain < 1 << 63

    return right


def flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def choice(*words: str):
    return lambda value: isinstance(value, str) and value.lower() in words


def texts(value: Any) -> bool:
    return isinstance(value, (list, set)) and all(isinstance(each, str) for each in value)


def none_or(right):
    return lambda value: value is None or right(value)


READ = {
    "truncation": lambda value: flag(value) or choice("longest_first", "only_first", "do_not_truncate")(value),
    "max_length": none_or(count()),
    "batch_size": count(),
    "max_tokens": count(),
}
FUNCTION = {"function_to_apply": none_or(choice("softmax", "sigmoid", "none", "default"))}
CLASSIFY = {**READ, **FUNCTION, "top_k": none_or(count()), "return_all_scores": none_or(flag)}
ENCODE = {
    **READ,
    "prompt": none_or(lambda value: isinstance(value, str)),
    "prompt_name": none_or(choice("query", "passage")),
    "precision": none_or(choice("float32", "binary", "ubinary")),
    "normalize_embeddings": flag,
    "truncate_dim": none_or(count()),
    "windows": flag,
}
WHOLE = {
    **ENCODE,
    "convert_to_numpy": flag,
    "show_progress_bar": none_or(flag),
    "output_value": none_or(choice("sentence_embedding", "token_embeddings")),
}
AHEAD = {"read_ahead": count()}
TAGS = {
    "aggregation_strategy": choice("none", "simple", "first", "average", "max"),
    "ignore_labels": texts,
    "stride": none_or(count(0)),
    "is_split_into_words": lambda value: flag(value) and not value,
}
ANSWERS = {
    "top_k": count(),
    "doc_stride": none_or(count(0)),
    "max_answer_len": count(),
    "handle_impossible_answer": flag,
    "align_to_words": flag,
}
FILL = {"targets": none_or(lambda value: texts(value) or isinstance(value, str)), "top_k": count()}
ZERO_SHOT = {"multi_label": flag, "hypothesis_template": choice("{}")}


@dataclass(frozen=True)
class Call:
    """A method of a fixture's model, arguments with which it answers, and what is right for its options."""

    model: str
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.model}.{self.method}"


PAIR = ("was it good", "the plot was good and the actor was not very bad")
CALLS = [
    Call("classifier", "predict", ("a great movie",), CLASSIFY),
    Call("classifier", "iter_predict", (["bad", "good"],), {**CLASSIFY, **AHEAD}),
    Call("classifier", "score", (("a", "b"),), {**READ, **FUNCTION}),
    Call(
        "ranker", "rank", ("a", ["b", "bad"]), {**READ, **FUNCTION, "top_k": none_or(count()), "return_documents": flag}
    ),
    Call("inference", "zero_shot", ("bad", ["film", "plot"]), {**READ, **ZERO_SHOT}),
    Call(
        "inference", "iter_predict", (["bad"],), {"candidate_labels": lambda v: texts(v) or isinstance(v, str), **AHEAD}
    ),
    Call("tagger", "classify_tokens", ("a great movie",), {**READ, **TAGS}),
    Call("tagger", "iter_predict", (["a great movie"],), {**READ, **TAGS, **AHEAD}),
    Call("answerer", "answer", (PAIR,), {**READ, **ANSWERS}),
    Call("answerer", "iter_predict", ([PAIR],), {**READ, **ANSWERS, **AHEAD}),
    Call("filler", "fill_mask", ("a great [MASK]",), {**READ, **FILL}),
    Call("filler", "iter_predict", (["a great [MASK]"],), {**READ, **FILL, **AHEAD}),
    Call("filler", "encode_sparse", ("bad",), READ),
    Call("filler", "iter_encode_sparse", (["bad"],), {**READ, **AHEAD}),
    Call("embedder", "encode", (["bad", "good"],), WHOLE),
    Call("embedder", "encode_query", ("bad",), WHOLE),
    Call("embedder", "iter_encode", (["bad"],), {**ENCODE, **AHEAD}),
    Call("embedder", "features", ("bad",), READ),
]


@pytest.fixture
def call(request):
    """The outcome of a call: an answer made comparable, or the type of minibert's own error."""

    def outcome(each: Call, *arguments: Any, **options: Any) -> Any:
        model = request.getfixturevalue(each.model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                answer = getattr(model, each.method)(*(arguments or each.arguments), **options)
                return comparable(list(answer) if isinstance(answer, Iterator) else answer)
            except MinibertError as error:
                return type(error)

    return outcome


def comparable(answer: Any) -> Any:
    if isinstance(answer, np.ndarray):
        return str(answer.dtype), answer.tolist()
    if isinstance(answer, (list, tuple)):
        return [comparable(each) for each in answer]
    if isinstance(answer, dict):
        return {name: comparable(value) for name, value in answer.items()}
    return answer


def plain(value: Any) -> Any:
    """A value of NumPy's as Python's own."""
    return value.item() if isinstance(value, np.generic) or getattr(value, "ndim", None) == 0 else value


@pytest.mark.parametrize("each", CALLS, ids=str)
def test_every_option_is_taken_or_refused(call, each):
    assert not isinstance(call(each), type)
    for name, right in each.options.items():
        for value in VALUES:
            if right(value):
                value = sorted(value) if isinstance(value, set) else value
                assert call(each, **{name: value}) == call(each, **{name: plain(value)}), (name, value)
            else:
                assert call(each, **{name: value}) is InputError, (name, value)


@pytest.mark.parametrize("each", CALLS, ids=str)
def test_misspelt_options_name_the_nearest(request, each):
    method = getattr(request.getfixturevalue(each.model), each.method)
    for name in each.options:
        if name in ("candidate_labels", "read_ahead"):  # the first is what makes this call one of zero_shot
            continue
        wrong = name.replace("_", "") if "_" in name else f"{name}s"
        with pytest.raises(InputError, match=f"no option '{wrong}': did you mean '{name}'"):
            method(*each.arguments, **{wrong: 1})
        start = name.split("_")[0]
        if start not in each.options:
            with pytest.raises(InputError, match=f"did you mean '{start}"):
                method(*each.arguments, **{start: 1})
    with pytest.raises(InputError, match=r"no option 'x': there are .*batch_size"):
        method(*each.arguments, x=1)


def test_options_of_other_libraries(classifier, embedder):
    harmless = {
        **dict.fromkeys(("chunk_size", "multiprocessing_threshold", "num_workers", "parallel"), (None, 0, 7)),
        "device": (None, "cpu", "CPU", -1, ["cpu", "cpu"]),
        "pool": (None, embedder.start_multi_process_pool(["cpu"] * 2)),
        "task": (None, "query"),
        "padding": (None, True, False, "longest", "max_length"),
        "output_value": ("sentence_embedding",),
        "convert_to_numpy": (None, True),
        "use_multiprocessing": (None, True, False),
        "return_all_scores": (None, False),
    }
    for name, (_, instead) in ELSEWHERE.items():
        for value in harmless.get(name, (None,)):
            assert classifier.predict("bad", **{name: value}) == classifier.predict("bad")
        for value in (-3, "x", [1], np.array([1, 2]), {"processes": [1]}):
            with pytest.raises(InputError) as raised:
                classifier.predict("bad", **{name: value})
            if name != "return_all_scores":  # which classifiers have
                assert f"there is no option {name!r}: {instead}" == str(raised.value)
    same = embedder.encode(inputs=["bad"]), embedder.encode(sentences=["bad"], device="cpu", precision=None)
    np.testing.assert_array_equal(*same)
    with pytest.raises(InputError, match="either inputs or sentences"):
        embedder.encode("a", sentences="b")
    assert classifier.predict("bad", function_to_apply="SIGMOID") == classifier.predict(
        "bad", function_to_apply="sigmoid"
    )


class Frame:
    """As a DataFrame: goes through the names of its columns."""

    columns = ("text",)

    def __iter__(self):
        return iter(self.columns)


#: What no method reads.
NO_TEXTS = [
    *(
        3,
        2.5,
        NAN,
        True,
        b"a",
        bytearray(b"a"),
        {"a"},
        Frame(),
        object(),
        Path("a"),
        print,
        np.array("a"),
        np.array([1.5]),
    ),
    *([None], ["[MASK]", None], [NAN], [b"a"], [3], [["a"]], [["a", "b", "c"]], [object()], [{"a"}], np.array([["a"]])),
    *({"txt": "a"}, {"text": ["a", "b"]}, {"text": None}, {"text": "a", "label": 1}, [{}], Ellipsis),
]


@pytest.mark.parametrize("each", CALLS, ids=str)
def test_what_is_no_text(call, each):
    for inputs in NO_TEXTS:
        arguments = (*each.arguments[:-1], inputs) if each.method == "rank" else (inputs, *each.arguments[1:])
        assert call(each, *arguments) is InputError, inputs
    if each.method.startswith("iter_"):
        for one in ("a [MASK]", {"text": "a"}, *([] if "encode" in each.method else [("a", "b")])):
            assert call(each, one) is InputError, one


def test_a_call_without_inputs(classifier, embedder, answerer):
    for method in (classifier.predict, embedder.encode, answerer.predict, answerer.answer):
        with pytest.raises(InputError):
            method()


def test_questions_by_name(answerer):
    right = answerer.answer([PAIR, ("who", PAIR[1])])
    assert answerer.answer(question=(PAIR[0], "who"), context=PAIR[1]) == right
    assert answerer.answer(question=np.array([PAIR[0], "who"]), context=[PAIR[1]] * 2) == right
    for wrong in (3, b"a", [None], {"a"}, Frame(), NAN):
        with pytest.raises(InputError):
            answerer.predict(question=wrong, context="a")
        with pytest.raises(InputError):
            answerer.predict(question="a", context=wrong)
        with pytest.raises(InputError):
            answerer.predict(question=["a"], context=wrong)


def test_ranking_by_what_is_no_query(ranker):
    for wrong in (None, 3, b"a", ["a"], ("a", "b"), {"text": "a"}):
        with pytest.raises(InputError, match="query must be str"):
            ranker.rank(wrong, ["a"])
    documents = ["a", "bad"]
    assert ranker.rank("a", iter(documents), return_documents=True) == ranker.rank("a", tuple(documents), None, True)


def test_tuples_and_flat_pairs_as_in_sentence_transformers(embedder, filler, ranker):
    both = embedder.encode(["hello", "world"])
    for many in (("hello", "world"), np.array(["hello", "world"]), np.array(["hello", "world"], object)):
        np.testing.assert_array_equal(embedder.encode(many), both)
        np.testing.assert_array_equal(list(embedder.iter_encode(many)), both)
        np.testing.assert_array_equal(embedder.encode_query(many, prompt=""), both)
    assert embedder.encode(("hello",)).shape == (1, 40)
    assert embedder.encode(()).shape == (0, 40)
    assert embedder.encode([("hello", "world")]).shape == (1, 40)
    assert len(filler.encode_sparse(("hello", "world"))) == 2
    one = ranker.score(("good film", "bad"))
    assert ranker.score(["good film", "bad"]) == ranker.score(np.array(["good film", "bad"])) == one
    assert ranker.score(np.array([["good film", "bad"]])).tolist() == [one]
    for single in (["a", "b", "c"], ["a"], iter(["a", "b"]), [("a", "b"), "c"]):
        with pytest.raises(InputError, match="is no pair: score reads pairs"):
            ranker.score(single)


@pytest.mark.parametrize(
    "ids",
    [
        *(
            None,
            3,
            "ab",
            b"ab",
            [1, 2],
            [None],
            [[1.0, 2.0]],
            [["1", "2"]],
            [[None]],
            [[1, 2.5]],
            [[Decimal(1)]],
            [[NAN]],
        ),
        *([[]], [[1], []], [[-1]], [[10**6]], [[10**30]], [[-(10**30)]], [[1] * 33], [[[1, 2]]], {1: [1]}, iter([[1]])),
        *(
            np.array([1, 2]),
            np.array([[1.5]]),
            np.array([[True]]),
            np.array([[[1]]]),
            np.array(["ab"]),
            np.array([[-1]]),
        ),
        *([np.array([1.0])], [np.float32([1])], [object()], ["12"], [{1.5}]),
    ],
)
def test_what_is_no_token_ids(classifier, ids):
    with pytest.raises(InputError):
        classifier.forward(ids)
    if ids is not None:
        with pytest.raises(InputError):
            classifier.forward([[1, 2], [3, 4]], ids)


def test_token_ids_of_numpy(classifier):
    right = classifier.forward([[2, 5, 3], [2, 6, 3]])
    for kind in (np.int32, np.int64, np.uint8, object):
        np.testing.assert_array_equal(classifier.forward(np.array([[2, 5, 3], [2, 6, 3]], kind)), right)
    np.testing.assert_array_equal(classifier.forward([(np.int64(2), 5, 3), [2, np.uint16(6), 3]]), right)


def test_options_of_load(classifier_path):
    limits = {
        "threads": none_or(lambda value: count()(value) and value <= 4096),
        "backend": none_or(choice("prebuilt", "jit", "numpy")),
        "early_exit": flag,  # the model has no exits, so no threshold is right
        "token_pruning": flag,
    }
    for name, right in limits.items():
        for value in VALUES:
            options = {"backend": "numpy", name: value}
            if right(value):
                minibert.load(classifier_path, **options)
            else:
                with pytest.raises(InputError):
                    minibert.load(classifier_path, **options)


def test_counts_of_memory(classifier):
    for wrong in (None, 0, -1, 1.5, "3", True, NAN, [1]):
        with pytest.raises(InputError):
            classifier.plan(wrong)
        with pytest.raises(InputError):
            classifier.plan(10, wrong)


def test_any_mixture_ends_in_an_answer_or_an_error_of_its_own(call):
    chooser = random.Random(0)
    one_text = ["a [MASK]", "", "\ud800 [MASK]", "\x00", "😀 [MASK]" * 9, ("a [MASK]", "b"), {"text": "a [MASK]"}, ()]
    inputs = [*one_text, [], one_text, *NO_TEXTS, *([chooser.choice(one_text)] * 3 for _ in range(20))]
    answered = 0
    for _ in range(1500):
        each = chooser.choice(CALLS)
        names = chooser.sample([*each.options, "padding", "x"], chooser.randint(0, 2))
        options = {name: chooser.choice(VALUES) for name in names}
        given = chooser.choice(inputs)
        answered += not isinstance(call(each, given, *each.arguments[1:], **options), type)
    assert answered > 100
