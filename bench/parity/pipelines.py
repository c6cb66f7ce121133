"""minibert against the pipelines of transformers, and for answers to questions against the logits of its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

import minibert
from bench.parity.checkpoints import write
from bench.parity.compare import Row, compare
from minibert_converter.convert import convert
from tests.pipelines import spans

STRATEGIES = ("none", "simple", "first", "average", "max")
CANDIDATES = ["politics", "sport", "food & drink 🍕"]
TEMPLATE = "It is about {}!"
QUESTIONS = ("Who is it?", "wo ist das 🚀?", "東京はどこ", "מי זה?")
#: A question and a part of its context: short, so that contexts have several windows.
WINDOW, STRIDE = 64, 16


def rows(folder: Path, texts: Sequence[str], own: Sequence[Path]) -> Iterator[Row]:
    """All comparisons, on `own` checkpoints or else on made-up ones."""
    comparisons = {
        "ner": _entities,
        "ner-bytes": _entities,
        "masks": _masks,
        "masks-bytes": _masks,
        "nli": _zero_shot,
        "labels": _labels,
        "questions": _questions,
        "questions-bytes": _questions,
        "encoder": _features,
    }
    for name, comparison in comparisons.items() if not own else ():
        yield from comparison(
            write(folder, name, texts), _converted(folder / name, folder / f"{name}.safetensors"), texts
        )
    by_task = {
        "token-classification": _entities,
        "fill-mask": _masks,
        "text-classification": _labels,
        "question-answering": _questions,
        "sentence-embedding": _features,
    }
    for number, checkpoint in enumerate(own):
        model = _converted(checkpoint, folder / f"own{number}.safetensors")
        yield from by_task[model.task.kind](checkpoint, model, texts)


def _converted(checkpoint: Path, file: Path) -> minibert.Model:
    convert(checkpoint, file, quantize="none")
    return minibert.load(file, threads=1)


def _pipe(task: str, checkpoint: Path) -> Any:
    return transformers.pipeline(task, str(checkpoint), dtype=torch.float32, device="cpu")


def _plain(value: Any) -> Any:
    """Numbers of NumPy and tensors as Python's."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value


def _entities(checkpoint: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    pipe = _pipe("token-classification", checkpoint)
    for strategy in STRATEGIES:
        wanted = [_plain(pipe(text, aggregation_strategy=strategy)) for text in texts]
        made = model.predict(list(texts), aggregation_strategy=strategy)
        guessed = (lambda text: _words_guessed(model, text)) if strategy not in ("none", "simple") else lambda _: False
        yield compare(f"{checkpoint.name}: entities, {strategy}", texts, made, wanted, guessed)
    # No token of any kind left out.
    wanted = [_plain(pipe(text, aggregation_strategy="none", ignore_labels=[])) for text in texts]
    yield compare(f"{checkpoint.name}: every token", texts, model.predict(list(texts), ignore_labels=[]), wanted)
    long = [text * 8 for text in texts]
    wanted = [_plain(pipe(text, aggregation_strategy="simple", stride=20)) for text in long]
    made = model.predict(long, aggregation_strategy="simple", stride=20)
    yield compare(f"{checkpoint.name}: long texts, stride", long, made, wanted)


def _words_guessed(model: minibert.Model, text: str) -> bool:
    """Whether transformers takes some token for the continuation of a word otherwise than the vocabulary has it.

    With ## it compares the lengths of token and text; without, it looks for a space, not for white space.
    """
    content = model.tokenizer.content(text)
    for id, token, (start, end) in zip(content.ids, content.tokens, content.offsets, strict=True):
        around = text[max(start - 1, 0) : start + 1]
        if id == model.tokenizer.unknown_id:
            continue
        if model.tokenizer.continuing_prefix:
            if token.startswith(model.tokenizer.continuing_prefix) != (len(token) != end - start):
                return True
        elif start > 0 and (" " in around) != any(each.isspace() for each in around):
            return True
    return False


def _masks(checkpoint: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    pipe = _pipe("fill-mask", checkpoint)
    mask = pipe.tokenizer.mask_token
    one = [f"{text[: len(text) // 2]} {mask}{text[len(text) // 2 :]}" for text in texts]
    yield compare(f"{checkpoint.name}: one mask", one, model.predict(one), [_plain(pipe(text)) for text in one])
    two = [f"{mask} {text} {mask}" for text in texts]
    yield compare(f"{checkpoint.name}: two masks", two, model.predict(two), [_plain(pipe(text)) for text in two])
    vocabulary = sorted(pipe.tokenizer.get_vocab())
    targets = [token for token in vocabulary if token.isascii() and token.isalpha()][:12]
    wanted = [_plain(pipe(text, targets=targets)) for text in one]
    yield compare(f"{checkpoint.name}: targets", one, model.predict(one, targets=targets), wanted)


def _zero_shot(checkpoint: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    pipe = _pipe("zero-shot-classification", checkpoint)
    options: dict[str, dict[str, Any]] = {
        "one label": {},
        "any number of labels": {"multi_label": True, "hypothesis_template": TEMPLATE},
    }
    for name, chosen in options.items():
        wanted = [_plain(pipe(text, CANDIDATES, **chosen)) for text in texts]
        made = model.zero_shot(list(texts), CANDIDATES, **chosen)
        yield compare(f"{checkpoint.name}: {name}", texts, made, wanted)


def _labels(checkpoint: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    pipe = _pipe("text-classification", checkpoint)
    cut = {"truncation": True}
    wanted = [_plain(pipe(text, **cut))[0] for text in texts]
    yield compare(f"{checkpoint.name}: best label", texts, model.predict(list(texts)), wanted)
    wanted = [_plain(pipe(text, top_k=None, **cut)) for text in texts]
    yield compare(f"{checkpoint.name}: all labels", texts, model.predict(list(texts), top_k=None), wanted)
    pairs = list(zip(texts, reversed(texts), strict=True))
    wanted = [_plain(pipe({"text": text, "text_pair": pair}, function_to_apply="none", **cut)) for text, pair in pairs]
    made = model.predict(pairs, function_to_apply="none")
    yield compare(f"{checkpoint.name}: pairs", pairs, made, wanted)


def _features(checkpoint: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    pipe = _pipe("feature-extraction", checkpoint)
    wanted = [pipe(text, truncation=True, return_tensors="pt")[0].numpy() for text in texts]
    yield compare(f"{checkpoint.name}: features", texts, model.features(list(texts)), wanted)


def _questions(checkpoint: Path, model: minibert.Model, texts: Sequence[str]) -> Iterator[Row]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(checkpoint, dtype=torch.float32).eval()
    asked = [(QUESTIONS[place % len(QUESTIONS)], text) for place, text in enumerate(texts)]
    windows = [_windows(tokenizer, network, *each) for each in asked]
    read: dict[str, Any] = {"top_k": 3, "max_length": WINDOW, "doc_stride": STRIDE}
    for longest, impossible in ((15, False), (4, True)):
        wanted = [spans(each, text, longest, impossible)[:3] for each, (_, text) in zip(windows, asked, strict=True)]
        made = model.predict(asked, max_answer_len=longest, handle_impossible_answer=impossible, **read)
        name = f"{checkpoint.name}: answers" + (", or none" if impossible else "")
        yield compare(name, asked, made, wanted)


def _windows(tokenizer: Any, network: Any, question: str, context: str) -> list[Any]:
    """Logits of each window of a context, whose token is whose, of which word, from which characters."""
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=WINDOW, stride=STRIDE,
        return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True,
    )  # fmt: skip
    found = []
    for number, ids in enumerate(encoded["input_ids"]):
        types = encoded["token_type_ids"][number]
        with torch.no_grad():
            out = network(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        logits = torch.stack([out.start_logits[0], out.end_logits[0]]).tolist()
        owners, offsets = encoded.sequence_ids(number), encoded["offset_mapping"][number]
        found.append([logits, owners, encoded.word_ids(number), offsets])
    return found
