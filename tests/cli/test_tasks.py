"""predict --task and eval, for every task."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from unittest.mock import ANY

import pytest

from minibert.cli.predict_tasks import OPTIONS
from minibert.cli.predict_tasks import TASKS as ANSWERABLE
from minibert.datasets import _joined, listed
from minibert.evaluate.examples import TASKS as MEASURABLE

TEXTS = ["a great movie", "", "the plot was bad"]
STDIN = "".join(f"{text}\n" for text in TEXTS)
CONTEXT = "the plot was good and the actor was not very bad"


#: For every task a file, options, lines of stdin, and how many lines of JSON they make.
BY_TASK = {
    "text-classification": ("classifier", [], TEXTS, 3),
    "token-classification": ("tokens", [], TEXTS, 3),
    "question-answering": ("questions", [], [f"who\t{CONTEXT}", f"was it good\t{CONTEXT}"], 2),
    "fill-mask": ("masks", [], ["a [MASK] movie", "the [MASK]"], 2),
    "zero-shot-classification": ("inference", ["--labels", "film,plot"], TEXTS, 3),
    "reranking": ("regression", ["--query", "good film"], TEXTS, 1),
    "feature-extraction": ("embedder", [], TEXTS, 3),
}


def test_every_task_reads_stdin_and_writes_json(run, tiny_folder):
    assert set(BY_TASK) == set(ANSWERABLE)
    for task, (file, options, lines, count) in BY_TASK.items():
        path = tiny_folder / f"{file}.safetensors"
        outcome = run("predict", path, "--task", task, "--json", *options, stdin="\n".join(lines) + "\n")
        assert (outcome.code, outcome.err) == (0, "")
        assert len(outcome.json_lines) == count


def test_token_classification(run, tagger, tiny_folder):
    path = tiny_folder / "tokens.safetensors"
    assert run("predict", path, "--json", stdin=STDIN).json_lines == tagger.predict(TEXTS)
    outcome = run("predict", path, *TEXTS, "--task", "ner", "--aggregation", "simple", "--ignore-labels", "", "--json")
    assert outcome.json_lines == tagger.predict(TEXTS, aggregation_strategy="simple", ignore_labels=[])
    long = "a great movie " * 20
    outcome = run("predict", path, long, "--aggregation", "max", "--stride", 4, "--json")
    assert outcome.json_lines == tagger.predict([long], aggregation_strategy="max", stride=4)
    assert outcome.err == ""
    shown = run("predict", path, TEXTS[0], "--ignore-labels", "none").out.splitlines()
    assert shown[0] == TEXTS[0]
    assert len(shown) == 4
    assert shown[2].endswith("great 2-7")


def test_question_answering(run, answerer, tiny_folder):
    path = tiny_folder / "questions.safetensors"
    wanted = answerer.predict([("who", CONTEXT), ("was it good", CONTEXT)])
    assert run("predict", path, "who", "was it good", "--context", CONTEXT, "--json").json_lines == wanted
    lines = f"who\t{CONTEXT}\nwas it good\t{CONTEXT}\n"
    assert run("predict", path, "--task", "question-answering", "--json", stdin=lines).json_lines == wanted
    assert run("predict", path, "--question", "who", "--context", CONTEXT, "--json").json == wanted[0]
    options = ["--top-k", 3, "--max-answer-len", 2, "--doc-stride", 3, "--impossible", "--json"]
    outcome = run("predict", path, "--question", "who", *options, stdin=CONTEXT)
    assert outcome.json == answerer.predict(
        ("who", CONTEXT), top_k=3, max_answer_len=2, doc_stride=3, handle_impossible_answer=True
    )
    shown = run("predict", path, "who", "--context", CONTEXT).out
    assert f"{wanted[0]['answer']} {wanted[0]['start']}-{wanted[0]['end']}" in shown


def test_fill_mask(run, filler, tiny_folder):
    path = tiny_folder / "masks.safetensors"
    texts = ["a [MASK] movie", "[MASK] and [MASK]"]
    wanted = filler.predict(texts, top_k=2, targets=["plot", "bad", "good"])
    outcome = run("predict", path, "--top-k", 2, "--targets", "plot,bad, good", "--json", stdin="\n".join(texts))
    assert outcome.json_lines == wanted
    shown = run("predict", path, *texts).out.splitlines()
    assert len(shown) == 6 + 13
    assert run("predict", path, "no mask").code == 1


@pytest.fixture
def without() -> Iterator[Callable[[dict, str], None]]:
    """Takes keys out of dicts until the test ends; their order, which help pages show, is then as before."""
    kept: list[tuple[dict, dict]] = []

    def take(mapping: dict, key: str) -> None:
        kept.append((mapping, dict(mapping)))
        del mapping[key]

    yield take
    for mapping, before in kept:
        mapping.clear()
        mapping.update(before)


def test_a_kind_without_options_of_its_own(run, filler, tiny_folder, tmp_path, without):
    path = tiny_folder / "masks.safetensors"
    without(ANSWERABLE, "fill-mask")
    without(OPTIONS, "targets")
    without(MEASURABLE, "fill-mask")
    outcome = run("predict", path, "a [MASK] movie")
    assert outcome.out == f"{json.dumps(filler.predict('a [MASK] movie'))}  a [MASK] movie\n"
    assert "--top-k is no option of fill-mask" in run("predict", path, "a [MASK]", "--top-k", 2).err
    (tmp_path / "data.tsv").write_text("text\tlabel\na [MASK]\tplot\n")
    outcome = run("eval", path, tmp_path / "data.tsv", "--text", "text", "--label", "label")
    assert (outcome.code, outcome.out) == (1, "")
    assert "there is no measure of fill-mask" in outcome.err


def test_zero_shot(run, inference, tiny_folder):
    path = tiny_folder / "inference.safetensors"
    wanted = inference.predict(TEXTS, candidate_labels="film,plot")
    assert run("predict", path, "--labels", "film,plot", "--json", stdin=STDIN).json_lines == wanted
    options = ["--labels", "film,plot", "--multi-label", "--template", "a {} !", "--json"]
    outcome = run("predict", path, *TEXTS, "--task", "zero-shot-classification", *options)
    assert outcome.json_lines == inference.zero_shot(TEXTS, "film,plot", multi_label=True, hypothesis_template="a {} !")
    assert run("predict", path, "a", "--labels", "film,plot").out.splitlines()[0] == "a"
    assert "--labels" in run("predict", path, "a", "--task", "zero-shot-classification").err


def test_reranking(run, ranker, tiny_folder):
    path = tiny_folder / "regression.safetensors"
    wanted = ranker.rank("good film", TEXTS, top_k=2, return_documents=True)
    assert run("predict", path, "--query", "good film", "--top-k", 2, "--json", stdin=STDIN).json == wanted
    shown = run("predict", path, "--task", "reranking", "--query", "good film", *TEXTS).out.splitlines()
    assert len(shown) == 3
    assert "--query" in run("predict", path, "--task", "reranking", "a").err


def test_features(run, embedder, embedder_path):
    outcome = run("predict", embedder_path, "--task", "feature-extraction", "--json", stdin=STDIN)
    assert outcome.json_lines == [embedder.features(text).tolist() for text in TEXTS]


def test_sparse_vectors(run, filler, tiny_folder):
    path = tiny_folder / "masks.safetensors"
    found = run("encode", path, "--sparse", stdin=STDIN).json_lines
    for made, vector in zip(found, filler.encode_sparse(TEXTS), strict=True):
        words = [filler.tokenizer.token(id) for id in vector.indices.tolist()]
        assert made == dict(zip(words, map(float, map(str, vector.values)), strict=True))
        assert list(made.values()) == sorted(made.values(), reverse=True)
    assert "--truncate-dim is no option of --sparse" in run("encode", path, "--sparse", "--truncate-dim", 2, "a").err
    assert "is a fill-mask model" in run("encode", path, "a").err
    assert run("encode", tiny_folder / "tokens.safetensors", "--sparse", "a").code == 1


def test_tasks_that_the_file_is_not_for(run, tiny_folder):
    files = {
        "token-classification": "tokens",
        "question-answering": "questions",
        "fill-mask": "masks",
        "text-classification": "classifier",
    }
    for task in files:
        for own, file in files.items():
            if task != own:
                outcome = run("predict", tiny_folder / f"{file}.safetensors", "a\tb", "--task", task)
                assert outcome.code == 1
                assert f"is a {own} model" in outcome.err


@pytest.mark.parametrize(
    ("file", "option"),
    [
        ("tokens", ["--top-k", "2"]),
        ("masks", ["--stride", "2"]),
        ("classifier", ["--aggregation", "max"]),
        ("classifier", ["--context", "text"]),
        ("questions", ["--pair"]),
        ("tokens", ["--multi-label"]),
    ],
)
def test_options_of_other_tasks(run, tiny_folder, file, option):
    outcome = run("predict", tiny_folder / f"{file}.safetensors", "a", *option)
    assert outcome.code == 1
    assert f"{option[0]} is no option of" in outcome.err


def test_eval_of_entities(run, tagger, tiny_folder, tmp_path):
    """With the model's own answers as truth every entity is found; with one tag changed, one is not."""
    sentences = [["a", "great", "movie"], ["the", "plot", "was", "bad", "xyz!"]]
    tagged = []
    for words in sentences:
        text = " ".join(words)
        first = {each["start"]: each["entity"] for each in tagger.predict(text, ignore_labels=())}
        starts = [len(" ".join(words[:place])) + (place > 0) for place in range(len(words))]
        tagged.append([(word, first[start]) for word, start in zip(words, starts, strict=True)])
    path = tmp_path / "data.conll.gz"

    def write(separator: str) -> None:
        blocks = ["".join(f"{word}{separator}{tag}\n" for word, tag in sentence) for sentence in tagged]
        path.write_bytes(gzip.compress("\n".join(blocks).encode()))

    write("\t")
    model = tiny_folder / "tokens.safetensors"
    figures = run("eval", model, path, "--json").json
    assert figures["texts"] == 2
    assert (figures["entity_f1"], figures["entity_precision"], figures["entity_recall"]) == (1, 1, 1)
    tagged[0].append(("good", "B-person" if tagger.predict("a great movie good") == [] else "B-thing"))
    write(" - X ")
    figures = run("eval", model, path, "--json").json
    assert figures["entity_recall"] < 1
    assert "entity F1" in run("eval", model, path).out
    path.write_bytes(gzip.compress(b"word\n"))
    assert "line 1: must be a word and its tag" in run("eval", model, path).err
    path.write_bytes(gzip.compress(b"\n"))
    assert "no sentences" in run("eval", model, path).err
    assert "--text is no option of token-classification" in run("eval", model, path, "--text", "x").err


def test_eval_of_answers(run, answerer, tiny_folder, tmp_path):
    answer = answerer.predict(("who", CONTEXT))["answer"]
    other = answerer.predict(("what", CONTEXT))["answer"]

    def question(text: str, *answers: str) -> dict:
        return {"question": text, "answers": [{"text": each, "answer_start": 0} for each in answers]}

    asked = [question("who", "nothing", f"The {answer.upper()}!"), question("what", f"{other} zebra")]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": asked}]}]}))
    model = tiny_folder / "questions.safetensors"
    figures = run("eval", model, path, "--json").json
    words = len([word for word in other.split() if word not in ("a", "an", "the")])
    assert figures["exact_match"] == 0.5
    assert figures["f1"] == pytest.approx((1 + 2 * words / (2 * words + 1)) / 2)
    path.write_text("{}")
    assert "SQuAD" in run("eval", model, path).err
    lines = tmp_path / "questions.jsonl"
    flat = [
        {"question": "who", "context": CONTEXT, "answers": {"text": [answer], "answer_start": [0]}},
        {"question": "what", "context": CONTEXT, "answers": [f"{other} zebra"]},
    ]
    lines.write_text("".join(f"{json.dumps(each)}\n" for each in flat))
    again = run("eval", model, lines, "--json").json
    assert (again["exact_match"], again["f1"]) == (figures["exact_match"], figures["f1"])
    lines.write_text('{"question": "who", "context": "x", "answers": "x"}\n')
    assert "questions.jsonl, line 1: must have" in run("eval", model, lines).err


def test_eval_of_masked_words(run, filler, tiny_folder, tmp_path):
    texts = ["a [MASK] movie", "the plot [MASK] bad", "it is [MASK]"]
    best = [[each["token_str"] for each in filler.predict(text)] for text in texts]
    rows = [(texts[0], best[0][0]), (texts[1], best[1][4]), (texts[2], "zebra crossing")]
    path = tmp_path / "masks.tsv"
    path.write_text("text\tword\n" + "".join(f"{text}\t{word}\n" for text, word in rows))
    command = ["eval", tiny_folder / "masks.safetensors", path, "--text", "text", "--label", "word"]
    figures = run(*command, "--json").json
    assert figures["task"] == "fill-mask"
    assert [figures[each] for each in ("accuracy", "top_5_accuracy", "single_token")] == [1 / 3, 2 / 3, 2 / 3]
    assert "among the best five  66.67 %" in run(*command).out
    path.write_text("text\tword\n[MASK] and [MASK]\tbad\n")
    assert "has 2 masks" in run(*command).err


def test_eval_of_zero_shot(run, inference, tiny_folder, tmp_path):
    texts = ["a great movie", "the plot was bad", "hello world", "not very good"]
    chosen = [each["labels"][0] for each in inference.zero_shot(texts, ["film", "plot"])]
    truth = [*chosen[:3], "film" if chosen[3] == "plot" else "plot"]
    path = tmp_path / "topics.jsonl"
    path.write_text("".join(json.dumps({"t": t, "y": y}) + "\n" for t, y in zip(texts, truth, strict=True)))
    command = ["eval", tiny_folder / "inference.safetensors", path, "--text", "t", "--label", "y"]
    figures = run(*command, "--labels", "film,plot", "--json").json
    assert (figures["task"], figures["accuracy"], figures["labels"]) == ("zero-shot-classification", 0.75, 2)
    assert set(truth) == {"film", "plot"}  # so that they may also be taken from the table
    assert run(*command, "--task", "zero-shot-classification", "--json").json == figures | {
        "seconds": ANY,
        "texts_per_second": ANY,
    }
    template = "a {} !"
    by_template = [each["labels"][0] for each in inference.zero_shot(texts, "film,plot", hypothesis_template=template)]
    right = sum(a == b for a, b in zip(by_template, truth, strict=True))
    assert run(*command, "--labels", "film,plot", "--template", template, "--json").json["accuracy"] == right / 4
    assert "none of the labels" in run(*command, "--labels", "x,y").err
    command[1] = tiny_folder / "multi.safetensors"
    assert "natural language inference" in run(*command, "--labels", "film,plot").err


def test_eval_of_rankings(run, ranker, embedder, embedder_path, tiny_folder, tmp_path):
    """A table whose grades are the model's own order is ranked perfectly; upside down, as badly as can be."""
    documents = ["a great movie", "the plot was bad", "hello world"]
    path = tmp_path / "documents.csv"

    def write(order: list[int]) -> None:
        grades = {place: len(order) - 1 - rank for rank, place in enumerate(order)}
        rows = [f"good film,{document},{grades[place]}\n" for place, document in enumerate(documents)]
        path.write_text("q,d,grade\n" + "".join(rows) + "other,all the same,1\n")

    scores = embedder.similarity(embedder.encode_query("good film"), embedder.encode_document(documents))[0]
    orders = {
        tiny_folder / "regression.safetensors": [each["corpus_id"] for each in ranker.rank("good film", documents)],
        embedder_path: (-scores).argsort(kind="stable").tolist(),
    }
    for model, order in orders.items():
        command = ["eval", model, path, "--query", "q", "--text", "d", "--label", "grade"]
        write(order)
        figures = run(*command, "--json").json
        assert (figures["task"], figures["queries"], figures["texts"]) == ("reranking", 1, 3)
        assert (figures["ndcg_at_10"], figures["mrr"]) == (pytest.approx(1), 1)
        write(order[::-1])
        figures = run(*command, "--json").json
        assert figures["ndcg_at_10"] == pytest.approx((1 / math.log2(3) + 2 / 2) / (2 + 1 / math.log2(3)))
        assert figures["mrr"] == 1 / 2
        assert "nDCG@10" in run(*command).out
    assert "is a token-classification model" in run("eval", tiny_folder / "tokens.safetensors", *command[2:]).err
    path.write_text("q,d,grade\nx,y,1\nx,z,1\n")
    assert "nothing to rank" in run(*command).err
    path.write_text("q,d,grade\nx,y,good\n")
    assert "must be numbers" in run(*command).err


def test_eval_needs_to_know_the_columns(run, classifier_path, tmp_path):
    path = tmp_path / "data.tsv"
    path.write_text("label\ttext\npositive\ta\n")
    assert run("eval", classifier_path, path).code == 0
    path.write_text("kind\tbody\npositive\ta\n")
    err = run("eval", classifier_path, path).err
    assert "none of its columns is called text or" in err
    assert "name one by --text COL; there are: kind, body" in err
    assert "by --label COL" in run("eval", classifier_path, path, "--text", "body").err
    assert run("eval", classifier_path, path, "--text", "body", "--label", "kind").code == 0


def test_second_texts_are_found_beside_first_ones(run, embedder_path, tmp_path):
    path = tmp_path / "data.tsv"
    path.write_text("score\tsentence1\tsentence2\n1\ta\tmovie\n5\ta\ta\n3\tbad\tplot\n")
    assert run("eval", embedder_path, path, "--json").json["texts"] == 3


def test_labels_with_commas(run, inference, tiny_folder, tmp_path):
    path = tiny_folder / "inference.safetensors"
    labels = ["film, new", "plot"]
    wanted = inference.zero_shot("a film", labels)
    assert run("predict", path, "a film", "--labels", '"film, new", plot', "--json").json_lines == [wanted]
    data = tmp_path / "data.tsv"
    data.write_text("text\tlabel\na film\tfilm, new\na\tplot\n")
    assert run("eval", path, data, "--labels", '"film, new",plot', "--json").json["labels"] == 2
    assert listed('a, "b, ""c""",, d') == ["a", 'b, "c"', "d"]
    assert listed(_joined(['a "b"', "c, d", "e"])) == ['a "b"', "c, d", "e"]


def test_all_answers(run, filler, tiny_folder):
    (answer,) = run("predict", tiny_folder / "masks.safetensors", "a [MASK]", "--top-k", "all", "--json").json_lines
    assert len(answer) == filler.config.architecture.vocab_size
    (answers,) = run(
        "predict", tiny_folder / "questions.safetensors", "--question", "a", "good bad", "--top-k", "all", "--json"
    ).json_lines
    assert len(answers) > 1
