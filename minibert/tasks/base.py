"""What every model has, whatever it answers: its file, its engine, its tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeAlias, overload

import numpy as np

from minibert.engine import Engine
from minibert.engine.memory import MemoryPlan
from minibert.errors import InputError, UnsupportedError
from minibert.forking import unforked
from minibert.format import ModelFile, is_model_file, read_model, write_model
from minibert.format.constants import TaskKind
from minibert.format.schema import Config, Task
from minibert.options import flag
from minibert.pipeline import Pipeline
from minibert.text.inputs import Text, is_one, many, split
from minibert.text.tokenizer import TextSettings, Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

#: Where a model comes from: a path, a file's bytes, or a file that is open for reading them.
Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"

#: What a model has until it is closed.
_HELD = ("engine", "pipeline", "_file", "_get_tokenizer", "_encoder", "_with_token_heads")


def _content_or_path(source: Any) -> str | bytes | bytearray | memoryview:
    """What `read_model` opens: bytes as they are, what a file still has to read, or a path with ~ filled in.

    Raises:
        InputError: it is none of these, or a file of text, or one that is closed or cannot be read.
    """
    if isinstance(source, memoryview):
        return source.cast("B") if source.c_contiguous else source.tobytes()
    if isinstance(source, (bytes, bytearray)):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return os.path.expanduser(path) if path.startswith("~") else path
    if hasattr(source, "read"):
        try:
            data = source.read()
        except (OSError, ValueError) as error:  # one that is closed, or open for writing alone, or no text after all
            raise InputError(
                f'a model is read from a file that is open by "rb", and this one is not: {error}'
            ) from None
        if isinstance(data, (bytes, bytearray, memoryview)):
            return data
        raise InputError(f'a model is read from a file of bytes, got one of {type(data).__name__}: open it with "rb"')
    raise InputError(
        f"a model is opened by its path, a str or pathlib.Path, or by its bytes or a file of them, got "
        f"{type(source).__name__}"
    )


class _Tokenizers:
    """The tokenizer of a file, built when it is first asked for; by two threads at once rather than behind a lock."""

    def __init__(self, file: ModelFile, engine: Engine) -> None:
        self._file, self._engine = file, engine
        self._tokenizer: Tokenizer | None = None

    def __call__(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = self._made()
        return self._tokenizer

    def _made(self) -> Tokenizer:
        file = self._file
        text = {name: value for name, value in vars(file.config.text).items() if name != "tables"}
        settings = TextSettings(token_types=file.config.architecture.token_types, **text)
        if file.config.text.tables is None:
            with unforked():
                from minibert.text.library_tokenizer import LibraryTokenizer

            return LibraryTokenizer(file.tokenizer_json(), settings)
        with unforked():
            from minibert.text.table_tokenizer import TableTokenizer

        return TableTokenizer(file, settings, self._engine.run_job)


class BaseModel:
    """A model file, opened: what the methods of all tasks stand on. The options are those of `minibert.load`."""

    #: By kind of task, the method that answers; the same name behind `_iter_` answers lazily.
    methods: ClassVar[dict[TaskKind, str]] = {}

    def __init_subclass__(cls, kind: TaskKind | None = None, method: str = "", **rest: Any) -> None:
        """A task's part of `Model`: models of `kind` answer by `method`."""
        super().__init_subclass__(**rest)
        if kind is not None:
            BaseModel.methods[kind] = method

    def __init__(self, source: Source, *, copy: bool = False, **options: Any) -> None:
        self._file = read_model(_content_or_path(source), copy=copy)
        # Another process, or this one in another folder, opens it again.
        self._path = os.path.abspath(self._file.path)
        self.config: Config = self._file.config
        self.engine: Engine = Engine(self._file, **options)
        self._options = options
        # Holds the file, not the model: in a circle they would outlive `del model` until the collector comes by.
        self._get_tokenizer = _Tokenizers(self._file, self.engine)
        self.pipeline: Pipeline = Pipeline(self.engine, self._get_tokenizer, self.config)

    def _opened(self, source: Source) -> Any:
        """Another model, with the options of this one."""
        return type(self)(source, **self._options)

    def close(self) -> None:
        """Let the file and all memory go, now and not when the last name of the model does; `with` does so at its end.

        The model answers no more. Calls that are at work on other threads end as they would have, or say that it is
        closed, where they need it once more.
        """
        for name in _HELD:
            self.__dict__.pop(name, None)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> int:
        """Write the model's file, whole or not at all; an existing model file is replaced.

        Args:
            path: its name.
            force: whether to replace another kind of file, too.

        Returns:
            Bytes written.

        Raises:
            InputError: the path is no place for a file, or another kind of file lies there.
            MinibertError: the disk is full, or the folder not writable.
        """
        if not flag("force", force) and os.path.isfile(path) and not is_model_file(path):
            raise InputError(f"{os.fspath(path)}: exists, and is no model file; to replace it say force=True")
        tensors = self._file.tensors
        return write_model(path, self.config, {name: tensors[name] for name in tensors})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Only asked for what is not there: a name that no model has, or what a closed one has no more."""
            if name in _HELD and "_path" in self.__dict__:
                raise InputError(f"{os.path.basename(self._path)} is closed: load it again")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def path(self) -> Path:
        """Where the file was, as an absolute path."""
        with unforked():
            from pathlib import Path  # here: a start needs no pathlib, which loads ten modules

        return Path(self._path)

    @property
    def task(self) -> Task:
        """What the model answers: kind, labels, prompts."""
        return self.config.task

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the order of the logits; empty for a model without labels."""
        return self.config.task.labels

    @property
    def max_length(self) -> int:
        """Tokens of a text that are read by default, special tokens included."""
        return self.config.text.max_length

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer from the file, built on first use."""
        return self._get_tokenizer()

    def __repr__(self) -> str:
        a = self.config.architecture
        labels = f", {len(self.labels)} labels" if self.labels else ""
        state = "closed"
        if "engine" in self.__dict__:
            state = f"{self.size / 1e6:.1f} MB, {self.engine.backend}, {self.engine.threads} threads"
        return (
            f"<minibert.Model {self.path.name}: {self.task.kind}{labels}, {a.model_type} of {len(a.layers)} layers x "
            f"{a.hidden_size}, {state}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        data = self._file.data
        return partial(type(self), **self._options), (self._path if data is None else bytes(data),)

    def forward(self, ids: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """Rows of texts given as token ids, special tokens included.

        Args:
            ids: one sequence of token ids for each text; lengths may differ, nothing is padded.
            token_types: as `ids`, or None for zeros.

        Returns:
            float32 [len(ids), outputs]: logits of a text classifier, vectors of an embedding model. float32 [tokens,
            outputs], the rows of all texts end to end, for tasks that answer for each token.

        Raises:
            InputError: ids out of range, an empty sequence, or more tokens than the model has positions.
        """
        return self.engine.forward(ids, token_types)

    # The overloads overlap for pyright, as a str is itself an Iterable[str]: the first match, one text, is meant.

    @overload
    def token_count(self, inputs: Text) -> int: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def token_count(self, inputs: Iterable[Text]) -> list[int]: ...
    def token_count(self, inputs: Any) -> int | list[int]:
        """Tokens of each text or pair, special tokens included, before truncation: compare with `max_length`."""
        if is_one(inputs):
            return self.tokenizer.count(*split(inputs))
        return [self.tokenizer.count(*split(item, index)) for index, item in enumerate(many(inputs))]

    def plan(self, tokens: int, texts: int = 1) -> MemoryPlan:
        """The memory that reading so many tokens in so many texts at once will take, before anything runs.

        Raises:
            InputError: fewer tokens than texts, or no text.
            UnsupportedError: the NumPy backend, whose memory is NumPy's to say.
        """
        return self.engine.plan_memory(tokens, texts)

    def warmup(self) -> None:
        """Pay now for what the first answer would wait for: the kernels and the tokenizer."""
        self.engine.warmup()
        _ = self.tokenizer

    def need(self, *kinds: TaskKind) -> None:
        """Raise UnsupportedError unless the model's task is one of `kinds`."""
        if self.task.kind not in kinds:
            use = "predict" if self.task.kind in self.methods else "encode"
            raise UnsupportedError(
                f"{self.path.name} is a {self.task.kind} model, not one for {kinds[0]}: use {use}, or convert a "
                f"checkpoint with --task {kinds[0]}"
            )
