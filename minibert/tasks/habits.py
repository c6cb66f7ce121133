"""Names that people bring along from sentence-transformers, fastembed and model2vec, where they mean the same here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from minibert import options
from minibert.errors import InputError
from minibert.tasks.sentence_embedding import SentenceEmbedding
from minibert.text.inputs import is_one, many, split
from minibert.text.packing import BATCH_SIZE


class Tokens(TypedDict):
    """Token ids of texts, filled up to the longest of them: int64 [texts, tokens] each.

    Attributes:
        input_ids: ids, special tokens included.
        attention_mask: 1 for tokens, 0 for what is filled up.
        token_type_ids: which text of a pair a token is of.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    token_type_ids: np.ndarray


class Pool(TypedDict):
    """What `start_multi_process_pool` gives: no processes, as the threads of a model share its work anyway."""

    input: None
    output: None
    processes: list[Any]


class Habits(SentenceEmbedding):
    """What models of other libraries have, by their names."""

    @property
    def device(self) -> Any:
        """Where the model runs: "cpu"."""
        return "cpu"

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts that may be put before each sentence, by name."""
        return self.task.prompts

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt that is put before each sentence unless another is named."""
        return self.task.default_prompt

    @property
    def similarity_fn_name(self) -> str:
        """What `similarity` computes: "cosine", "dot", "euclidean", "manhattan"; "maxsim" or "meanmaxsim"."""
        return self.task.similarity

    @property
    def max_seq_length(self) -> int:
        """`max_length`, as sentence-transformers calls it."""
        return self.max_length

    @property
    def dim(self) -> int:
        """Numbers in a vector of `encode`.

        Raises:
            UnsupportedError: the model makes none.
        """
        self.need("sentence-embedding", "multi-vector")
        return self.engine.out_features

    def get_max_seq_length(self) -> int:
        """`max_length`."""
        return self.max_seq_length

    def get_sentence_embedding_dimension(self) -> int:
        """Numbers in a vector of `encode`."""
        return self.dim

    def get_embedding_dimension(self) -> int:
        """Numbers in a vector of `encode`."""
        return self.get_sentence_embedding_dimension()

    def tokenize(self, texts: Iterable[Any]) -> Tokens:
        """Token ids of many texts, as a model reads them: cut, with special tokens, and filled up with zeros.

        Args:
            texts: texts and pairs.

        Raises:
            InputError: one is no text.
        """
        if is_one(texts, pair=False):
            raise InputError("tokenize reads many texts: put one into a list, as in [text]")
        items = [split(each, index) for index, each in enumerate(many(texts, pair=False))]
        encoded = self.tokenizer.encode_many(items, self.max_seq_length)
        shape = len(encoded), max((len(each.ids) for each in encoded), default=0)
        ids, mask, types = np.zeros((3, *shape), np.int64)
        for row, each in enumerate(encoded):
            ids[row, : len(each.ids)] = each.ids
            mask[row, : len(each.ids)] = 1
            if each.type_ids is not None:
                types[row, : len(each.ids)] = list(each.type_ids)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def start_multi_process_pool(self, target_devices: Sequence[Any] | None = None) -> Pool:
        """A pool that `encode` takes: it has no processes.

        Raises:
            InputError: one of the devices is not the CPU.
        """
        if not options.is_cpu(None if target_devices is None else list(target_devices)):
            raise InputError(f"minibert runs on the CPU, and not on {target_devices!r}")
        return {"input": None, "output": None, "processes": []}

    @staticmethod
    def stop_multi_process_pool(pool: Pool) -> None:
        """Nothing to do for a pool of `start_multi_process_pool`.

        Raises:
            InputError: it is another one, whose processes would go on.
        """
        if not options.ELSEWHERE["pool"].harmless(pool):
            raise InputError("this pool has processes, which minibert did not start")

    def encode_multi_process(self, sentences: Iterable[str], pool: Pool, **given: Any) -> Any:
        """`encode`: threads share the work."""
        return self.encode(sentences, pool=pool, **given)

    def embed(
        self, documents: str | Iterable[str], batch_size: int = BATCH_SIZE, parallel: int | None = None, **given: Any
    ) -> Iterator[np.ndarray]:
        """Vectors one by one, float32 [dim], lazily: `iter_encode`, as fastembed calls it.

        Args:
            documents: one text or many.
            batch_size: texts in one pass, at most.
            parallel: changes nothing: threads share the work.
            given: options of `iter_encode`.
        """
        return self.iter_encode(_several(documents), batch_size=batch_size, **_without_parallel(parallel, given))

    def passage_embed(
        self, texts: str | Iterable[str], parallel: int | None = None, **given: Any
    ) -> Iterator[np.ndarray]:
        """Vectors of documents one by one, lazily: `iter_encode_document`, as fastembed calls it."""
        return self.iter_encode_document(_several(texts), **_without_parallel(parallel, given))

    def query_embed(
        self, query: str | Iterable[str], parallel: int | None = None, **given: Any
    ) -> Iterator[np.ndarray]:
        """Vectors of queries one by one, lazily: `iter_encode_query`, as fastembed calls it."""
        return self.iter_encode_query(_several(query), **_without_parallel(parallel, given))

    def encode_as_sequence(self, sentences: str | Iterable[str], **given: Any) -> Any:
        """Vectors of the tokens of one text or many: `features`, as model2vec calls it."""
        return self.encode(sentences, output_value="token_embeddings", **given)


def _several(texts: str | Iterable[str]) -> Iterable[str]:
    return [texts] if isinstance(texts, str) else texts


def _without_parallel(parallel: Any, given: dict[str, Any]) -> dict[str, Any]:
    options.own({"parallel": parallel}, ())
    return given
