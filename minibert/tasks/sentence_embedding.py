"""Sentence embeddings of a model, one vector a text or one a token: encode and its variants, similarity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import numpy as np

from minibert import options as choices
from minibert.errors import InputError, UnsupportedError
from minibert.format.constants import TOKEN_SIMILARITIES
from minibert.format.schema import Side
from minibert.reading import CutOptions, Limits, ReadOptions
from minibert.tasks import vectors
from minibert.tasks.features import FeatureReader, Features, OutputReader, TokenOutputs
from minibert.tasks.tensors import as_tensor
from minibert.tasks.token_vectors import SideReader, maxsim, maxsim_pairwise
from minibert.tasks.vectors import Precision
from minibert.text.inputs import is_one, many, split
from minibert.text.packing import BATCH_SIZE, READ_AHEAD

if TYPE_CHECKING:
    from typing_extensions import Unpack


#: The `output_value` for vectors of tokens.
TOKENS: Final = "token_embeddings"
#: What `encode` gives of a text.
OutputValue: TypeAlias = "Literal['sentence_embedding', 'token_embeddings'] | None"


class EncodeOptions(ReadOptions, total=False):
    """Options of `encode` that its variants pass on."""

    sentences: Any
    convert_to_numpy: bool
    convert_to_tensor: bool
    output_value: OutputValue
    prompt_name: str | None
    prompt: str | None
    show_progress_bar: bool | None
    precision: Precision | None
    normalize_embeddings: bool
    truncate_dim: int | None
    windows: bool


class EncodeKeywords(EncodeOptions, total=False):
    """Those, and what sentence-transformers takes that changes nothing here (`minibert.options.ELSEWHERE`)."""

    device: Any
    pool: Any
    chunk_size: int | None
    task: str | None


class CutKeywords(CutOptions, total=False):
    """How sentences are cut, and what changes nothing."""

    pool: Any
    chunk_size: int | None
    task: str | None


class SideOptions(ReadOptions, total=False):
    """Options of `encode_query` and `encode_document` for a model of one vector a token."""

    sentences: Any
    convert_to_numpy: bool
    prompt_name: str | None
    prompt: str | None
    normalize_embeddings: bool


class SentenceEmbedding(Features):
    """What a model does that makes vectors of texts: one for each text, or one for each of its tokens."""

    def encode(
        self,
        inputs: str | Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        show_progress_bar: bool | None = None,
        output_value: OutputValue = "sentence_embedding",
        precision: Precision | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        sentences: str | Iterable[str] | None = None,
        windows: bool = False,
        **cut: Unpack[CutKeywords],
    ) -> Any:
        """Vectors of one sentence or many, with the options of sentence-transformers.

        Args:
            inputs: one string gives one vector, many give a matrix. A tuple is many sentences, as in
                sentence-transformers, where other methods take it for a pair; pairs may stand in a list.
            prompt_name: which of the model's prompts to put before each sentence.
            prompt: a text to put before each sentence, instead of `prompt_name`.
            batch_size: sentences in one pass through the engine, at most. Changes speed and memory, never a result.
            show_progress_bar: whether to count on stderr, if that is a terminal.
            output_value: "token_embeddings" gives for each sentence the vectors of its tokens, None all of
                `minibert.tasks.features.TokenOutputs`; of many sentences a list.
            precision: "float32" (or None); one bit a number: "binary" (int8) or "ubinary" (uint8); or "int8" or
                "uint8", in steps of each dimension's range over all sentences of this call, of which there must be two.
                See `minibert.quantize_embeddings`.
            convert_to_numpy: False gives a list of vectors instead of a matrix.
            convert_to_tensor: whether arrays become tensors of PyTorch.
            device: only the CPU.
            normalize_embeddings: scale vectors to length 1 (after `truncate_dim`).
            truncate_dim: keep only the first numbers of each vector, for Matryoshka models.
            sentences: the same as `inputs`, which sentence-transformers called so before.
            windows: read a sentence that is too long whole, instead of cutting it: in windows of `max_length` tokens
                that share none, each with special tokens around it and the prompt before. Its vector is the average of
                its windows' vectors, each counting by how many of the sentence's own tokens its window has. Averaged
                is what the model gives for a window, of length 1 if it normalizes; and then the average is scaled to
                length 1 as well. The other options apply to the average. Sentences that fit have the same bits as
                without; pairs are refused.
            cut: `truncation`, `max_length` and `max_tokens`, see `minibert.reading.Limits`.

        Returns:
            float32 [dim] for one string, float32 [sentences, dim] for many; int8 or uint8 [.., dim], or [.., dim / 8]
            for the binary kinds.

        Raises:
            InputError: inputs are no text, an unknown prompt, an option that makes no sense, with `truncation=False` a
                sentence is too long, or with `windows` one is a pair or the prompt fills its windows.
            UnsupportedError: the model makes no embeddings.
        """
        precision = vectors.checked_precision(precision)
        finish, prefix = self._embedding(prompt_name, prompt, truncate_dim, normalize_embeddings, precision)
        choices.own({"device": device}, ())
        if output_value is not None:
            output_value = cast(Any, choices.choice("output_value", output_value, ("sentence_embedding", TOKENS)))
        limits = self.pipeline.limits(EncodeOptions, batch_size=batch_size, **cut)
        limits = limits._replace(windows=choices.flag("windows", windows))
        convert_to_numpy = choices.flag("convert_to_numpy", convert_to_numpy)
        convert_to_tensor = choices.flag("convert_to_tensor", convert_to_tensor)
        shown = show_progress_bar is not None and choices.flag("show_progress_bar", show_progress_bar)
        if sentences is not None:
            if inputs is not None:
                raise InputError("give either inputs or sentences, which are the same")
            inputs = sentences
        one = is_one(inputs, pair=False)
        if output_value != "sentence_embedding":
            answer = self._token_outputs(one, inputs, output_value, finish, prefix, limits)
        elif one:
            if vectors.needs_ranges(precision):
                raise vectors.no_ranges(precision)
            text, pair = split(inputs)
            answer = finish(self.pipeline.row(text, pair, limits, prefix)[None])[0]
        else:
            items = many(inputs, pair=False)
            rows = finish(self.pipeline.rows(items, limits, prefix=prefix, progress="encode" if shown else None))
            answer = rows if convert_to_numpy or convert_to_tensor else list(rows)
        return as_tensor(answer) if convert_to_tensor else answer

    def _token_outputs(
        self,
        one: bool,
        inputs: Any,
        output_value: OutputValue,
        finish: partial[np.ndarray],
        prefix: str,
        limits: Limits,
    ) -> Any:
        """What `encode` gives for an `output_value` that is not the sentence's own vector."""
        of_sentences = {name: value for name, value in finish.keywords.items() if value not in (None, False, "float32")}
        if of_sentences and output_value is not None:
            raise InputError(f"{' and '.join(of_sentences)} of vectors of sentences: tokens have them as they are")
        if limits.windows:
            raise InputError("windows are for vectors of sentences, not of their tokens")
        items = [inputs] if one else list(many(inputs, pair=False))
        reader = FeatureReader(prefix) if output_value else OutputReader(prefix)
        found = list(self._encoder.answers(items, reader, limits))
        if output_value is None:
            more: TokenOutputs = {}
            if prefix:
                more["prompt_length"] = self.tokenizer.prompt_length(prefix, limits.max_length)
            rows = finish(self.pipeline.rows(items, limits, prefix=prefix))
            found = [{**each, "sentence_embedding": row, **more} for each, row in zip(found, rows, strict=True)]
        return found[0] if one else found

    def iter_encode(
        self,
        inputs: Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        *,
        read_ahead: int = READ_AHEAD,
        precision: Precision | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        windows: bool = False,
        **cut: Unpack[CutOptions],
    ) -> Iterator[np.ndarray]:
        """`encode` for inputs without end: reads `read_ahead` sentences, yields their vectors in order, reads on.

        Memory stays that of what is read ahead. A TruncationWarning comes once, with the first of these in which a
        sentence was cut. Of a sentence that is read in `windows`, no more is in memory than some of them.
        """
        precision = vectors.checked_precision(precision)
        if vectors.needs_ranges(precision):
            raise vectors.no_ranges(precision)
        finish, prefix = self._embedding(prompt_name, prompt, truncate_dim, normalize_embeddings, precision)
        limits = self.pipeline.limits(EncodeOptions, batch_size=batch_size, **cut)
        limits = limits._replace(windows=choices.flag("windows", windows))
        read_ahead = choices.integer("read_ahead", read_ahead)
        rows = self.pipeline.stream(many(inputs, pair=False), limits, prefix=prefix, read_ahead=read_ahead)
        return (finish(row[None])[0] for row in rows)

    def encode_query(self, inputs: str | Iterable[str] | None = None, **options: Unpack[EncodeKeywords]) -> Any:
        """`encode` with the prompt that the model has for queries, unless the options name another.

        A multi-vector model (ColBERT) gives a vector for each token of a query as it reads queries: cut, with its
        prefix, and filled up with masks if it does so; float32 [tokens, dim], or a list of such matrices. Its options
        are `prompt`, `prompt_name`, `normalize_embeddings` and those of `minibert.reading.Limits`.
        """
        return self._encode_as(self.task.query, vectors.QUERY_PROMPTS, inputs, options)

    def encode_document(self, inputs: str | Iterable[str] | None = None, **options: Unpack[EncodeKeywords]) -> Any:
        """`encode` with the prompt that the model has for documents, passages or a corpus, unless the options do.

        A multi-vector model gives a vector for each token that it does not skip: see `encode_query`.
        """
        return self._encode_as(self.task.document, vectors.DOCUMENT_PROMPTS, inputs, options)

    def iter_encode_query(self, inputs: Iterable[str], **options: Any) -> Iterator[np.ndarray]:
        """`encode_query` for inputs without end, as `iter_encode`."""
        return self._iter_encode_as(self.task.query, vectors.QUERY_PROMPTS, inputs, options)

    def iter_encode_document(self, inputs: Iterable[str], **options: Any) -> Iterator[np.ndarray]:
        """`encode_document` for inputs without end, as `iter_encode`."""
        return self._iter_encode_as(self.task.document, vectors.DOCUMENT_PROMPTS, inputs, options)

    def _encode_as(self, side: Side | None, names: Sequence[str], inputs: Any, options: EncodeKeywords) -> Any:
        """Vectors of queries or of documents: those of `side`, if the model has one a token."""
        if side is None:
            return self.encode(inputs, **self._with_prompt(options, names))
        own, limits = self._side_options(options)
        if (sentences := own.pop("sentences", None)) is not None:
            if inputs is not None:
                raise InputError("give either inputs or sentences, which are the same")
            inputs = sentences
        choices.flag("convert_to_numpy", own.pop("convert_to_numpy", True))  # a list of arrays in any case
        one = is_one(inputs, pair=False)
        found = list(self._token_vectors(side, names, [inputs] if one else inputs, limits, **own))
        return found[0] if one else found

    def _iter_encode_as(
        self, side: Side | None, names: Sequence[str], inputs: Iterable[str], options: dict[str, Any]
    ) -> Iterator[np.ndarray]:
        if side is None:
            return self.iter_encode(inputs, **self._with_prompt(options, names))  # pyright: ignore[reportArgumentType]
        read_ahead = choices.integer("read_ahead", options.pop("read_ahead", READ_AHEAD))
        own, limits = self._side_options(options)
        return self._token_vectors(side, names, inputs, limits, read_ahead, **own)

    def _side_options(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], Limits]:
        """Those of a model of one vector a token, which has none to average."""
        if "windows" in options and choices.flag("windows", options["windows"]):
            raise UnsupportedError(
                f"{self.path.name} makes a vector for each token: windows are for models of one vector a text"
            )
        given = {name: value for name, value in options.items() if name != "windows"}
        return self.pipeline.options(SideOptions, given)

    def _token_vectors(
        self,
        side: Side,
        names: Sequence[str],
        inputs: Iterable[Any],
        limits: Limits,
        read_ahead: int = READ_AHEAD,
        prompt_name: str | None = None,
        prompt: str | None = None,
        normalize_embeddings: bool = False,
    ) -> Iterator[np.ndarray]:
        """For each text the vectors of its tokens: float32 [tokens, dim]."""
        if prompt is None and prompt_name is None:
            prompt_name = vectors.first_prompt(self.task, names)
        prefix = vectors.resolve_prompt(self.task, prompt_name, prompt)
        normalize = choices.flag("normalize_embeddings", normalize_embeddings)
        limits = limits._replace(max_length=limits.max_length or side.max_length)
        reader = SideReader(side, prefix)
        found = self.pipeline.answers(many(inputs, pair=False), reader, limits, read_ahead=read_ahead)
        return map(vectors.normalized, found) if normalize else found

    def similarity(self, a: Any, b: Any) -> np.ndarray:
        """Similarity, by the model's own function, of each text of `a` to each of `b`: float32 [n, m].

        Of one vector a text: [n, dim] and [m, dim], where one vector [dim] counts as one row. Of one a token: two
        sequences of [tokens, dim], queries and documents, where one matrix counts as one text (MaxSim).
        """
        name = self.task.similarity
        if name in TOKEN_SIMILARITIES:
            return maxsim(a, b, mean=name == "meanmaxsim")
        return vectors.similarity(a, b, name)

    def similarity_pairwise(self, a: Any, b: Any) -> np.ndarray:
        """Similarity of each text of `a` to the one of `b` in the same place, given as to `similarity`: float32 [n]."""
        name = self.task.similarity
        if name in TOKEN_SIMILARITIES:
            return maxsim_pairwise(a, b, mean=name == "meanmaxsim")
        return vectors.similarity_pairwise(a, b, name)

    def _embedding(
        self,
        prompt_name: str | None,
        prompt: str | None,
        truncate_dim: int | None,
        normalize: bool,
        precision: Precision,
    ) -> tuple[partial[np.ndarray], str]:
        """What makes vectors of rows, and the prompt, from checked options."""
        if self.task.kind == "multi-vector":
            raise UnsupportedError(
                f"{self.path.name} reads queries and documents differently, a vector for each token: use encode_query "
                "or encode_document"
            )
        self.need("sentence-embedding")
        if self.config.architecture.pooling == "none":
            raise UnsupportedError(f"{self.path.name} has no pooling, so a text has no one vector: use features")
        if truncate_dim is not None:
            truncate_dim = choices.integer("truncate_dim", truncate_dim)
        normalize = choices.flag("normalize_embeddings", normalize)
        prefix = vectors.resolve_prompt(self.task, prompt_name, prompt)
        return partial(vectors.finish, truncate_dim=truncate_dim, normalize=normalize, precision=precision), prefix

    def _with_prompt(self, options: EncodeKeywords, names: Sequence[str]) -> EncodeKeywords:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            name = vectors.first_prompt(self.task, names)
            if name is not None:
                return {**options, "prompt_name": name}
        return options
