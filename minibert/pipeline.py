"""The road that every task shares: text, tokens, packed batches, rows of numbers, in the order of the texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np

from minibert.beside import begun
from minibert.errors import InputError, warn
from minibert.format.schema import Architecture, Config
from minibert.progress import Progress
from minibert.reading import Found, Item, Limits, Reader, ReadOptions, checked_limits
from minibert.text.inputs import portions, text_portions
from minibert.text.packing import READ_AHEAD, pack
from minibert.text.sliding import Part, Window, divide
from minibert.text.tokenizer import Encoded, Tokenizer, TruncationWarning, tokenizes_alone

#: A text, and the second one of a pair.
TextPair = tuple[str, str | None]

#: Numbers in the rows of one pass of a task that looks at tokens, at most (unless one window alone has more): 16 MiB.
MAX_NUMBERS = 1 << 22
#: Tokens of windows that are made ahead of the passes that read them, at most (unless one window alone has more).
MAX_AHEAD = 1 << 17
#: What reads no pairs where long texts are read in windows, for the error message.
_IN_WINDOWS = "encode with windows"


class Forward(Protocol):
    """What a pipeline needs of an engine."""

    out_features: int
    threads: int

    def forward(
        self,
        ids: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None = None,
        wanted: Sequence[Sequence[int]] | None = None,
        attended: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Rows of token ids: float32 [texts, out_features], or [wanted tokens, out_features]."""
        ...


class Pipeline:
    """Texts to rows.

    Args:
        engine: what runs token ids.
        tokenizer: gives the tokenizer, built when the first text comes.
        config: says how many tokens of a text are read by default, and how many can be.
    """

    def __init__(self, engine: Forward, tokenizer: Callable[[], Tokenizer], config: Config) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._max_length = config.text.max_length
        self._max_positions = config.architecture.max_positions
        self._ignored_id = config.text.ignored_id
        self._pools_prompts = config.architecture.pool_prompt
        self._normalizes = _normalizes(config.architecture)
        # Without layers nearly all the work is the tokenizer's: it may use threads of its own where the engine may.
        self._at_once = not config.architecture.layers and (engine.threads > 1 or tokenizes_alone())

    def limits(self, known: type = ReadOptions, /, **given: Any) -> Limits:
        """Limits of ReadOptions (see `checked_limits`) that this model can keep.

        Raises:
            InputError: there is no such option, or a value makes no sense or is more than the model's positions.
        """
        if not given:
            return Limits()
        limits = checked_limits(given, known)
        if limits.max_length is not None:
            if limits.max_length > self._max_positions:
                raise InputError(f"max_length is {limits.max_length}, the model has {self._max_positions} positions")
            self._tokenizer().check_max_length(limits.max_length)
        return limits

    def options(self, known: type, given: Mapping[str, Any]) -> tuple[dict[str, Any], Limits]:
        """What a caller gave, in two: the task's own options, which `known` has beside ReadOptions; checked limits."""
        own = known.__annotations__.keys() - ReadOptions.__annotations__.keys()
        rest = {name: value for name, value in given.items() if name not in own}
        return {name: value for name, value in given.items() if name in own}, self.limits(known, **rest)

    def row(self, text: str, pair: str | None, limits: Limits, prefix: str = "") -> np.ndarray:
        """The row of one text: float32 [outputs]. Short, as it is all that stands between a caller and the engine."""
        if limits.windows and pair is not None:
            raise InputError(f"the text is a pair, but {_IN_WINDOWS} reads single texts")
        text = prefix + text
        ids, types, truncated = self._tokenizer().encode(text, pair, limits.max_length, limits.only_first)
        if truncated:
            if limits.windows:
                return self._averages([text], limits, prefix)[0]
            if not limits.truncation:
                raise self._too_long(text, pair, "the text", limits)
            self._warn(1, 1, limits)
        wanted = self._pooled(prefix, [len(ids)], limits)
        return self._engine.forward((ids,), None if types is None else (types,), wanted)[0]

    def rows(
        self, items: Iterable[Any], limits: Limits, *, prefix: str = "", progress: str | None = None
    ) -> np.ndarray:
        """The rows of many texts, in their order: float32 [texts, outputs].

        Args:
            items: texts and pairs.
            limits: how they are cut and batched.
            prefix: what to put before each text.
            progress: what to call the work on stderr; None for silence.
        """
        parts: list[np.ndarray] = []
        cut: list[int] = []
        seen = 0
        total = len(items) if isinstance(items, Sequence) else None
        with Progress(progress, total) as line:
            for portion, encoded in self._encode_ahead(_portions(items, READ_AHEAD, prefix, limits), limits):
                rows, truncated = self._run(portion, encoded, limits, seen, prefix)
                parts.append(rows)
                cut += truncated
                seen += len(portion)
                line.update(len(portion))
        if cut:
            self._warn(len(cut), seen, limits)
        return np.concatenate(parts) if parts else np.zeros((0, self._engine.out_features), np.float32)

    def stream(
        self, items: Iterable[Any], limits: Limits, *, prefix: str = "", read_ahead: int = READ_AHEAD
    ) -> Iterator[np.ndarray]:
        """Rows one by one, in order, reading `read_ahead` texts ahead and no more.

        Warns about truncation once, when the first portion with a cut text has been answered.
        """
        seen = 0
        warned = False
        for texts in _portions(items, read_ahead, prefix, limits):
            rows, truncated = self._run(texts, self._encode(texts, limits), limits, seen, prefix)
            seen += len(texts)
            if truncated and not warned:
                warned = True
                self._warn(len(truncated), seen, limits)
            yield from rows

    def answers(
        self, items: Iterable[Any], reader: Reader[Item, Found], limits: Limits, *, read_ahead: int = READ_AHEAD
    ) -> Iterator[Any]:
        """Answers of a task that looks at tokens, in the order of the items.

        Args:
            items: whatever `reader` takes.
            reader: makes windows of an item, and an answer of the rows of their tokens.
            limits: how texts are cut and batched.
            read_ahead: items that are read before the first is answered, at most.

        Raises:
            InputError: an item is none, or too long with truncation off; after the answers of the portions before.
        """
        seen = 0
        warned = False
        for batch in portions(items, reader.check, reader.characters, read_ahead):
            parts: list[list[Window]] = []
            cut = []
            for place, item in enumerate(batch):
                slid, truncated = reader.windows(self._tokenizer(), item, self._read(limits))
                parts.append(slid)
                if truncated:
                    cut.append(seen + place)
            if cut and not limits.truncation:
                raise InputError(f"text {cut[0]} has more than {self._read(limits)} tokens, and truncation is off")
            seen += len(batch)
            if cut and not warned:
                warned = True
                self._warn(len(cut), seen, limits)
            found = iter(self._found([each for slid in parts for each in slid], reader, limits))
            for item, slid in zip(batch, parts, strict=True):
                yield reader.answer(item, [(each, next(found)) for each in slid])

    def _found(self, windows: Sequence[Window], reader: Reader[Item, Found], limits: Limits) -> list[Found]:
        """What `reader` finds in each window."""
        found: dict[int, Found] = {}
        # Rows as wide as a vocabulary are kept short of filling the memory.
        tokens = min(limits.max_tokens, max(MAX_NUMBERS // self._engine.out_features, 1))
        for places in pack([len(each.ids) for each in windows], limits.batch_size, tokens):
            batch = [windows[place] for place in places]
            wanted = [reader.wanted(each) for each in batch]
            all_of_them = sum(map(len, wanted)) == sum(len(each.ids) for each in batch)
            ids, wanted_places = [each.ids for each in batch], None if all_of_them else wanted
            rows = self._engine.forward(ids, _types(batch), wanted_places, _attended(batch))
            end = 0
            for place, each, tokens in zip(places, batch, wanted, strict=True):
                start, end = end, end + len(tokens)
                found[place] = reader.find(each, rows[start:end])
        return [found[place] for place in range(len(windows))]

    def _encode(self, texts: Sequence[TextPair], limits: Limits) -> list[Encoded]:
        tokenizer = self._tokenizer()
        return tokenizer.encode_many(texts, limits.max_length, limits.only_first, at_once=self._at_once)

    def _encode_ahead(
        self, texts: Iterator[Sequence[TextPair]], limits: Limits
    ) -> Iterator[tuple[Sequence[TextPair], list[Encoded]]]:
        """Portions and their tokens; the library makes the next one's, where there are threads, while the engine runs.

        Tables are so much faster than the engine that nothing is to be gained there. The caller's own iterator is only
        ever asked by the caller's thread.
        """
        beside = self._engine.threads > 1 and self._tokenizer().source == "library"
        ahead = list(islice(texts, 2 if beside else 1))
        if len(ahead) < 2:  # nothing to overlap with
            for portion in chain(ahead, texts):
                yield portion, self._encode(portion, limits)
            return
        portion = ahead[0]
        encoded = begun(partial(self._encode, portion, limits))
        for following in chain(ahead[1:], texts):
            ready, encoded = encoded(), begun(partial(self._encode, following, limits))
            yield portion, ready
            portion = following
        yield portion, encoded()

    def _pooled(
        self, prefix: str, lengths: Sequence[int], limits: Limits, numbers: Sequence[int] = (0,)
    ) -> list[range] | None:
        """For texts of these lengths that begin with `prefix`, which tokens are pooled; None for all.

        Raises:
            InputError: none of a text, which is one of `numbers`.
        """
        if not prefix or self._pools_prompts:
            return None
        first = self._tokenizer().prompt_length(prefix, limits.max_length)
        for number, length in zip(numbers, lengths, strict=True):
            if length <= first:
                raise InputError(f"text {number} has no token behind the prompt's {first}: there is nothing to pool")
        return [range(first, length) for length in lengths]

    def _run(
        self, texts: Sequence[TextPair], encoded: Sequence[Encoded], limits: Limits, offset: int, prefix: str
    ) -> tuple[np.ndarray, list[int]]:
        """Rows of a portion in its order, and the numbers of the texts that were cut (the first text is `offset`)."""
        cut = [offset + index for index, each in enumerate(encoded) if each.truncated]
        if cut and limits.windows:
            return self._with_windows(texts, encoded, limits, offset, prefix), []
        if cut and not limits.truncation:
            raise self._too_long(*texts[cut[0] - offset], f"text {cut[0]}", limits)
        lengths = [len(each.ids) for each in encoded]
        wanted = self._pooled(prefix, lengths, limits, range(offset, offset + len(texts)))
        return self._packed(encoded, wanted, limits), cut

    def _with_windows(
        self, texts: Sequence[TextPair], encoded: Sequence[Encoded], limits: Limits, offset: int, prefix: str
    ) -> np.ndarray:
        """Rows of a portion of which some texts are too long: those of the others as ever."""
        out = np.empty((len(texts), self._engine.out_features), np.float32)
        long = [place for place, each in enumerate(encoded) if each.truncated]
        out[long] = self._averages([texts[place][0] for place in long], limits, prefix)
        whole = [place for place, each in enumerate(encoded) if not each.truncated]
        read = [encoded[place] for place in whole]
        wanted = self._pooled(prefix, [len(each.ids) for each in read], limits, [offset + place for place in whole])
        out[whole] = self._packed(read, wanted, limits)
        return out

    def _packed(self, read: Sequence[Encoded | Part], wanted: Sequence[range] | None, limits: Limits) -> np.ndarray:
        """Rows of what the model reads, in its order, in batches of like lengths."""
        out = np.empty((len(read), self._engine.out_features), np.float32)
        for places in pack([len(each.ids) for each in read], limits.batch_size, limits.max_tokens):
            batch, pooled = [read[place] for place in places], wanted and [wanted[place] for place in places]
            out[places] = self._engine.forward([each.ids for each in batch], _types(batch), pooled)
        return out

    def _averages(self, texts: Sequence[str], limits: Limits, prefix: str) -> np.ndarray:
        """Rows of long texts that begin with `prefix`: the averages of their windows' rows, float32 [texts, outputs].

        A window counts as many times as it has tokens of the text's own. Windows are added one after another, in
        float64, so that an average does not depend on which windows share a pass.
        """
        sums = np.zeros((len(texts), self._engine.out_features))
        weights = np.zeros((len(texts), 1))
        length = self._read(limits)
        ahead = ((place, part) for place, text in enumerate(texts) for part in self._parts(text, prefix, length))
        while group := list(islice(ahead, max(min(READ_AHEAD, MAX_AHEAD // length), 1))):
            parts = [part for _, part in group]
            pooled = None
            if prefix and not self._pools_prompts:
                pooled = [range(part.start, len(part.ids)) for part in parts]
            rows = self._packed(parts, pooled, limits).astype(np.float64)
            for (place, part), row in zip(group, rows, strict=True):
                weight = max(part.own, 1)
                sums[place] += weight * row
                weights[place] += weight
        averages = sums / weights
        if self._normalizes:
            averages /= np.maximum(np.sqrt(np.square(averages).sum(axis=1, keepdims=True)), 1e-12)
        return averages.astype(np.float32)

    def _parts(self, text: str, prefix: str, length: int) -> Iterator[Part]:
        """The windows of a text, one at least."""
        tokenizer = self._tokenizer()
        part = None
        for part in divide(tokenizer, text, max_length=length, prompt=len(prefix), ignored_id=self._ignored_id):
            yield part
        if part is None:  # more white space than is read of a text
            ids, types, _ = tokenizer.encode(prefix, None, length)
            yield Part(ids, types, len(ids) - len(tokenizer.frame(False).after), 0)

    def _too_long(self, text: str, pair: str | None, which: str, limits: Limits) -> InputError:
        count, most = self._tokenizer().count(text, pair), self._read(limits)
        if count <= most:
            characters = len(text) + len(pair or "")
            return InputError(
                f"{which} has {characters} characters, more than are read for {most} tokens, and truncation is off"
            )
        return InputError(f"{which} has {count} tokens, more than {most}, and truncation is off")

    def _warn(self, cut: int, seen: int, limits: Limits) -> None:
        which = "the text was" if seen == 1 else f"{cut} of {seen} texts {'was' if cut == 1 else 'were'}"
        warn(f"{which} cut to {self._read(limits)} tokens; what came after was not read", TruncationWarning)

    def _read(self, limits: Limits) -> int:
        return self._max_length if limits.max_length is None else limits.max_length


def _portions(items: Iterable[Any], size: int, prefix: str, limits: Limits) -> Iterator[list[TextPair]]:
    return text_portions(items, size, prefix, _IN_WINDOWS if limits.windows else None)


def _normalizes(architecture: Architecture) -> bool:
    """Whether the last thing that happens to a text's row is that it is scaled to length 1."""
    behind = architecture.head[architecture.pool_after :]
    return architecture.normalize or (bool(behind) and behind[-1].kind == "normalize")


def _attended(batch: Sequence[Window]) -> list[int] | None:
    """How many tokens of each window are attended to, or None when all are."""
    if all(each.attended is None for each in batch):
        return None
    return [len(each.ids) if each.attended is None else each.attended for each in batch]


def _types(batch: Sequence[Encoded | Part | Window]) -> list[Sequence[int]] | None:
    """Token types of a batch, or None when they are all zero."""
    if all(each.type_ids is None for each in batch):
        return None
    return [bytes(len(each.ids)) if each.type_ids is None else each.type_ids for each in batch]
