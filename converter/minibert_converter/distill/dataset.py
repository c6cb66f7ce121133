"""Texts to learn from: as token ids of teacher and student, with true labels where the data has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minibert.errors import InputError
from minibert.format.schema import Task
from minibert.text.tokenizer import Tokenizer
from minibert_converter.calibration.tokens import tokenizer_of
from minibert_converter.network import Network

#: The label of a token or text that has none; what torch's cross entropy leaves out.
NO_LABEL = -100


@dataclass(frozen=True)
class Examples:
    """Texts as they were read.

    Attributes:
        texts: texts, or pairs of them; for token classification the words of each joined by a space.
        labels: for each text what the file says of it: a label, several with commas between, a number, or for token
            classification the tags of its words; None where labels are not known.
    """

    texts: list[str | tuple[str, str]]
    labels: list[str] | list[tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Dataset:
    """Token ids, and the truth as numbers.

    Attributes:
        ids: for each text, its token ids in the student's vocabulary.
        types: for each text, its token types.
        teacher_ids: the same texts in the teacher's vocabulary, as many tokens each.
        labels: for each text, int64 [1] (a class), int64 [tokens] (classes of tokens, NO_LABEL for those that begin no
            word) or float32 [labels] (several labels, or a score); None where labels are not known.
    """

    ids: list[list[int]]
    types: list[list[int]]
    teacher_ids: list[list[int]]
    labels: list[np.ndarray] | None = None


def make_dataset(examples: Examples, student: Network, teacher: Network, max_length: int = 0) -> Dataset:
    """Reads texts with both tokenizers.

    Sentence embeddings learn from single texts: pairs are taken apart, and labels, which say how alike they are, left
    out.

    Args:
        examples: texts and labels.
        student: whose vocabulary may be a part of the teacher's.
        teacher: the model that it is to be like.
        max_length: tokens of a text to read; 0 as many as the student takes.

    Raises:
        InputError: a label the model does not have, or no text with a token in it.
    """
    task, texts, labels = teacher.task, list(examples.texts), examples.labels
    if task.kind == "sentence-embedding":
        singles = [part for text in texts for part in ((text,) if isinstance(text, str) else text)]
        texts, labels = list(dict.fromkeys(singles)), None
    limit = min(max_length or student.text.max_length, student.text.max_length)
    reader, own = tokenizer_of(teacher, limit), tokenizer_of(student, limit)
    same = student.tokenizer_json == teacher.tokenizer_json
    ids, types, teacher_ids, kept = [], [], [], []
    for number, text in enumerate(texts):
        pair = (text, None) if isinstance(text, str) else text
        encoded = reader.encode(*pair)
        if not encoded.ids:
            continue
        mine = encoded if same else own.encode(*pair)
        if len(mine.ids) != len(encoded.ids):
            continue  # a word that the student has to spell: hidden states of the two do not answer each other
        ids.append(mine.ids)
        types.append(mine.type_ids or [0] * len(mine.ids))
        teacher_ids.append(encoded.ids)
        kept.append(number)
    if not ids:
        raise InputError("distillation needs at least one text with a token in it")
    teacher_ids = ids if same else teacher_ids
    if labels is None:
        return Dataset(ids, types, teacher_ids)
    if task.kind == "token-classification":
        truth = [_tags(reader, str(texts[i]), labels[i], task, len(teacher_ids[place])) for place, i in enumerate(kept)]
    else:
        read = _label_reader(task)
        truth = [read(str(labels[i])) for i in kept]
    return Dataset(ids, types, teacher_ids, truth)


def _label_reader(task: Task):  # noqa: ANN202
    names = {name: number for number, name in enumerate(task.labels)}
    numbers = {str(number): number for number in range(len(task.labels))}

    def number_of(label: str) -> int:
        number = names.get(label, numbers.get(label))
        if number is None:
            raise InputError(f"{label!r} is no label of the teacher, which has: {', '.join(task.labels[:8])}, ...")
        return number

    def one(label: str) -> np.ndarray:
        return np.array([number_of(label)])

    def several(label: str) -> np.ndarray:
        row = np.zeros(len(task.labels), np.float32)
        row[[number_of(part.strip()) for part in label.split(",") if part.strip()]] = 1
        return row

    def score(label: str) -> np.ndarray:
        try:
            return np.array([float(label)], np.float32)
        except ValueError:
            raise InputError(f"{label!r} is no number, and the teacher gives scores") from None

    return {"single_label": one, "multi_label": several, "regression": score}[task.problem_type]


def _tags(reader: Tokenizer, text: str, tags: Sequence[str], task: Task, length: int) -> np.ndarray:
    """Classes of the tokens that begin words; int64 [tokens, special ones included]."""
    names = {name: number for number, name in enumerate(task.labels)}
    unknown = sorted(set(tags) - names.keys())
    if unknown:
        raise InputError(f"{unknown[0]!r} is no label of the teacher, which has: {', '.join(task.labels)}")
    starts, begin = {}, 0
    for word, tag in zip(text.split(" "), tags, strict=True):
        starts[begin] = names[tag]
        begin += len(word) + 1
    before = len(reader.frame(False).before)
    row = np.full(length, NO_LABEL)
    for place, (start, _) in enumerate(reader.content(text).offsets[: length - before], before):
        if start in starts:
            row[place] = starts.pop(start)
    return row
