"""Every task against transformers' own pipelines (see tests/golden/make_pipelines.py), field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import minibert
from minibert_converter.convert import convert
from tests.pipelines import CANDIDATES, MASKED, QUESTIONS, TARGETS, TEMPLATE, TEXTS, spans, write_task

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "pipelines.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    made = {}
    for task in GOLDEN:
        convert(write_task(folder / task, task), folder / f"{task}.safetensors", quantize="none")
        made[task] = minibert.load(folder / f"{task}.safetensors", backend="numpy")
    return made


def alike(made: Any, wanted: Any) -> None:
    """The same nesting, keys, texts and numbers; scores as near as float32 comes."""
    if isinstance(wanted, dict):
        assert isinstance(made, dict)
        assert set(made) == set(wanted)
        for key, value in wanted.items():
            alike(made[key], value)
    elif isinstance(wanted, list):
        assert isinstance(made, list)
        assert len(made) == len(wanted), (made, wanted)
        for one, other in zip(made, wanted, strict=True):
            alike(one, other)
    elif isinstance(wanted, float):
        assert type(made) is float
        assert made == pytest.approx(wanted, abs=2e-5, rel=1e-4)
    else:
        assert type(made) is type(wanted)
        assert made == wanted


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_entities(models, strategy):
    answers = models["token-classification"].predict(TEXTS, aggregation_strategy=strategy)
    alike(answers, GOLDEN["token-classification"][strategy])


def test_entities_of_long_texts(models):
    long = [text * 6 for text in TEXTS]
    answers = models["token-classification"].predict(long, aggregation_strategy="simple", stride=5)
    alike(answers, GOLDEN["token-classification"]["stride"])


def test_masks(models):
    alike(models["fill-mask"].predict(MASKED), GOLDEN["fill-mask"]["best"])
    alike(models["fill-mask"].predict(MASKED[0], targets=TARGETS), GOLDEN["fill-mask"]["targets"])


def test_zero_shot(models):
    alike(models["nli"].predict(TEXTS, candidate_labels=CANDIDATES), GOLDEN["nli"]["one"])
    answers = models["nli"].zero_shot(TEXTS, CANDIDATES, multi_label=True, hypothesis_template=TEMPLATE)
    alike(answers, GOLDEN["nli"]["many"])


@pytest.mark.parametrize(("longest", "impossible"), [(15, False), (3, True)])
def test_answers(models, longest, impossible):
    model = models["question-answering"]
    options = {"doc_stride": 8, "max_answer_len": longest, "handle_impossible_answer": impossible}
    for (question, context), windows in zip(QUESTIONS, GOLDEN["question-answering"], strict=True):
        wanted = spans(windows, context, longest, impossible)
        alike(model.predict(question=question, context=context, top_k=5, **options), wanted[:5])
        alike(model.predict((question, context), **options), wanted[0])
    assert len(GOLDEN["question-answering"][2]) > 1
