"""What tasks make of texts: pieces for the batcher, and answers from what was found in them.

Everything here is what the methods of `Model` do, but for the passes, which requests share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minibert.engine.batch import pack
from minibert.errors import UnsupportedError
from minibert.model import Model
from minibert.reading import Reader
from minibert.serve.batcher import Piece, Work
from minibert.serve.bounds import Bounds
from minibert.serve.refusals import TooMuch, WrongField
from minibert.tasks import vectors
from minibert.tasks.features import SparseReader
from minibert.tasks.scores import sigmoid, softmax
from minibert.tasks.several_vectors import VectorsReader
from minibert.tasks.text_classification import BEST, Classifier
from minibert.tasks.token_vectors import SideReader
from minibert.tasks.zero_shot import ZeroShot
from minibert.text.tokenizer import Encoded

Texts = Sequence[tuple[str, "str | None"]]


class Cutter:
    """Texts to tokens, within what a request may have.

    Args:
        model: whose tokenizer is used.
        bounds: say how many texts and tokens there may be.
        truncate: whether texts that are too long are cut, or refused.
    """

    def __init__(self, model: Model, bounds: Bounds, truncate: bool) -> None:
        self.model: Model = model
        self.bounds: Bounds = bounds
        self.truncate: bool = truncate
        self.tokens: int = 0

    def admit(self, texts: Sequence[str], times: int = 1) -> None:
        """Refuse more texts, or texts of more tokens, than a request may have, before all of them are made.

        Args:
            texts: what is read.
            times: how often each of them is.
        """
        if len(texts) * times > self.bounds.texts:
            raise TooMuch(f"{len(texts) * times} texts, more than the {self.bounds.texts} that a request may have")
        # Few tokens have less than a byte: most requests need no counting.
        if sum(map(len, texts)) * 4 * times > self.bounds.tokens:
            self._check(sum(self.model.tokenizer.count(text) for text in texts) * times)

    def encode(
        self, texts: Texts, max_length: int | None = None, *, only_first: bool = False, what: str = "text"
    ) -> list[Encoded]:
        """Token ids of texts and pairs, cut to the model's length."""
        encoded = self.model.tokenizer.encode_many(texts, max_length, only_first)
        for number, each in enumerate(encoded):
            self.check_cut(each.truncated, f"{what} {number}", texts[number], max_length)
            self._spend(len(each.ids))
        return encoded

    def check_cut(self, truncated: bool, which: str, text: tuple[str, str | None], max_length: int | None) -> None:
        """Refuse a text that was cut, unless that was asked for."""
        if truncated and not self.truncate:
            limit = max_length or self.model.max_length
            count = self.model.tokenizer.count(*text)
            raise TooMuch(
                f"{which} has {count} tokens, more than the {limit} that {self.model.path.stem} reads: shorten it, or "
                'ask for "truncate": true'
            )

    def windows(self, reader: Reader[Any, Any], items: Sequence[Any], max_length: int) -> list[list[Any]]:
        """The windows of items for a task that looks at tokens."""
        found = []
        for number, item in enumerate(items):
            windows, cut = reader.windows(self.model.tokenizer, item, max_length)
            text = (item, None) if isinstance(item, str) else tuple(item)
            self.check_cut(cut, f"text {number}", text, max_length)
            for window in windows:
                self._spend(len(window.ids))
            found.append(windows)
        return found

    def _spend(self, tokens: int) -> None:
        self.tokens += tokens
        self._check(self.tokens)

    def _check(self, tokens: int) -> None:
        if tokens > self.bounds.tokens:
            raise TooMuch(f"more than the {self.bounds.tokens} tokens that a request may have")


def embedding(cutter: Cutter, inputs: Sequence[Any], prefix: str, truncate_dim: int | None, normalize: bool) -> Work:
    """Vectors of texts, or of token ids as the tokenizer makes them, special tokens included.

    The answer is the matrix float32 [texts, dim]: `Model.encode(texts, prompt=prefix, ...)`.
    """
    model = cutter.model
    need_vectors(model)
    architecture = model.config.architecture
    if inputs and not isinstance(inputs[0], str):
        for number, ids in enumerate(inputs):
            if len(ids) > model.max_length:
                if not cutter.truncate:
                    raise TooMuch(f"text {number} has {len(ids)} tokens, more than {model.max_length}")
                inputs = [each[: model.max_length] for each in inputs]
        if sum(map(len, inputs)) > cutter.bounds.tokens or len(inputs) > cutter.bounds.texts:
            raise TooMuch(f"more than {cutter.bounds.texts} texts or {cutter.bounds.tokens} tokens")
        pack(inputs, None, architecture)  # refuses what is no token
        _need_frame(model, inputs)
        cutter.tokens = sum(map(len, inputs))
        pieces = [Piece(ids) for ids in inputs]
    else:
        pieces = _prompted(cutter, inputs, prefix)

    def answer(rows: list[np.ndarray]) -> np.ndarray:
        return vectors.finish(np.stack(rows), truncate_dim=truncate_dim, normalize=normalize, precision="float32")

    return Work(pieces, lambda _, row: row, answer)


def _need_frame(model: Model, inputs: Sequence[Sequence[int]]) -> None:
    """Refuse ids that the model's tokenizer can't have made: another's mean other words, and nobody would notice."""
    before, _, after, _ = model.tokenizer.frame(False)
    for number, ids in enumerate(inputs):
        whole = len(ids) < model.max_length  # otherwise its end may have been cut off
        if [*ids[: len(before)]] != before or (whole and after and [*ids[-len(after) :]] != after):
            raise WrongField(
                f"text {number}: token ids begin with {before} and end with {after} here, as /tokenize gives them; if "
                "they are another tokenizer's, send the text itself (LangChain: check_embedding_ctx_length=False)",
                "input",
            )


def need_vectors(model: Model) -> None:
    """Raise UnsupportedError unless the model makes one vector of a text."""
    model.need("sentence-embedding")
    if model.config.architecture.pooling == "none":
        raise UnsupportedError(f"{model.path.name} has no pooling, so a text has no one vector")


def _prompted(cutter: Cutter, texts: Sequence[str], prefix: str) -> list[Piece]:
    """Texts behind a prompt, whose own tokens are not pooled where the model says so."""
    cutter.admit(texts)
    encoded = cutter.encode([(prefix + text, None) for text in texts])
    if not prefix or cutter.model.config.architecture.pool_prompt:
        return [Piece(each.ids, each.type_ids) for each in encoded]
    first = cutter.model.tokenizer.prompt_length(prefix)
    for number, each in enumerate(encoded):
        if len(each.ids) <= first:
            raise WrongField(f"text {number} has no token behind the prompt's {first}: there is nothing to pool")
    return [Piece(each.ids, each.type_ids, range(first, len(each.ids))) for each in encoded]


def sparse(cutter: Cutter, texts: Sequence[str]) -> Work:
    """Sparse vectors of texts: a list of `SparseVector`, those of `Model.encode_sparse`."""
    model = cutter.model
    cutter.admit(texts)
    if model.config.architecture.token_heads:
        reader: Reader[Any, Any] = VectorsReader(model.config, model.all_rows.widths)
        work = _read(cutter, reader, [(text, None) for text in texts], model.max_length)
        return work._replace(answer=lambda found: [each.sparse for each in found])
    model.need("fill-mask")
    work = _read(cutter, SparseReader(model.task), [(text, None) for text in texts], model.max_length)
    return work._replace(answer=lambda found: found)


def _read(cutter: Cutter, reader: Reader[Any, Any], items: Sequence[Any], max_length: int) -> Work:
    """A task that looks at tokens: the answer is a list, one for each item."""
    slid = cutter.windows(reader, items, max_length)
    windows = [each for parts in slid for each in parts]

    def answer(found: list[Any]) -> list[Any]:
        rest = iter(zip(windows, found, strict=True))
        return [reader.answer(item, [next(rest) for _ in parts]) for item, parts in zip(items, slid, strict=True)]

    pieces = []
    for each in windows:
        wanted = reader.wanted(each)
        everything = len(wanted) == len(each.ids)
        pieces.append(Piece(each.ids, each.type_ids, None if everything else wanted, each.attended))
    return Work(pieces, lambda place, rows: reader.find(windows[place], rows), answer)


def reading(cutter: Cutter, reader: Reader[Any, Any], items: Sequence[Any], max_length: int | None = None) -> Work:
    """Answers of a task that looks at tokens: a list, one for each of the items, which the reader has checked."""
    texts = [item if isinstance(item, str) else "\n".join(map(str, item)) for item in items]
    cutter.admit(texts)
    return _read(cutter, reader, items, cutter.model.max_length if max_length is None else max_length)


def classification(cutter: Cutter, texts: Texts, function: str | None, top_k: Any) -> Work:
    """Labels of texts and pairs: a list, of what `Model.classify` answers for each."""
    model = cutter.model
    model.need("text-classification")
    classifier = Classifier(model.task)
    applied, top_k = classifier.options(function, top_k)
    cutter.admit([text + (pair or "") for text, pair in texts])
    pieces = [Piece(each.ids, each.type_ids) for each in cutter.encode(texts)]
    return Work(pieces, lambda _, row: row, lambda rows: [classifier.answer(row, applied, top_k) for row in rows])


def zero_shot(cutter: Cutter, texts: Sequence[str], candidate_labels: Any, **options: Any) -> Work:
    """Scores of candidate labels: a list, of what `Model.zero_shot` answers for each text."""
    cutter.model.need("text-classification")
    template = options.get("hypothesis_template")
    if isinstance(template, str) and (template.count("{") != 1 or template.count("}") != 1 or "{}" not in template):
        # What else format strings can do (ask for a gigabyte of spaces) is nothing for strangers.
        raise WrongField("hypothesis_template must be a sentence with one {} where the label goes")
    task = ZeroShot(cutter.model.labels, candidate_labels, **options)
    count = len(task.candidates)
    longest = max(map(len, task.candidates), default=0) + len(template or "") + 32
    if longest > 4096:
        raise TooMuch("candidate labels and hypothesis_template may have 4,000 characters at most")
    cutter.admit(texts, count)
    pairs = [pair for text in texts for pair in task.pairs(text)]
    pieces = [Piece(each.ids, each.type_ids) for each in cutter.encode(pairs, only_first=True)]

    def answer(rows: list[np.ndarray]) -> list[Any]:
        return [
            task.answer(text, np.stack(rows[place * count : (place + 1) * count])) for place, text in enumerate(texts)
        ]

    return Work(pieces, lambda _, row: row, answer)


def ranking(cutter: Cutter, query: str, documents: Sequence[str], raw: bool = False) -> Work:
    """How well documents answer a query: float32 [documents], the scores of `Model.rank`.

    Args:
        cutter: makes tokens.
        query: what is asked.
        documents: what may answer it.
        raw: whether a cross-encoder's scores are left as they come out of it.
    """
    model = cutter.model
    model.need("text-classification", "sentence-embedding", "multi-vector")
    if model.task.kind == "text-classification":
        if len(model.labels) != 1:
            raise UnsupportedError(f"ranking needs a model with one output; {model.path.stem} has {len(model.labels)}")
        cutter.admit([query], len(documents))
        cutter.admit(documents)
        encoded = cutter.encode([(query, each) for each in documents], what="document")
        pieces = [Piece(each.ids, each.type_ids) for each in encoded]
        function, _ = Classifier(model.task).options("none" if raw else None, BEST)
        return Work(pieces, lambda _, row: row, lambda rows: _scores(np.stack(rows), function))
    query_name, document_name = (
        vectors.first_prompt(model.task, names) for names in (vectors.QUERY_PROMPTS, vectors.DOCUMENT_PROMPTS)
    )
    prompts = [vectors.resolve_prompt(model.task, name, None) for name in (query_name, document_name)]
    if model.task.query is not None and model.task.document is not None:
        cutter.admit([query, *documents])
        parts = ((model.task.query, prompts[0], [query]), (model.task.document, prompts[1], documents))
        asked, given = (
            _read(cutter, SideReader(side, prompt), texts, side.max_length) for side, prompt, texts in parts
        )
        return Work(
            [*asked.pieces, *given.pieces],
            lambda _, rows: rows.copy(),
            lambda found: model.similarity(found[:1], found[1:])[0],
        )
    need_vectors(model)
    pieces = [*_prompted(cutter, [query], prompts[0]), *_prompted(cutter, documents, prompts[1])]
    if len({piece.wanted is None for piece in pieces}) > 1:  # one of the two has a prompt that is not pooled
        pieces = [each._replace(wanted=each.wanted or range(len(each.ids))) for each in pieces]
    return Work(pieces, lambda _, row: row, lambda rows: model.similarity(np.stack(rows[:1]), np.stack(rows[1:]))[0])


def _scores(rows: np.ndarray, function: str) -> np.ndarray:
    if function == "softmax":
        rows = np.stack([softmax(row) for row in rows])
    elif function == "sigmoid":
        rows = sigmoid(rows)
    return rows[:, 0]
