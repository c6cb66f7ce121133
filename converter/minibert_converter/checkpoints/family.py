"""The vocabulary in which a family of checkpoints is described: a table of names, not code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minibert.format.constants import Activation, NormKind, Pooling, TaskKind
from minibert_converter.checkpoints.config_file import ConfigFile, Key
from minibert_converter.checkpoints.rotary import Rotary
from minibert_converter.checkpoints.sizes import Sizes
from minibert_converter.network import Float32Array

#: How far each layer's attention reaches, and its rotary positions.
Attention: TypeAlias = Sequence[tuple[int, Rotary]]


@dataclass(frozen=True)
class HeadSource:
    """One linear of a head, and what follows it.

    Attributes:
        name: ours.
        source: the checkpoint's name, without `.weight` and `.bias`.
        activation: what follows the linear; a Key where config.json says it.
        norm: the checkpoint's name of a LayerNorm after that.
        tied: whether the weights are those of the word embeddings where the checkpoint stores none of its own.
        bias: another name of the bias, taken where `source.bias` is not there.
    """

    name: str
    source: str
    activation: Activation | Key = "none"
    norm: str | None = None
    tied: bool = False
    bias: str | None = None


@dataclass(frozen=True)
class Head:
    """What a task adds to the encoder: how tokens become rows, and the linears that follow.

    A `pooling` that is a Key is config.json's to say; "late" is the mean of what the linears make of every token, the
    last of which, being linear, may as well come after it. `must_be` are keys that change the head -> the one value
    that is understood.
    """

    pooling: Pooling | Key
    linears: tuple[HeadSource, ...] = ()
    must_be: Mapping[str, Any] = field(default_factory=dict)

    def pool_after(self, config: ConfigFile) -> int:
        """How many of the linears come before pooling."""
        late = isinstance(self.pooling, Key) and config.value(self.pooling) == "late"
        return len(self.linears) - 1 if late else 0


@dataclass(frozen=True)
class RelativePositions:
    """Where a checkpoint has what becomes tables of keys and queries of distances (DeBERTa, arXiv 2006.03654).

    Attributes:
        rows: embeddings of distances.
        row_of: int32 [2 n - 1], the one of each distance i - j of query i and key j, -(n - 1) to n - 1.
        table: the checkpoint's name of them, without `.weight`.
        norm: that of the LayerNorm behind them, if any.
        key: that of the linear which makes a layer's keys of them; it may have no bias.
        query: that of the one which makes queries.
    """

    rows: int
    row_of: npt.NDArray[np.int32]
    table: str
    norm: str | None
    key: str
    query: str


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one `model_type` name things.

    Attributes:
        model_type: as in config.json.
        prefixes: what may stand before the encoder's names; the first that fits a name is taken off.
        renamed: endings of old checkpoints, and what they are called today.
        sizes: our name of a size -> its key in config.json. Those of `Sizes`; what is absent has its default there.
        used_if: our name of a size -> key that says whether it counts; else it is 0.
        activation: key of the feed-forward's activation.
        layer_norm_eps: key of the LayerNorms' epsilon.
        must_be: keys that change what the network computes -> the one value that is understood.
        tensors: our name -> the checkpoint's; `{layer}` stands for the layer's number, `{group}` for the number of the
            weights that it shares with others, `{next}` for the layer after it. A linear or LayerNorm is named without
            `.weight` and `.bias`. The parts are those of the network, with Q, K and V apart
            (layers.{layer}.attention.{query,key,value}) or as one (layers.{layer}.attention.qkv), and a table whose
            first row every token gets (embeddings.task_type).
        heads: task -> its head.
        architectures: name in config.json's `architectures` -> the task it was made for.
        unused: regular expressions of names that may be there and are not needed by any task above, such as
            buffers and the heads of pre-training.
        padding_id: key of the padding token's id, where positions are counted from behind it: the rows of the
            position table up to that one are never used.
        attention: from config.json and its sizes, how far each layer's attention reaches to either side (0:
            everywhere), and its rotary positions.
        interleaved: whether rotary positions turn neighbouring features, not feature i with i + head_size / 2.
        position_bias: name of a table of biases, without `.weight`, or None for one without rows; and from its numbers
            [rows, heads] the biases [heads, 2 n - 1] of all distances query - key from -(n - 1) to n - 1.
        relative: from config.json and its sizes, how attention knows of distances beside the biases.
        biases_by_head: names of the biases of queries and values, where those of `layers.{layer}.attention.qkv` lie
            apart and keys have none.
        last_norm: the checkpoint's name of the norm behind the last layer, for networks whose norms stand ahead of what
            they are for: `layers.{layer}.ffn.norm` is then the one ahead of layer {next}'s attention.
        norm: whether norms are LayerNorm, or RMSNorm.
        sum_of_embeddings: whether the first layer adds to what its own norm reads: `embeddings.norm` is then that one.
        unscaled: whether scores of attention are not divided by the square root of the head size.
        qkv_by_head: whether rows of `layers.{layer}.attention.qkv` are a head's Q, K and V, and then the next one's,
            not all heads' Q first.
        words: other names of the words' table, without `.weight`, taken where it isn't there under its own.
        any_length: whether the network takes texts of any length, so that config.json need not say the longest.
        gated: whether the feed-forward is down(activation(a) * b). The checkpoint has a and b as one matrix, a above b
            (layers.{layer}.ffn.up) or b above a (layers.{layer}.ffn.up_gate), or a as layers.{layer}.ffn.gate.
        optional_biases: whether a linear or LayerNorm may have no bias.
        bias_keys: regular expressions of the names of linears and norms -> the key that says whether they have one; one
            without a name where its default does.
        tokenizer: the class of its tokenizers in transformers, where a checkpoint names none.
        other_types: what else checkpoints of the same network have as their `model_type`.
        layouts: other tables like `tensors`; the first counts of which a checkpoint has all of the first layer.
        code: regular expression of the classes in config.json's `auto_map`, code that comes with checkpoints, that
            compute what this table says. With any other class the network is not known.
        told_by: keys of config.json and their values by which it is told from the others of its `model_type`.
        configured: makes of this table the one that config.json calls for, where more than sizes goes by it.
    """

    model_type: str
    prefixes: tuple[str, ...]
    sizes: Mapping[str, Key]
    activation: Key | Activation
    layer_norm_eps: Key
    tensors: Mapping[str, str]
    heads: Mapping[TaskKind, Head]
    architectures: Mapping[str, TaskKind]
    renamed: Mapping[str, str] = field(default_factory=dict)
    used_if: Mapping[str, Key] = field(default_factory=dict)
    must_be: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    padding_id: Key | None = None
    attention: Callable[[ConfigFile, Sizes], Attention] | None = None
    interleaved: bool = False
    position_bias: tuple[str | None, Callable[[Float32Array, int], Float32Array]] | None = None
    relative: Callable[[ConfigFile, Sizes], RelativePositions] | None = None
    biases_by_head: tuple[str, str] | None = None
    last_norm: str | None = None
    norm: NormKind = "layer"
    sum_of_embeddings: bool = False
    unscaled: bool = False
    qkv_by_head: bool = False
    words: tuple[str, ...] = ()
    any_length: bool = False
    gated: bool = False
    optional_biases: bool = False
    bias_keys: Mapping[str, Key] = field(default_factory=dict)
    tokenizer: str = "BertTokenizer"
    other_types: tuple[str, ...] = ()
    layouts: tuple[Mapping[str, str], ...] = ()
    code: str | None = None
    told_by: Mapping[str, Any] = field(default_factory=dict)
    configured: Callable[[Family, ConfigFile], Family] | None = None


def task_classes(name: str, *, pretraining: bool = False) -> dict[str, TaskKind]:
    """What transformers calls the classes of a family, and the task of each.

    Args:
        name: what the classes begin with.
        pretraining: whether the class of pre-training has the head of masked words.
    """
    classes: dict[str, TaskKind] = {
        f"{name}ForSequenceClassification": "text-classification",
        f"{name}ForTokenClassification": "token-classification",
        f"{name}ForQuestionAnswering": "question-answering",
        f"{name}ForMaskedLM": "fill-mask",
        f"{name}Model": "sentence-embedding",
    }
    return {**classes, f"{name}ForPreTraining": "fill-mask"} if pretraining else classes


def classifier(dense: str, activation: Activation | Key, output: str) -> Head:
    """A classifier on the first token: a dense layer, and the linear behind it."""
    return Head("cls", (HeadSource("head.dense", dense, activation), HeadSource("head.output", output)))


def masked_words(dense: str, activation: Activation | Key, norm: str, decoder: str, *, bias: str | None = None) -> Head:
    """The head for masked words: a dense layer with a norm, and a decoder whose weights may be the words' own."""
    linears = (
        HeadSource("head.dense", dense, activation, norm),
        HeadSource("head.output", decoder, tied=True, bias=bias),
    )
    return Head("none", linears)


def heads(
    *,
    text_classification: Head,
    fill_mask: Head,
    token_classification: Head = Head("none", (HeadSource("head.output", "classifier"),)),
    question_answering: Head = Head("none", (HeadSource("head.output", "qa_outputs"),)),
) -> Mapping[TaskKind, Head]:
    """The heads of a family by task; those with a default are nearly everywhere one linear on all rows."""
    return {
        "text-classification": text_classification,
        "fill-mask": fill_mask,
        "token-classification": token_classification,
        "question-answering": question_answering,
        "sentence-embedding": Head("mean"),
    }
