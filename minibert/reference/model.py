"""Executing a plan in NumPy, one function a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, singledispatchmethod

import numpy as np

from minibert import plan as steps
from minibert.format.relative import DISTANCE_ROWS
from minibert.format.schema import Config
from minibert.plan import Buffer, Codes, Plan, build_plan
from minibert.reference import functions
from minibert.reference.attention import RelativeTables, attend
from minibert.reference.linear import KEPT_BYTES, Weights, apply_float32, apply_int8
from minibert.reference.selection import first_token_attention, is_sure, tokens_to_keep
from minibert.reference.tables import look_up

#: Called with the name of a linear and its float32 input [rows, in], before any input_factor or quantization.
Hook = Callable[[str, np.ndarray], None]

#: More than any array of a chunk takes, in a model of hidden size 768 and less.
FREED_BYTES = 16 << 20


class Reference:
    """A model executed in NumPy from the same plan as the kernels.

    Args:
        config: the description of the model.
        tensors: its tensors by name, in the file's layouts.
        every_token: rows of all tokens go through all linears, also where nothing reads them: see `build_plan`.
        token_heads: what token heads make of each token is handed out.
        kept_bytes: what unpacked matrices may take; those beyond that are unpacked in each pass.
    """

    def __init__(
        self,
        config: Config,
        tensors: Mapping[str, np.ndarray],
        every_token: bool = False,
        token_heads: bool = False,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.config = config
        self.tensors: Mapping[str, np.ndarray] = tensors
        self.plan: Plan = build_plan(config, every_token, token_heads)
        self._weights = Weights(config.linears, tensors, kept_bytes)
        # glibc gives large arrays that are freed back to the system, from which the next step has them page by page. It
        # keeps those that are smaller than the largest freed so far: than this one, whose pages nobody touches.
        np.empty(FREED_BYTES, np.uint8)

    def forward(
        self,
        ids: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None = None,
        hook: Hook | None = None,
    ) -> np.ndarray:
        """Rows of the plan's output for a ragged batch of token ids.

        Args:
            ids: token ids of each text, already checked against the vocabulary.
            token_types: segment ids in the same shape, or None for zeros.
            hook: called with the input of every linear, for calibration.

        Returns:
            float32 [texts, out_features], or [tokens, out_features] for a model without pooling.
        """
        flat = np.concatenate([np.asarray(text, np.int32) for text in ids])
        types = (
            np.zeros_like(flat)
            if token_types is None
            else np.concatenate([np.asarray(t, np.int32) for t in token_types])
        )
        return self.forward_packed(flat, types, np.cumsum([0, *map(len, ids)]), hook)[0]

    def forward_packed(
        self,
        ids: np.ndarray,
        token_types: np.ndarray,
        starts: np.ndarray,
        hook: Hook | None = None,
        wanted: np.ndarray | None = None,
        attended: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """`forward` on a packed batch, as `PackedBatch` has it; behind the rows those of the plan's token outputs."""
        run = Run(self.config, self._weights, ids, token_types, starts, hook, wanted, attended)
        for step in self.plan.steps:
            if len(run.starts) > 1:  # else all texts have left
                run.execute(step)
        of_tokens = [run.rows[buffer.name][:, :columns] for buffer, columns in self.plan.token_outputs]
        return [run.output(self.plan), *of_tokens]


class Run:
    """The buffers of one forward pass, and what each step does to them.

    Args:
        config: the description of the model.
        weights: its matrices, and all its tensors.
        ids: int32 [tokens], all texts end to end.
        token_types: int32 [tokens].
        starts: int [texts + 1], where each text's tokens start.
        hook: called with the input of every linear.
        wanted: bool [tokens], of which tokens a row is wanted; None for all.
        attended: int [texts], how many of each text's first tokens are attended to; None for all of them.

    Attributes:
        rows: float32 buffers by name.
        codes: int8 buffers by name: codes without their zero points, in float32, and one scale a row.
    """

    def __init__(
        self,
        config: Config,
        weights: Weights,
        ids: np.ndarray,
        token_types: np.ndarray,
        starts: np.ndarray,
        hook: Hook | None,
        wanted: np.ndarray | None,
        attended: np.ndarray | None = None,
    ) -> None:
        self.config = config
        self.weights = weights
        self.tensors = weights.tensors
        self.ids = ids
        self.token_types = token_types
        self.starts: np.ndarray = starts
        self.positions: np.ndarray = np.arange(len(ids)) - np.repeat(starts[:-1], np.diff(starts))
        self.hook = hook
        self.wanted = wanted
        self.attended = attended
        self._rotary_table = cache(functions.rotary_table)
        self.rows: dict[str, np.ndarray] = {}
        self.codes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        #: Which text of the batch each text is that hasn't left, and the output rows of those that have.
        self.numbers = np.arange(len(starts) - 1)
        self.left: dict[int, np.ndarray] = {}

    def output(self, plan: steps.Plan) -> np.ndarray:
        """The rows of the plan's output, and of those that left before, in the order of the batch."""
        if not self.left:
            return self.rows[plan.output.name][:, : plan.out_features]
        rows = dict(zip(self.numbers.tolist(), self.rows.get(plan.output.name, ()), strict=False)) | self.left
        return np.stack([rows[number][: plan.out_features] for number in sorted(rows)])

    def spans(self) -> list[tuple[int, int]]:
        """First and end row of each text's tokens."""
        return list(zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True))

    def keep(self, lengths: Sequence[int], rows: np.ndarray, *buffers: Buffer) -> None:
        """Texts of these lengths, made of these rows of the buffers, are what goes on."""
        self.starts = np.cumsum([0, *lengths])
        for buffer in buffers:
            self.rows[buffer.name] = self.rows[buffer.name][rows]

    def finish(self, rows: np.ndarray, out: Buffer | None, codes: Codes | None) -> None:
        """The common end of a step: keep the float32 rows, make the codes of the next linear."""
        if out is not None:
            self.rows[out.name] = rows
        if codes is not None:
            if self.hook is not None:
                self.hook(codes.linear, rows)
            factor = (
                self.tensors[f"{codes.linear}.input_factor"] if self.config.linears[codes.linear].input_factor else None
            )
            whole, scales, zeros = functions.quantize(rows, factor)
            whole -= zeros[:, None]
            self.codes[codes.name] = whole, scales

    def norm(self, rows: np.ndarray, name: str, size: int) -> np.ndarray:
        """LayerNorm, or what stands for it, by that name's weight and bias."""
        architecture = self.config.architecture
        normalize = functions.rms_norm if architecture.norm == "rms" else functions.layer_norm
        return normalize(rows, *self.norm_of(name), size, architecture.layer_norm_eps)

    def norm_of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A norm's weight and bias."""
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    def multiply(self, linear: str, source: np.ndarray) -> np.ndarray:
        """What a float32 matrix makes of float32 rows."""
        return apply_float32(source, linear, self.weights)

    @singledispatchmethod
    def execute(self, step: steps.Step) -> None:
        """One step of the plan: what it reads and writes are `rows` and `codes`."""
        raise TypeError(type(step))

    @execute.register
    def _(self, step: steps.Embed) -> None:
        index = {"word": self.ids, "position": self.positions, "token_type": self.token_types}
        rows = np.zeros((len(self.ids), step.out.width), np.float32)
        for name in step.tables:
            table = self.config.tables[name]
            rows += look_up(name, table, self.tensors, index[name.removeprefix("embeddings.")])
        if step.total is not None:
            self.rows[step.total.name] = rows
        if step.norm is not None:
            rows = self.norm(rows, step.norm, self.config.architecture.table_size)
        self.finish(rows, step.out, step.codes)

    @execute.register
    def _(self, step: steps.Quantize) -> None:
        self.finish(self.rows[step.source.name], None, step.codes)

    @execute.register
    def _(self, step: steps.Matmul) -> None:
        if isinstance(step.source, Codes):
            rows = apply_int8(*self.codes[step.source.name], step.linear, self.weights)
        else:
            source = self.rows[step.source.name]
            if self.hook is not None:
                self.hook(step.linear, source)
            rows = self.multiply(step.linear, source)
        if step.gated:
            half = rows.shape[1] // 2
            rows = functions.activate(rows[:, :half], step.activation) * rows[:, half:]
        else:
            if step.residual is not None:
                rows += self.rows[step.residual.name]
            rows = functions.activate(rows, step.activation)
        if step.total is not None:
            self.rows[step.total.name] = rows
        if step.norm is not None:
            rows = self.norm(rows, step.norm, self.config.linears[step.linear].out_features)
        self.finish(rows, step.out, step.codes)

    @execute.register
    def _(self, step: steps.Rotate) -> None:
        table = self._rotary_table(step.rotation, step.head_size, int(self.positions.max()) + 1)
        cosine, sine = table[self.positions].transpose(1, 0, 2)
        rows = self.rows[step.buffer.name]
        width = 2 * step.num_heads * step.padded_head_size
        heads = rows[:, :width].reshape(len(rows), -1, step.padded_head_size)
        swapped = heads.reshape(*heads.shape[:2], -1, 2)[..., ::-1].reshape(heads.shape)
        rotated = heads * cosine[:, None] + swapped * sine[:, None]
        self.rows[step.buffer.name] = np.concatenate([rotated.reshape(len(rows), width), rows[:, width:]], axis=1)

    @execute.register
    def _(self, step: steps.Attend) -> None:
        source = self.rows[step.source.name]
        width = step.padded_head_size
        bias = self.tensors[step.bias] if step.bias else None
        context = np.empty((len(source), step.num_heads, width), np.float32)
        by_head = context.transpose(1, 0, 2)
        if step.relative is not None:
            turns = list(enumerate(self._relative(step.relative, step)))
        elif step.exact:
            turns = [(head, None) for head in range(step.num_heads)]
        else:
            turns = [(slice(None), None)]  # all heads at once: no scores of all tokens stand in memory
        counts = np.diff(self.starts) if self.attended is None else self.attended
        for (first, end), keys in zip(self.spans(), counts.tolist(), strict=True):
            parts = source[first:end].reshape(end - first, 3, step.num_heads, width).transpose(1, 2, 0, 3)
            for heads, relative in turns:
                query, key, value = parts[:, heads]
                by_head[heads, first:end] = attend(
                    query,
                    key[..., :keys, :],
                    value[..., :keys, :],
                    step.head_size,
                    exact=step.exact,
                    bias=None if bias is None else bias[heads],
                    window=step.window,
                    relative=relative,
                )
        context = context.reshape(len(source), step.out.width)
        self.rows[step.out.name] = context if step.out.rows == "tokens" else context[self.starts[:-1]]

    def _relative(self, names: tuple[str, str], step: steps.Attend) -> list[RelativeTables]:
        """Each head's tables of keys and queries of distances."""
        keys, queries = (self.tensors[f"{name}.weight"] for name in names)
        ones = np.ones(keys.shape[:2], np.float32)
        key_scales, query_scales = (ones if step.exact else self.tensors[f"{name}.scale"] for name in names)
        rows = self.tensors[DISTANCE_ROWS]
        return [
            RelativeTables(rows, keys[:, head], key_scales[:, head], queries[:, head], query_scales[:, head])
            for head in range(step.num_heads)
        ]

    @execute.register
    def _(self, step: steps.PruneTokens) -> None:
        kept = []
        for first, end in self.spans():
            source = self.rows[step.source.name][first:end]
            heads = source.reshape(end - first, 3, step.num_heads, step.padded_head_size)
            given = first_token_attention(heads[0, 0], heads[:, 1], step.head_size)
            kept.append(first + tokens_to_keep(given, step.keep))
        self.keep(list(map(len, kept)), np.concatenate(kept), step.hidden, step.context)

    @execute.register
    def _(self, step: steps.SelectTokens) -> None:
        if self.wanted is not None:
            lengths = [int(self.wanted[first:end].sum()) for first, end in self.spans()]
            self.keep(lengths, np.flatnonzero(self.wanted), step.hidden, step.context)

    @execute.register
    def _(self, step: steps.Exit) -> None:
        logits = self.rows[step.logits.name][:, : step.labels]
        sure = np.array([is_sure(row, step.threshold) for row in logits])
        self.left |= dict(zip(self.numbers[sure].tolist(), logits[sure], strict=True))
        self.numbers = self.numbers[~sure]
        lengths = np.diff(self.starts)
        self.keep(lengths[~sure].tolist(), np.repeat(~sure, lengths), step.hidden)

    @execute.register
    def _(self, step: steps.Mix) -> None:
        rows = self.rows[step.source.name] * np.float32(step.weight)
        self.rows[step.out.name] = rows if step.first else self.rows[step.out.name] + rows

    @execute.register
    def _(self, step: steps.Pool) -> None:
        pooled = np.zeros((len(self.starts) - 1, step.out.width), np.float32)
        for text, (first, end) in enumerate(self.spans()):
            rows, places = self.rows[step.source.name][first:end, : step.size], np.arange(1, end - first + 1)
            if self.wanted is not None:
                rows, places = rows[self.wanted[first:end]], places[self.wanted[first:end]]
            parts = [functions.pool(rows, places, kind) for kind in step.kinds]
            pooled[text, : len(parts) * step.size] = np.concatenate(parts)
        self.rows[step.out.name] = pooled

    @execute.register
    def _(self, step: steps.Norm) -> None:
        rows = self.rows[step.buffer.name]
        self.rows[step.buffer.name] = functions.layer_norm(rows, *self.norm_of(step.norm), step.size, step.eps)

    @execute.register
    def _(self, step: steps.Normalize) -> None:
        self.rows[step.buffer.name] = functions.normalize(self.rows[step.buffer.name])
