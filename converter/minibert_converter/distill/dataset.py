"""Texts to learn from: as token ids of teacher and student, with true labels where the data has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minibert.errors import InputError
from minibert.format.schema import Task
from minibert.text.tokenizer import Encoded, Tokenizer
from minibert_converter.calibration.tokens import tokenizer_of
from minibert_converter.network import Network

#: One text, or a pair of them.
Text = str | tuple[str, str]
#: The label of a token or text that has none; what torch's cross entropy leaves out.
NO_LABEL = -100


@dataclass(frozen=True)
class Examples:
    """Texts as they were read.

    Attributes:
        texts: texts, or pairs of them; for token classification the words of each joined by a space.
        labels: for each text what the file says of it: a label, several with commas between, a number, or for token
            classification the tags of its words; None for one of which nothing is known, and where none is.
    """

    texts: Sequence[Text]
    labels: Sequence[str | None] | Sequence[Sequence[str] | None] | None = None


@dataclass(frozen=True)
class Dataset:
    """Token ids, and the truth as numbers.

    Attributes:
        ids: for each text, its token ids in the student's vocabulary.
        types: for each text, its token types.
        teacher_ids: the same texts in the teacher's vocabulary.
        teacher_types: their token types.
        aligned: bool [texts], whether student and teacher cut a text into the same tokens, so that their rows answer
            each other; of a text with a word that the student has to spell, only the outputs do.
        per_token: whether there is an output for each token: then nothing is learned from a text that is not aligned,
            as no output of the teacher's is one of the student's pieces'.
        labels: for each text, int64 [1] (a class), int64 [tokens] (classes of tokens, NO_LABEL for those that begin no
            word) or float32 [labels] (several labels, or a score), NO_LABEL or NaN where nothing is known of the text;
            None where no labels are known.
    """

    ids: list[list[int]]
    types: list[list[int]]
    teacher_ids: list[list[int]]
    teacher_types: list[list[int]]
    aligned: npt.NDArray[np.bool_]
    per_token: bool = False
    labels: list[np.ndarray] | None = None

    @property
    def usable(self) -> npt.NDArray[np.int64]:
        """Numbers of the texts that are learned from."""
        return np.flatnonzero(self.aligned) if self.per_token else np.arange(len(self.ids))


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
    read: list[tuple[Encoded, Encoded]] = []
    kept = []
    for number, text in enumerate(texts):
        pair = (text, None) if isinstance(text, str) else text
        encoded = reader.encode(*pair)
        if not encoded.ids:
            continue
        mine = encoded if same else own.encode(*pair)
        read.append((mine, encoded))
        kept.append(number)
    per_token = task.kind == "token-classification"
    if not read or (per_token and all(len(mine.ids) != len(encoded.ids) for mine, encoded in read)):
        raise InputError("distillation needs at least one text with a token in it")
    ids, types = [mine.ids for mine, _ in read], [_types(mine) for mine, _ in read]
    aligned = np.array([len(mine.ids) == len(encoded.ids) for mine, encoded in read])
    teachers = (ids, types) if same else ([one.ids for _, one in read], [_types(one) for _, one in read])
    truth = None
    if labels is not None and per_token:
        truth = [
            np.full(len(ids[place]), NO_LABEL)
            if labels[i] is None or not aligned[place]
            else _tags(reader, str(texts[i]), labels[i], task, len(ids[place]))
            for place, i in enumerate(kept)
        ]
    elif labels is not None:
        number_of = _label_reader(task)
        truth = [number_of(labels[i]) for i in kept]
    return Dataset(ids, types, *teachers, aligned, per_token, truth)


def _types(encoded: Encoded) -> list[int]:
    return list(encoded.type_ids or [0] * len(encoded.ids))


def _label_reader(task: Task) -> Callable[[Any], np.ndarray]:
    """What makes numbers of what a file says of a text: of None, those that say that nothing is known."""
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

    read = {"single_label": one, "multi_label": several, "regression": score}[task.problem_type]
    unknown = np.array([NO_LABEL]) if read is one else np.full(len(task.labels), np.nan, np.float32)
    return lambda label: unknown if label is None else read(str(label))


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
