"""A model becomes a plan: a flat list of steps over a few buffers, the same for every backend."""

from __future__ import annotations

from minibert.format.constants import padded
from minibert.format.parts import low_rank_part
from minibert.format.schema import Architecture, Config
from minibert.plan.steps import (
    TABLES,
    Attend,
    Buffer,
    Codes,
    Embed,
    Exit,
    Matmul,
    Mix,
    Norm,
    Normalize,
    Plan,
    Pool,
    PruneTokens,
    Quantize,
    Rotate,
    Rows,
    SelectTokens,
    Step,
    StepActivation,
)

#: Every likeliest label is more probable; and what engines compare with, one by it, is a float32.
_LEAST_THRESHOLD = 2.0**-100


class _Builder:
    """Collects steps; knows which linears want codes and hands out the two code buffers in turn.

    A matmul writes the codes of the next one while its own are still being read, so two buffers take turns.
    """

    def __init__(self, config: Config, every_token: bool) -> None:
        self.config = config
        self.every_token = every_token
        exits = () if every_token else config.architecture.exits
        self.exits = {one.after: max(one.threshold, _LEAST_THRESHOLD) for one in exits}
        self.steps: list[Step] = []
        self.turn = 0

    def codes_for(self, linear: str, rows: Rows = "tokens") -> Codes | None:
        spec = self.config.linears[linear]
        if spec.kind == "float32":
            return None
        self.turn ^= 1
        return Codes(f"{rows}.codes{self.turn}", rows, spec.in_features, linear)

    def matmul(
        self,
        linear: str,
        source: Buffer | Codes,
        out: Buffer,
        *,
        following: str | None = None,
        keep: bool = True,
        activation: StepActivation = "none",
        residual: Buffer | None = None,
        norm: str | None = None,
        gated: bool = False,
        total: Buffer | None = None,
    ) -> Buffer | Codes:
        """Append a matmul; returns what the `following` linear reads. `keep`: the float32 rows are needed as well."""
        if parts := low_rank_part(linear, self.config.linears):
            residual = self.low_rank(*parts, source, out, residual)
        codes = self.codes_for(following, out.rows) if following else None
        stored = out if keep or codes is None else None
        if stored is None and activation == "gelu":
            activation = "gelu_codes"
        self.steps.append(Matmul(linear, source, activation, residual, norm, stored, codes, gated, total))
        return codes or out

    def low_rank(self, down: str, up: str, source: Buffer | Codes, out: Buffer, residual: Buffer | None) -> Buffer:
        """Append the low-rank part of a linear: two matmuls, whose result (and the residual) is what it adds."""
        width = padded(self.config.linears[up].out_features)
        result = _of_one_width(f"{out.rows}.low_rank", out.rows, width)
        inner = self.config.linears[up].in_features
        if isinstance(source, Codes):  # not one of the two buffers that take turns: the linear is still to read its own
            codes = Codes(f"{out.rows}.codes.low_rank", out.rows, inner, up)
            self.steps.append(Matmul(down, source, "none", None, None, None, codes))
            self.steps.append(Matmul(up, codes, "none", residual, None, result, None))
        else:
            middle = _of_one_width(f"{out.rows}.low_rank.middle", out.rows, inner)
            self.steps.append(Matmul(down, source, "none", None, None, middle, None))
            self.steps.append(Matmul(up, middle, "none", residual, None, result, None))
        return result

    def quantize(self, source: Buffer, linear: str) -> Buffer | Codes:
        codes = self.codes_for(linear, source.rows)
        if codes is None:
            return source
        self.steps.append(Quantize(source, codes))
        return codes


def _of_one_width(name: str, rows: Rows, width: int) -> Buffer:
    """A buffer named by its width besides.

    Threads of a team may be some steps apart where no attention lies between, and a row of one width lies where
    another thread's rows of another width do. Buffers of one name but several widths are for what is written once
    between two attentions, when all threads are done with what was there.
    """
    return Buffer(f"{name}.{width}", rows, width)


def build_plan(config: Config, every_token: bool = False, token_heads: bool = False) -> Plan:
    """The plan of a model (shapes only: no tensor is looked at).

    What nobody reads is not computed: with "cls" pooling, only the first token of each text goes on from the last
    layer's attention. `every_token` lets all of them through all layers and heads, for whoever wants to see what
    linears read; `token_heads` hands out what token heads make of them beside the answer.
    """
    token_heads = token_heads or every_token
    architecture = config.architecture
    build = _Builder(config, every_token)
    hidden = Buffer("hidden", "tokens", padded(architecture.hidden_size))
    queries = hidden
    if _is_of_first_token(architecture) and not (every_token or (token_heads and architecture.token_heads)):
        queries = Buffer("pooled", "texts", hidden.width)
    source = _embed(build, hidden)
    mixed = _mix(build, 0, hidden, hidden)
    last = len(architecture.layers) - 1
    for number in range(last + 1):
        source = _layer(build, number, source, hidden, queries if number == last else hidden)
        mixed = _mix(build, number + 1, hidden, mixed)
    token_outputs = _token_heads(build, hidden) if token_heads else ()
    output, features = _head(build, mixed if architecture.layer_weights else queries)
    return Plan(tuple(build.steps), output, features, token_outputs)


def _is_of_first_token(architecture: Architecture) -> bool:
    """Whether nobody reads more of the last layer's rows than that of each text's first token."""
    everything = architecture.layer_weights or architecture.pool_after or not architecture.pool_prompt
    return bool(architecture.layers) and architecture.pooling == "cls" and not everything


def _mix(build: _Builder, number: int, hidden: Buffer, mixed: Buffer) -> Buffer:
    """The rows of `hidden`, which are those of layer `number`, are added to the sum of all layers; returns that."""
    weights = build.config.architecture.layer_weights
    if not weights or weights[number] == 0:
        return mixed
    out = Buffer("mixed", "tokens", hidden.width)
    build.steps.append(Mix(hidden, out, weights[number], not any(weights[:number])))
    return out


def _embed(build: _Builder, hidden: Buffer) -> Buffer | Codes:
    """Token ids to `hidden`; returns what the first layer reads."""
    architecture, norm = build.config.architecture, "embeddings.norm"
    tables = tuple(name for name in TABLES if name in build.config.tables)
    if not architecture.layers:
        build.steps.append(Embed(tables, None, hidden, None))
        return hidden
    first = "layers.0.attention.qkv"
    following, embedded, total = first, hidden, None
    if architecture.sum_of_embeddings:
        embedded, total = Buffer("normed", "tokens", hidden.width), hidden
    if architecture.embedding_size:
        following, embedded = "embeddings.projection", Buffer("embedded", "tokens", padded(architecture.embedding_size))
    if architecture.word_size:
        words, others = Buffer("words", "tokens", padded(architecture.word_size)), tables[1:]
        codes = build.codes_for("embeddings.word_projection")
        build.steps.append(Embed(tables[:1], None, words, codes))
        if others:
            build.steps.append(Embed(others, None, embedded, None))
        residual = embedded if others else None
        source = build.matmul(
            "embeddings.word_projection",
            codes or words,
            embedded,
            following=following,
            residual=residual,
            norm=norm,
            total=total,
        )
    else:
        codes = build.codes_for(following)
        build.steps.append(Embed(tables, norm, embedded, codes, total))
        source = codes or embedded
    if architecture.embedding_size:
        return build.matmul("embeddings.projection", source, hidden, following=first)
    return source


def _layer(build: _Builder, number: int, source: Buffer | Codes, hidden: Buffer, queries: Buffer) -> Buffer | Codes:
    """One transformer layer, from what it reads to what the next one reads; from attention on with rows `queries`."""
    architecture = build.config.architecture
    layer, name = architecture.layers[number], f"layers.{number}"
    last = number + 1 == len(architecture.layers)
    exits = number in build.exits
    following = None if last or exits else f"layers.{number + 1}.attention.qkv"
    head_width = padded(architecture.head_size)
    qkv = Buffer("qkv", "tokens", 3 * layer.num_heads * head_width)
    context = Buffer("context", queries.rows, layer.num_heads * head_width)
    inner = Buffer("inner", queries.rows, padded(layer.ffn_size))
    exact = build.config.linears[f"{name}.attention.qkv"].kind == "float32"
    bias = f"{name}.attention.position_bias" if architecture.position_bias else None
    relative = (f"{name}.attention.position_key", f"{name}.attention.position_query")
    heads = (layer.num_heads, architecture.head_size, head_width)
    # Before a norm that stands ahead of what reads it, the sum itself stays in `hidden` for the residual.
    pre_norm = architecture.pre_norm
    normed = Buffer("normed", queries.rows, hidden.width) if pre_norm else queries

    build.matmul(f"{name}.attention.qkv", source, qkv)
    if rotation := architecture.rotation(layer):
        build.steps.append(Rotate(qkv, *heads, rotation))
    build.steps.append(
        Attend(qkv, context, *heads, exact, bias, layer.window, relative if architecture.relative_rows else None)
    )
    if queries != hidden:
        build.steps.append(Pool(("cls",), hidden, queries, architecture.hidden_size))
    elif layer.keep_tokens < 1 and not build.every_token:
        build.steps.append(PruneTokens(qkv, hidden, context, *heads, layer.keep_tokens))
    elif last and architecture.pooling == "none":
        build.steps.append(SelectTokens(hidden, context))
    source = build.quantize(context, f"{name}.attention.output")
    source = build.matmul(
        f"{name}.attention.output",
        source,
        normed,
        following=f"{name}.ffn.up",
        keep=not pre_norm,
        residual=queries,
        norm=f"{name}.attention.norm",
        total=queries if pre_norm else None,
    )
    source = build.matmul(
        f"{name}.ffn.up",
        source,
        inner,
        following=f"{name}.ffn.down",
        keep=False,
        activation=architecture.activation,
        gated=architecture.gated,
    )
    source = build.matmul(
        f"{name}.ffn.down",
        source,
        queries if last else normed,
        following=following,
        keep=last or not pre_norm,
        residual=queries,
        norm=f"{name}.ffn.norm",
        total=queries if pre_norm and not last else None,
    )
    return _exit(build, number, hidden) if exits else source


def _exit(build: _Builder, number: int, hidden: Buffer) -> Buffer | Codes:
    """After layer `number`, texts that are sure of their label leave; returns what the next layer reads."""
    name = f"exits.{number}"
    labels = build.config.linears[name].out_features
    pooled = Buffer("pooled", "texts", hidden.width)
    logits = Buffer("exit", "texts", padded(labels))
    build.steps.append(Pool(("mean",), hidden, pooled, build.config.architecture.hidden_size))
    build.matmul(name, build.quantize(pooled, name), logits)
    build.steps.append(Exit(logits, hidden, labels, build.exits[number]))
    return build.quantize(hidden, f"layers.{number + 1}.attention.qkv")


def _token_heads(build: _Builder, hidden: Buffer) -> tuple[tuple[Buffer, int], ...]:
    """What is made of every token's last row; returns where it is, with how many columns."""
    outputs = []
    for head in build.config.architecture.token_heads:
        features = build.config.linears[head.name].out_features
        out = _of_one_width(head.name, "tokens", padded(features))
        build.matmul(head.name, build.quantize(hidden, head.name), out, activation=head.activation)
        if head.normalize:
            build.steps.append(Normalize(out))
        outputs.append((out, features))
    return tuple(outputs)


def _head(build: _Builder, hidden: Buffer) -> tuple[Buffer, int]:
    """What stands behind the encoder, layer after layer, pooling among them; returns the rows and their width."""
    architecture = build.config.architecture
    head, poolings = architecture.head, architecture.poolings
    current, size, linears = hidden, architecture.hidden_size, 0
    source: Buffer | Codes = current
    for place in range(len(head) + 1):
        if poolings and place == architecture.pool_after:
            if current.rows == "tokens":
                pooled = Buffer("pooled", "texts", padded(size * len(poolings)))
                build.steps.append(Pool(poolings, current, pooled, size))
                source = current = pooled
            size *= len(poolings)
        if place == len(head):
            break
        layer = head[place]
        if layer.kind == "normalize":
            build.steps.append(Normalize(current))
        elif layer.kind == "norm":
            build.steps.append(Norm(current, layer.name, size, layer.eps))
        else:
            size = build.config.linears[layer.name].out_features
            given, current = current, _of_one_width(f"head{linears % 2}", current.rows, padded(size))
            source = _head_linear(build, place, source, given, current)
            linears += 1
    if architecture.normalize:
        build.steps.append(Normalize(current))
    return current, size


def _head_linear(build: _Builder, place: int, source: Buffer | Codes, given: Buffer, out: Buffer) -> Buffer | Codes:
    """A linear of the head, whose input stands in `given` if that is kept; returns what comes next reads."""
    architecture = build.config.architecture
    layer, later = architecture.head[place], architecture.head[place + 1 : place + 2]
    pools = bool(architecture.poolings) and place + 1 == architecture.pool_after
    # Codes are made at once where a linear is what reads them, and nothing else.
    following = later[0] if later and later[0].kind == "linear" and not (pools or layer.residual) else None
    if isinstance(source, Buffer):
        source = build.quantize(source, layer.name)
    source = build.matmul(
        layer.name,
        source,
        out,
        following=following.name if following else None,
        keep=following is None or following.residual,
        activation=layer.activation,
        norm=f"{layer.name}.norm" if layer.norm else None,
    )
    if layer.residual:
        build.steps.append(Mix(given, out, 1.0, False))
    return source
