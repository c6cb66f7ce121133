"""The pass that keeps only the words that texts use: rows of the table of words, of a fill-mask head, and tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from minibert.errors import InputError
from minibert_converter.export import WORDS
from minibert_converter.network import AnyLinear, AnyTable, LinearWeights, Network, QuantizedLinear
from minibert_converter.passes.base import Outcome
from minibert_converter.passes.embeddings.tokenizer_cut import cut_tokenizer
from minibert_converter.progress import OnProgress, no_progress

Characters = Literal["all", "seen"]
#: Texts that go through the tokenizer at once.
_BATCH = 1000


def trim_vocabulary(
    network: Network,
    texts: Sequence[str],
    *,
    most: int | None = None,
    characters: Characters = "all",
    progress: OnProgress | None = None,
) -> Outcome:
    """Leaves out every token that neither the texts use nor the tokenizer needs.

    What stays: tokens of the texts, alone and behind each of the model's prompts; special and added tokens; every
    single character and byte, at the start of a word and within, so that any text can still be spelled. A text whose
    tokens all stay is cut into the same tokens as before, and answered the same; ids keep their order.

    Args:
        network: its tokenizer, words, and fill-mask head are replaced.
        texts: what the model will read, or texts like it.
        most: so many tokens, see `ranked_tokens`; None keeps those that the texts use.
        characters: those that can still be spelled: "all" that could be, or those "seen" in the texts and ASCII; a word
            with another then is unknown, as one with a character that no vocabulary has.
        progress: called with the stage "counting words" and counts of texts.

    Returns:
        Details: tokens of the vocabulary before and after, and those that the texts use; the others stay to spell what
        else may come.

    Raises:
        InputError: there is no text, or the words are stored in a form that cannot be cut any more.
        UnsupportedError: the tokenizer is of a kind that cannot be cut.
    """
    used = used_tokens(network, texts, progress or no_progress)
    wanted = used.keys() if most is None else ranked_tokens(used, network.architecture.vocab_size)[:most]
    seen = used.keys() if characters == "seen" else None
    tokenizer_json, kept = cut_tokenizer(network.tokenizer_json, wanted, seen)
    before, empty = network.architecture.vocab_size, network.text.empty_id
    rows = np.array([*kept, empty] if empty >= 0 else kept)  # no word, but it has a row: the last
    if kept[-1] >= before:
        raise InputError(f"the tokenizer has the id {kept[-1]}, but there are only {before} words")
    for name in _decoders(network):
        network.linears[name] = _cut_linear(name, network.linears[name], rows)
    if WORDS in network.tables:
        network.tables[WORDS] = _cut_table(network.tables[WORDS], rows)
    network.architecture = replace(network.architecture, vocab_size=len(rows))
    new_ids = {old: new for new, old in enumerate(rows.tolist())} | {-1: -1}
    network.text = replace(network.text, ignored_id=new_ids[network.text.ignored_id], empty_id=new_ids[empty])
    network.tokenizer_json = tokenizer_json
    return Outcome(details={"tokens_before": before, "tokens_after": len(kept), "used": len(used)})


def ranked_tokens(used: Mapping[int, int], vocab_size: int) -> list[int]:
    """All ids from the most useful on: those that texts use, by how often; then the others, rising.

    Vocabularies are sorted by how much their tokens are used, most of them, so lower ids are likelier to come.
    """
    first = sorted(used, key=lambda token: (-used[token], token))
    return [*first, *(token for token in range(vocab_size) if token not in used)]


def used_tokens(network: Network, texts: Sequence[str], progress: OnProgress = no_progress) -> Counter[int]:
    """How often each token id comes in the texts, however long, alone and behind each prompt of the model.

    Raises:
        InputError: there is no text.
    """
    if not texts:
        raise InputError("a vocabulary is trimmed to texts, and there are none")
    tokenizer = Tokenizer.from_str(network.tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    used: Counter[int] = Counter()
    for first in range(0, len(texts), _BATCH):
        progress("counting words", first, len(texts))
        batch = texts[first : first + _BATCH]
        for prompt in {"", *network.task.prompts.values()}:
            for encoding in tokenizer.encode_batch([prompt + text for text in batch]):
                used.update(encoding.ids)
    progress("counting words", len(texts), len(texts))
    return used


def _decoders(network: Network) -> list[str]:
    """Matrices with one output for each word: the last of a fill-mask head, and what the words are tied to."""
    names = {network.aliases[WORDS]} if WORDS in network.aliases else set()
    if network.task.kind == "fill-mask":
        last = network.architecture.head[-1].name
        names.add(network.aliases.get(last, last))
    return sorted(names)


def _cut_linear(name: str, linear: AnyLinear, rows: np.ndarray) -> AnyLinear:
    if isinstance(linear, LinearWeights):
        return LinearWeights(linear.weight[rows], linear.bias[rows])
    assert isinstance(linear, QuantizedLinear)  # words are no layer's, and layers alone are tied
    if linear.grid is not None:
        raise InputError(f"{name} has been quantized to four bits, in groups of words: trim the vocabulary before")
    return QuantizedLinear(linear.q[rows], linear.scale[rows], linear.bias[rows], linear.input_factor)


def _cut_table(table: AnyTable, rows: np.ndarray) -> AnyTable:
    if isinstance(table, np.ndarray):
        return table[rows]
    return replace(table, **{part: values[rows] for part, values in vars(table).items() if part != "codebook"})
