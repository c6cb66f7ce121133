"""A plan becomes the integer table that the kernels walk, and the layout of the memory that they work in."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from functools import singledispatchmethod

import numpy as np

from minibert import numerics
from minibert import plan as steps
from minibert.engine.addresses import Addresses
from minibert.engine.arena import Arena
from minibert.format.constants import BLOCK_KINDS, FOUR_BIT_KINDS, Pooling, padded
from minibert.format.four_bit import four_bit_parts
from minibert.format.parts import Linear
from minibert.format.relative import DISTANCE_ROWS
from minibert.format.schema import Config
from minibert.kernels import opcodes as op
from minibert.kernels.isa import TARGETS
from minibert.kernels.opcodes import Op
from minibert.kernels.scratch import attention_scratch, matmul_scratch, position_scratch
from minibert.plan import Buffer, Codes, Plan
from minibert.reference.selection import kept_parts
from minibert.tuples import NamedTuple

#: More than any text has tokens.
_NO_WINDOW = 1 << 40
_KINDS = {
    "int8": op.INT8,
    "float32": op.FLOAT32,
    "int8-4x4": op.BLOCK_SPARSE,
    "int4": op.INT4,
    "codebook": op.CODEBOOK_MATRIX,
    "int4-4x4": op.INT4_BLOCKS,
}
#: Where a step has the entries of each table; of each kind of table, the parts that hold its rows and decode them.
_TABLES = {"embeddings.word": op.WORD, "embeddings.position": op.POSITION, "embeddings.token_type": op.TYPE}
_TABLE_KINDS = {
    "float32": (op.FLOAT32_ROWS, "weight", ""),
    "float32-panels": (op.FLOAT32_PANELS, "weight", ""),
    "int8": (op.INT8_ROWS, "weight", ""),
    "int8-panels": (op.INT8_PANELS, "weight", ""),
    "int4": (op.INT4_ROWS, "codes", "multiplier"),
    "codebook": (op.CODEBOOK, "codes", "codebook"),
}
#: Where the caller's rows of tokens are, beside those of the answer itself.
_TOKEN_OUTS = (op.JOB_TOKEN_OUT, op.JOB_SECOND_TOKEN_OUT)
_POOLS: Mapping[Pooling, int] = {
    "cls": op.POOL_CLS,
    "last": op.POOL_LAST,
    "max": op.POOL_MAX,
    "mean": op.POOL_MEAN,
    "weighted_mean": op.POOL_WEIGHTED_MEAN,
    "mean_sqrt_length": op.POOL_MEAN_SQRT_LENGTH,
}


class Program(NamedTuple):
    """A lowered plan: the table that the kernels walk, and how much memory they work in.

    Attributes:
        table: int64 [steps, STEP_FIELDS].
        arena_bytes: memory of the buffers of one chunk.
        scratch_bytes: memory that each thread needs for itself.
        shared_sums_bytes: memory for sums that a team of threads makes together.
        most_width: columns of the widest step.
        macs: multiply-adds of the linears for one token.
        tensors: what the addresses in the table point to, kept alive.
    """

    table: np.ndarray
    arena_bytes: int
    scratch_bytes: int
    shared_sums_bytes: int
    most_width: int
    macs: int
    tensors: tuple[np.ndarray, ...]


def lower(
    plan: Plan,
    config: Config,
    tensors: Mapping[str, np.ndarray],
    tokens: int,
    texts: int,
    isa: str,
    dense_tokens: Callable[[float], range] = lambda density: range(0),
) -> Program:
    """Lower a plan for chunks of up to `tokens` tokens in up to `texts` texts, and the kernels of `isa`.

    `dense_tokens` says for how many tokens at once a block-sparse matrix of some density is multiplied as a dense one.
    """
    capacity = {"tokens": tokens, "texts": texts}
    target = TARGETS[isa]
    lowering = _Lowering(plan, config, tensors, capacity, dense_tokens, target.block_rows)
    rows = [lowering.lower(step) for step in plan.steps]
    token_outputs = zip(plan.token_outputs, _TOKEN_OUTS, strict=False)
    rows += [lowering.output(buffer, columns, place) for (buffer, columns), place in token_outputs]
    rows.append(lowering.output(plan.output, plan.out_features, op.JOB_OUT))
    table = np.array([[row.get(field, 0) for field in range(op.STEP_FIELDS)] for row in rows], np.int64)
    sums = lowering.block_rows * (lowering.most_width + op.SUMS_PADDING) * 4
    # Epilogues, then attention or packed tokens, follow the private sums in a thread's scratch: see run_span.
    attention = attention_scratch(tokens, lowering.most_head_width) + lowering.most_positions
    free = max(attention, lowering.most_packed)
    scratch = sums + target.rows_at_once * lowering.most_width * 4 + free
    used = tuple(lowering.addresses.used)
    return Program(table, lowering.arena.size, scratch, sums, lowering.most_width, lowering.macs, used)


class _Lowering:
    """Writes each step as a row {field: value}; buffers get their places as steps name them."""

    def __init__(
        self,
        plan: Plan,
        config: Config,
        tensors: Mapping[str, np.ndarray],
        capacity: Mapping[str, int],
        dense_tokens: Callable[[float], range],
        block_rows: int,
    ) -> None:
        self.dense_tokens = dense_tokens
        self.block_rows = block_rows
        self.config = config
        self.arena = Arena(plan, capacity)
        self.addresses = Addresses(tensors, self.arena.widest)
        self.most_width = 0
        self.most_head_width = 16
        self.most_positions = 0
        self.most_packed = 0
        self.macs = 0

    def _selection(self, hidden: Buffer) -> dict[int, int]:
        """The entries that steps share after which fewer tokens or texts go on."""
        texts = self.arena.capacity["texts"]
        return {
            op.TEXTS_LEFT: self.arena.reserve("texts left", 8),
            op.STARTS: self.arena.reserve("starts", 8 * (texts + 1)),
            op.HIDDEN: self.arena.buffer(hidden),
            op.HIDDEN_WIDTH: hidden.width,
        }

    def result(
        self, out: Buffer | None, codes: Codes | None, norm: str | None, columns: int, eps: float | None = None
    ) -> dict[int, int]:
        """The entries that say where a step's rows go; `columns` of them count, the others are padding."""
        width = padded(columns)
        self.most_width = max(self.most_width, width)
        row = {op.OUT: self.arena.buffer(out), op.WIDTH: width, op.CODES: -1, op.FACTOR: self.addresses.ones}
        if codes is not None:
            row |= {
                op.CODES: self.arena.codes(codes),
                op.CODES_STRIDE: self.arena.stride(codes),
                op.SCALES: self.arena.scales(codes),
            }
            if self.config.linears[codes.linear].input_factor:
                row[op.FACTOR] = self.addresses.tensor(f"{codes.linear}.input_factor")
        if norm is not None:
            row |= {
                op.NORM_WEIGHT: self.addresses.tensor(f"{norm}.weight"),
                op.NORM_BIAS: self.addresses.tensor(f"{norm}.bias"),
                op.NORM_SIZE: columns,
                op.NORM_EPS: _bits(self.config.architecture.layer_norm_eps if eps is None else eps),
                op.NORM_RMS: int(self.config.architecture.norm == "rms" and eps is None),
            }
        return row

    @singledispatchmethod
    def lower(self, step: steps.Step) -> dict[int, int]:
        raise TypeError(type(step))

    @lower.register(steps.Embed)
    def _(self, step: steps.Embed) -> dict[int, int]:
        columns = self.config.architecture.table_size if step.norm else step.out.width
        row = {op.OP: Op.EMBED, op.TOTAL: self.arena.buffer(step.total)}
        row |= self.result(step.out, step.codes, step.norm, columns)
        for name in step.tables:
            first, kind, size = _TABLES[name], self.config.tables[name].kind, self.config.tables[name].subvector_size
            number, rows, decoder = _TABLE_KINDS[kind]
            row[first + op.TABLE_KIND] = number + size.bit_length() - 1 if size else number
            row[first + op.TABLE] = self.addresses.tensor(f"{name}.{rows}")
            if not kind.startswith("float32"):
                row[first + op.TABLE_SCALE] = self.addresses.tensor(f"{name}.scale")
            if decoder:
                row[first + op.TABLE_DECODER] = self.addresses.tensor(f"{name}.{decoder}")
        return row

    @lower.register(steps.Quantize)
    def _(self, step: steps.Quantize) -> dict[int, int]:
        row = {op.OP: Op.QUANTIZE, op.ROWS: _rows(step.source), op.SOURCE: self.arena.buffer(step.source)}
        return row | self.result(None, step.codes, None, step.source.width)

    @lower.register(steps.Matmul)
    def _(self, step: steps.Matmul) -> dict[int, int]:
        linear, source = self.config.linears[step.linear], step.source
        row = {op.OP: Op.MATMUL, op.ROWS: _rows(source), op.KIND: _KINDS[linear.kind]}
        if isinstance(source, Codes):
            row |= {
                op.SOURCE: self.arena.codes(source),
                op.SOURCE_STRIDE: self.arena.stride(source),
                op.SOURCE_SCALES: self.arena.scales(source),
                op.INNER: linear.in_features,
                op.WEIGHT_SCALE: self.addresses.tensor(f"{step.linear}.scale"),
                op.WEIGHT_SUM: self.addresses.weight_sum(step.linear, linear),
            }
            self.most_packed = max(self.most_packed, matmul_scratch(self.block_rows, linear.in_features))
        else:
            row |= {
                op.SOURCE: self.arena.buffer(source),
                op.SOURCE_STRIDE: 4 * source.width,
                op.INNER: 4 * linear.in_features,
            }
        if linear.kind in BLOCK_KINDS:
            row |= self._blocks(step.linear, linear)
        elif linear.kind in FOUR_BIT_KINDS:
            codes, decoder = four_bit_parts(linear.kind)
            row[op.WEIGHT] = self.addresses.tensor(f"{step.linear}.{codes}")
            row |= {op.DECODER: self.addresses.tensor(f"{step.linear}.{decoder}"), op.GROUP_SIZE: linear.group_size}
        else:
            row[op.WEIGHT] = self.addresses.tensor(f"{step.linear}.weight")
        row |= {
            op.BIAS: self.addresses.tensor(f"{step.linear}.bias"),
            op.ACTIVATION: op.ACTIVATIONS[step.activation],
            op.RESIDUAL: self.arena.buffer(step.residual),
            op.OUTPUTS: padded(linear.out_features),
            op.TOTAL: self.arena.buffer(step.total),
        }
        self.most_width = max(self.most_width, row[op.OUTPUTS])
        if source.rows == "tokens":
            self.macs += linear.blocks * 16 or linear.in_features * padded(linear.out_features)
        return row | self.result(step.out, step.codes, step.norm, linear.out_features // (2 if step.gated else 1))

    def _blocks(self, name: str, linear: Linear) -> dict[int, int]:
        """The entries of a block-sparse matrix, with the dense copy that some numbers of tokens take.

        Blocks of four bits have none: who stores them wants them small.
        """
        row = {
            op.BLOCK_INDICES: self.addresses.tensor(f"{name}.index"),
            op.BLOCK_INDPTR: self.addresses.tensor(f"{name}.starts"),
        }
        if linear.kind == "int4-4x4":
            codes, multiplier = (self.addresses.tensor(f"{name}.{part}") for part in ("codes", "multiplier"))
            return row | {op.WEIGHT: codes, op.DECODER: multiplier}
        row[op.WEIGHT] = self.addresses.tensor(f"{name}.blocks")
        if dense := self.dense_tokens(linear.density):
            copy = self.addresses.dense_copy(name, linear)
            row |= {op.DENSE_WEIGHT: copy, op.DENSE_FROM: dense.start, op.DENSE_BELOW: dense.stop}
        return row

    def _biases(self, step: steps.Attend) -> dict[int, int]:
        """The entries for what is added to scores by distance: the model's biases, or a mask of keys far away."""
        if step.bias is not None:
            table, stride = self.addresses.biases(step.bias)
        elif step.window:
            table, stride = self.addresses.biases_of_window(step.window)
        else:
            return {op.WINDOW: _NO_WINDOW} | (self._relative(step.relative, step) if step.relative else {})
        return {op.BIAS_TABLE: table, op.BIAS_STRIDE: stride, op.WINDOW: step.window or _NO_WINDOW}

    def _relative(self, names: tuple[str, str], step: steps.Attend) -> dict[int, int]:
        """The entries for tables of keys and queries of distances."""
        furthest = self.config.architecture.max_positions - 1
        row = {op.DISTANCE_ROWS: self.addresses.tensor(DISTANCE_ROWS) + 4 * furthest, op.MOST_DISTANCE: furthest}
        for name, entry in zip(names, (op.POSITION_KEY, op.POSITION_QUERY), strict=True):
            row[entry] = self.addresses.tensor(f"{name}.weight")
            if not step.exact:
                row[entry + 1] = self.addresses.tensor(f"{name}.scale")
        memory = position_scratch(self.arena.capacity["tokens"], step.padded_head_size, step.exact)
        self.most_positions = max(self.most_positions, memory)
        return row

    @lower.register(steps.Rotate)
    def _(self, step: steps.Rotate) -> dict[int, int]:
        positions = min(self.arena.capacity["tokens"], self.config.architecture.max_positions)
        return {
            op.OP: Op.ROTATE,
            op.SOURCE: self.arena.buffer(step.buffer),
            op.WIDTH: step.buffer.width,
            op.HEADS: 2 * step.num_heads,
            op.HEAD_WIDTH: step.padded_head_size,
            op.ROTARY_TABLE: self.addresses.rotary(step.rotation, step.head_size, positions),
        }

    @lower.register(steps.Attend)
    def _(self, step: steps.Attend) -> dict[int, int]:
        self.most_head_width = max(self.most_head_width, step.padded_head_size)
        return self._biases(step) | {
            op.OP: Op.ATTEND,
            op.ROWS: _rows(step.out),
            op.SOURCE: self.arena.buffer(step.source),
            op.OUT: self.arena.buffer(step.out),
            op.WIDTH: step.out.width,
            op.HEADS: step.num_heads,
            op.HEAD_WIDTH: step.padded_head_size,
            op.HEAD_SCALE: _bits(numerics.LOG2_E / math.sqrt(step.products * step.head_size)),
            op.EXACT: int(step.exact),
        }

    @lower.register(steps.PruneTokens)
    def _(self, step: steps.PruneTokens) -> dict[int, int]:
        return self._selection(step.hidden) | {
            op.OP: Op.PRUNE_TOKENS,
            op.SOURCE: self.arena.buffer(step.source),
            op.HEADS: step.num_heads,
            op.HEAD_WIDTH: step.padded_head_size,
            op.HEAD_SCALE: _bits(numerics.LOG2_E / math.sqrt(step.head_size)),
            op.CONTEXT: self.arena.buffer(step.context),
            op.CONTEXT_WIDTH: step.context.width,
            op.KEPT: kept_parts(step.keep),
        }

    @lower.register(steps.SelectTokens)
    def _(self, step: steps.SelectTokens) -> dict[int, int]:
        return self._selection(step.hidden) | {
            op.OP: Op.SELECT_TOKENS,
            op.CONTEXT: self.arena.buffer(step.context),
            op.CONTEXT_WIDTH: step.context.width,
        }

    @lower.register(steps.Exit)
    def _(self, step: steps.Exit) -> dict[int, int]:
        return self._selection(step.hidden) | {
            op.OP: Op.EXIT,
            op.SOURCE: self.arena.buffer(step.logits),
            op.WIDTH: step.logits.width,
            op.COLUMNS: step.labels,
            op.SURE_BELOW: _bits(1 / step.threshold),
            op.NUMBERS: self.arena.reserve("numbers", 8 * self.arena.capacity["texts"]),
        }

    @lower.register(steps.Pool)
    def _(self, step: steps.Pool) -> dict[int, int]:
        return {
            op.OP: Op.POOL,
            op.ROWS: op.TEXTS,
            op.KIND: sum(_POOLS[kind] << number * op.POOL_BITS for number, kind in enumerate(step.kinds)),
            op.POOLS: len(step.kinds),
            op.SOURCE: self.arena.buffer(step.source),
            op.SOURCE_WIDTH: step.source.width,
            op.COLUMNS: step.size,
            op.OUT: self.arena.buffer(step.out),
            op.WIDTH: step.out.width,
        }

    @lower.register(steps.Mix)
    def _(self, step: steps.Mix) -> dict[int, int]:
        return {
            op.OP: Op.MIX,
            op.ROWS: _rows(step.out),
            op.SOURCE: self.arena.buffer(step.source),
            op.OUT: self.arena.buffer(step.out),
            op.WIDTH: step.out.width,
            op.MIX_WEIGHT: _bits(step.weight),
            op.MIX_ADDS: int(not step.first),
        }

    @lower.register(steps.Norm)
    def _(self, step: steps.Norm) -> dict[int, int]:
        return {op.OP: Op.NORM, op.ROWS: _rows(step.buffer)} | self.result(
            step.buffer, None, step.norm, step.size, step.eps
        )

    @lower.register(steps.Normalize)
    def _(self, step: steps.Normalize) -> dict[int, int]:
        buffer = step.buffer
        return {op.OP: Op.NORMALIZE, op.ROWS: _rows(buffer), op.OUT: self.arena.buffer(buffer), op.WIDTH: buffer.width}

    def output(self, buffer: Buffer, columns: int, place: int) -> dict[int, int]:
        """A last step: rows go to the caller, to what the job has at `place`."""
        return {
            op.OP: Op.OUTPUT,
            op.ROWS: _rows(buffer),
            op.SOURCE: self.arena.buffer(buffer),
            op.WIDTH: buffer.width,
            op.COLUMNS: columns,
            op.PLACE: place,
        }


def _rows(place: Buffer | Codes) -> int:
    return op.TEXTS if place.rows == "texts" else op.TOKENS


def _bits(value: float) -> int:
    return struct.unpack("<i", struct.pack("<f", value))[0]
