"""The engine: a model file and a backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minibert.engine.adaptive import adapted
from minibert.engine.backends import choose_backend, warn_of_numpy
from minibert.engine.batch import PackedBatch, pack, with_attended, with_wanted
from minibert.engine.chunks import CHUNK_TOKENS, cut
from minibert.engine.executor import Executor, empty_rows
from minibert.engine.library import kernels
from minibert.engine.memory import MemoryPlan
from minibert.engine.processors import default_threads
from minibert.errors import BackendError, InputError, MinibertError, UnsupportedError
from minibert.forking import unforked
from minibert.options import integer
from minibert.plan import build_plan

if TYPE_CHECKING:
    from minibert.format import ModelFile
    from minibert.format.schema import Config
    from minibert.plan import Plan
    from minibert.reference import Reference


#: Forward passes at once by default, however few CPUs there are: short ones do not wait behind long ones.
LEAST_CONCURRENCY = 4
#: More threads than any machine has CPUs are a mistake, and each costs memory.
MAX_THREADS = 4096


class Engine:
    """Runs a model on token ids.

    A text's row has the same bits alone, in any batch, in any order and on any number of threads. Safe to call from
    many Python threads at once.

    Args:
        model_file: an opened file.
        threads: threads that share a forward pass; if None as `default_threads` says.
        backend: "prebuilt", "jit", "numpy", or None for the best that this machine can run (the environment variable
            MINIBERT_BACKEND overrides None).
        early_exit: for a file with exits: True for its thresholds, False for none, a number for that threshold.
        token_pruning: whether tokens are left out where the file says so.
        token_heads: whether `forward_all` gives what token heads make of each token.
        max_concurrency: forward passes at once, each with memory and threads of its own; callers beyond that wait. If
            None, as many as keep the CPUs busy, and a few at least.

    Raises:
        BackendError: the backend asked for cannot run here.
        InputError: an unknown backend, a number of threads or passes below 1, or a threshold that is none.
    """

    def __init__(
        self,
        model_file: ModelFile,
        *,
        threads: int | None = None,
        backend: str | None = None,
        early_exit: bool | float = True,
        token_pruning: bool = True,
        token_heads: bool = False,
        max_concurrency: int | None = None,
    ) -> None:
        with unforked():
            self.backend: str = choose_backend(backend)
        self._left_open = backend is None and not os.environ.get("MINIBERT_BACKEND")
        threads = None if threads is None else integer("threads", threads, most=MAX_THREADS)
        if max_concurrency is not None:
            max_concurrency = integer("max_concurrency", max_concurrency)
        self.tensors: Mapping[str, Any] = model_file.tensors
        self.config: Config = adapted(model_file.config, early_exit, token_pruning)
        self.plan: Plan = build_plan(self.config, token_heads=token_heads)
        self.out_features: int = self.plan.out_features
        self.pooled: bool = self.plan.output.rows == "texts"
        self.threads: int = 1 if self.backend == "numpy" else threads or default_threads()
        self.max_concurrency: int = max_concurrency or max(default_threads() // self.threads, LEAST_CONCURRENCY)
        self._executor: Executor | None = None
        self._reference: Reference | None = None

    @property
    def isa(self) -> str | None:
        """Instruction set of the kernels in use; None for NumPy, or before the first call."""
        return self._executor.kernels.isa if self._executor else None

    @property
    def run_job(self) -> Callable[[int], None] | None:
        """Calls the kernels with the address of a job, the interpreter lock released; None for NumPy."""
        executor = self._compiled()
        return executor.kernels.run if executor else None

    def warmup(self) -> None:
        """Compile or load whatever the first call would otherwise wait for."""
        self._compiled()

    def _compiled(self) -> Executor | None:
        """What runs the kernels; None for NumPy, also where nobody asked for kernels and there turn out to be none."""
        if self._executor is None and self.backend != "numpy":
            try:
                loaded = kernels(prebuilt=self.backend == "prebuilt")
            except BackendError as error:
                if not self._left_open:
                    raise
                warn_of_numpy(str(error))
                self.backend, self.threads = "numpy", 1
                return None
            self._executor = Executor(
                self.plan, self.config, self.tensors, loaded, self.threads, max_concurrency=self.max_concurrency
            )
        return self._executor

    def plan_memory(self, tokens: int, texts: int = 1) -> MemoryPlan:
        """What a forward pass of so many tokens in so many texts will take, without running one.

        Every concurrent call has a workspace of its own; workspaces are kept, and their pages are resident once used.

        Raises:
            InputError: fewer tokens than texts, or no text.
            UnsupportedError: the NumPy backend, whose memory is NumPy's to say.
        """
        tokens, texts = integer("tokens", tokens), integer("texts", texts)
        if texts > tokens:
            raise InputError(f"a batch has at least one text, and a text at least one token; got {tokens} and {texts}")
        executor = self._compiled()
        if executor is None:
            raise UnsupportedError("the NumPy backend takes memory as NumPy does: nothing is planned")
        mapped = {id(tensor): tensor.nbytes for tensor in self.tensors.values()}
        made = {id(tensor): tensor.nbytes for tensor in executor.program.tensors}
        return MemoryPlan(
            weights=sum(mapped.values()),
            made=sum(size for key, size in made.items() if key not in mapped),
            workspace=executor.workspace_bytes,
            # int64 while they are checked, then int32, and the types.
            batch=tokens * (8 + 4 + 4) + (texts + 1) * 8,
            answer=4 * (texts if self.pooled else tokens) * self.out_features
            + 4 * tokens * sum(columns for _, columns in self.plan.token_outputs),
        )

    def forward(
        self,
        ids: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None = None,
        wanted: Sequence[Sequence[int]] | None = None,
        attended: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Answers for a ragged batch of token ids, without padding.

        Args:
            ids: token ids of each text, special tokens included.
            token_types: segment ids in the same shape, or None for zeros.
            wanted: for a model without pooling, of each text the rising places of the tokens whose rows are wanted;
                None for all. Others are not computed beyond the last layer's attention. For a model that doesn't pool
                prompts, the tokens that are pooled.
            attended: for a model without pooling, how many of each text's first tokens are attended to; None for all.

        Returns:
            float32 [texts, out_features]; for a model without pooling [tokens, out_features], texts end to end.

        Raises:
            InputError: ids out of range, an empty text, one longer than the model's positions, or places or tokens
                that a text hasn't.
            UnsupportedError: the model's longest text would need more than 32 GiB to work in.
            MinibertError: the machine has not enough memory.
        """
        batch = pack(ids, token_types, self.config.architecture)
        pools = self.pooled and (wanted is None or self.config.architecture.pool_prompt)
        if (pools and wanted is not None) or (self.pooled and attended is not None):
            raise InputError("wanted and attended are for models without pooling: this one has a row a text")
        if wanted is not None:
            batch = with_wanted(batch, wanted, least=int(self.pooled))
        if attended is not None:
            batch = with_attended(batch, attended, self.config.architecture)
        return self._run(batch)[0]

    def forward_all(
        self, ids: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None = None
    ) -> list[np.ndarray]:
        """`forward`, and what the token heads make of each token: float32 [tokens, outputs] for each of them."""
        return self._run(pack(ids, token_types, self.config.architecture))

    def _run(self, batch: PackedBatch) -> list[np.ndarray]:
        executor = self._compiled()
        try:
            return self._in_numpy(batch) if executor is None else executor.run(batch)
        except MemoryError as error:
            raise MinibertError(f"not enough memory for {len(batch.ids)} tokens at once: {error}") from error

    def _in_numpy(self, batch: PackedBatch) -> list[np.ndarray]:
        if self._reference is None:
            with unforked():
                from minibert.reference import Reference

            self._reference = Reference(self.config, self.tensors, token_heads=bool(self.plan.token_outputs))
        output_starts = batch.output_starts(self.pooled)
        outs = empty_rows(self.plan, batch, output_starts)
        for first, end in cut(batch.starts, CHUNK_TOKENS):
            part = slice(int(batch.starts[first]), int(batch.starts[end]))
            starts = batch.starts[first : end + 1] - part.start
            wanted = None if batch.wanted is None else batch.wanted[part]
            attended = None if batch.attended is None else batch.attended[first:end]
            rows, *of_tokens = self._reference.forward_packed(
                batch.ids[part], batch.token_types[part], starts, wanted=wanted, attended=attended
            )
            outs[0][output_starts[first] : output_starts[end]] = rows
            for out, rows in zip(outs[1:], of_tokens, strict=True):
                out[part] = rows
        return outs
