"""All the tasks in one class, and the door to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from minibert.model.classification import Classification
from minibert.model.embedding import Embedding
from minibert.model.tokens import TokenClassification
from minibert.text.packing import WINDOW


def load(path: str | os.PathLike[str], threads: int | None = None, backend: str | None = None) -> Model:
    """Open a model file.

    The file is mapped, not read, so loading takes milliseconds whatever its size; the tokenizer is built when the
    first text comes.

    Args:
        path: a file that `minibert convert` wrote.
        threads: worker threads; by default as many as this process has cores.
        backend: "jit" or "numpy"; by default the fastest that runs here.

    Raises:
        FormatError: there is no such file, or it is broken or no minibert file; the message says where.
        BackendError: the backend asked for cannot run on this machine.
        InputError: an unknown backend, or fewer threads than one.
    """
    return Model(path, threads=threads, backend=backend)


class Model(Classification, TokenClassification, Embedding):
    """A converted model. Make one with `minibert.load`.

    `predict` answers as the file's task has it; the methods of single tasks say what their options and answers are.
    An answer never depends on what else is in the batch, on the order, or on the number of threads: the same text
    gives the same bits. Safe to use from many threads at once; survives `pickle` by opening its file again.

    Attributes:
        path: the file.
        config: everything the file says about the model.
        engine: runs token ids.
        pipeline: brings texts to the engine.
    """

    def predict(self, inputs: Any, **options: Any) -> Any:
        """Answer one text or many, by the file's own task.

        Args:
            inputs: one text gives one answer, many give a list.
            options: those of the task's method: `classify` for text-classification, `classify_tokens` for
                token-classification.

        Raises:
            InputError: inputs are no text, or with `truncation=False` one is too long.
            UnsupportedError: the model makes embeddings: use `encode`.
        """
        if self.task.kind == "token-classification":
            return self.classify_tokens(inputs, **options)
        return self.classify(inputs, **options)

    def iter_predict(self, inputs: Iterable[Any], *, window: int = WINDOW, **options: Any) -> Iterator[Any]:
        """`predict` for inputs without end: reads `window` texts, yields their answers in order, reads on.

        Memory stays that of one window. `window=1` answers each text before it asks for the next. A
        TruncationWarning comes once, with the first window in which a text was cut.
        """
        if self.task.kind == "token-classification":
            return self._iter_classify_tokens(inputs, window=window, **options)
        return self._iter_classify(inputs, window=window, **options)
