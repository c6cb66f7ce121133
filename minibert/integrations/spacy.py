"""spaCy: a component of a pipeline, "minibert", that gives documents what the model answers.

The package says of it in its entry points, so spaCy finds it without an import.
"""

# Annotations are evaluated here, for spaCy proves a component's configuration by them.

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from minibert.integrations.parts import missing
from minibert.model import Model

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token
    from spacy.util import filter_spans, minibatch
except ImportError as error:
    raise missing("spacy", error) from error

_FILE = "model.safetensors"
#: Where in `doc.user_data` its vector is: spaCy writes that, and hands it on between processes, but no `doc.vector`.
_VECTOR = "minibert_vector"


class MinibertComponent:
    """What the model was made for, in documents: vectors, categories or entities.

    | the model makes | a document has |
    |---|---|
    | vectors of texts | `doc.vector`; spans and tokens have those of their own text |
    | labels of texts | `doc.cats`, all labels with their scores |
    | labels of tokens | `doc.ents` |

    Long texts are read whole where vectors or entities are made, in windows; where labels are, they are cut. What
    spaCy writes of a pipeline holds the model's file, and needs no other.

    Args:
        model: what `minibert.load` opens by a path or a name, when the first document comes.
        prompt: a text to put before each, where vectors are made; None for the one that the file names.
        aggregation_strategy: how labels of tokens become entities, as of `Model.classify_tokens`.
        threads: as of `minibert.load`.
    """

    def __init__(
        self,
        model: str,
        *,
        prompt: str | None = None,
        aggregation_strategy: str = "first",
        threads: int | None = None,
    ) -> None:
        self._source, self._threads = model, threads
        self._prompt, self._aggregation = prompt, aggregation_strategy
        self._opened: Model | None = None

    @property
    def bert(self) -> Model:
        """What answers.

        Raises:
            UnsupportedError: its task is none that documents have a place for, and what `minibert.load` raises.
        """
        if self._opened is None:
            self._open(self._source)
        assert self._opened is not None
        return self._opened

    def _open(self, source: Any) -> None:
        model = Model(source, threads=self._threads)
        model.need("sentence-embedding", "text-classification", "token-classification")
        self._opened = model

    def __call__(self, doc: Doc) -> Doc:
        """The document, with its answers."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], batch_size: int = 1000) -> Iterator[Doc]:
        """Documents as they come, with their answers; so many are answered together."""
        for batch in minibatch(stream, batch_size):
            docs = list(batch)
            self._fill(docs)
            yield from docs

    def _fill(self, docs: list[Doc]) -> None:
        kind, texts = self.bert.task.kind, [doc.text for doc in docs]
        if kind == "sentence-embedding":
            for doc, vector in zip(docs, self._vectors(texts), strict=True):
                doc.user_data[_VECTOR] = vector
                doc.user_hooks.update(vector=_own_vector, has_vector=_has_vector, similarity=self._similarity)
                for hooks in (doc.user_span_hooks, doc.user_token_hooks):
                    hooks.update(vector=self._vector, has_vector=_has_vector, similarity=self._similarity)
        elif kind == "text-classification":
            for doc, labels in zip(docs, self.bert.classify(texts, top_k=None), strict=True):
                doc.cats.update({each["label"]: each["score"] for each in labels})
        else:
            found = self.bert.classify_tokens(
                texts, aggregation_strategy=self._aggregation, stride=self.bert.max_length // 8
            )
            for doc, entities in zip(docs, found, strict=True):
                spans = [
                    doc.char_span(each["start"], each["end"], each.get("entity_group", ""), alignment_mode="expand")
                    for each in entities
                ]
                doc.ents = filter_spans([span for span in spans if span is not None])

    def _vectors(self, texts: list[str]) -> Any:
        return self.bert.encode(texts, prompt=self._prompt, windows=True)

    def _vector(self, part: Span | Token) -> Any:
        return self._vectors([part.text])[0]

    def _similarity(self, one: Doc | Span | Token, other: Doc | Span | Token) -> float:
        return float(self.bert.similarity(one.vector, other.vector)[0, 0])

    def to_disk(self, path: str | os.PathLike[str], *, exclude: Iterable[str] = ()) -> None:
        """Write the model's file into a new folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        self.bert.save(folder / _FILE)

    def from_disk(self, path: str | os.PathLike[str], *, exclude: Iterable[str] = ()) -> "MinibertComponent":
        """Take the model out of that folder."""
        self._open(Path(path) / _FILE)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The model's file."""
        with tempfile.TemporaryDirectory() as folder:
            self.to_disk(folder)
            return (Path(folder) / _FILE).read_bytes()

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "MinibertComponent":
        """Take the model out of these."""
        self._open(data)
        return self


def _own_vector(doc: Doc) -> Any:
    return doc.user_data[_VECTOR]


def _has_vector(part: Doc | Span | Token) -> bool:
    return True


@Language.factory(
    "minibert",
    default_config={"model": "minilm", "prompt": None, "aggregation_strategy": "first", "threads": None},
)
def make(
    nlp: Language, name: str, model: str, prompt: str | None, aggregation_strategy: str, threads: int | None
) -> "MinibertComponent":
    """The component, as `nlp.add_pipe("minibert", config={"model": ...})` has it made."""
    return MinibertComponent(model, prompt=prompt, aggregation_strategy=aggregation_strategy, threads=threads)
