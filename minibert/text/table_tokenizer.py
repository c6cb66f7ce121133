"""Text to token ids by the tables of a file: nothing is parsed, and nothing but the tables is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from minibert.errors import FormatError
from minibert.forking import Lazy, unforked
from minibert.format import token_tables as tt
from minibert.format.token_tables import FrameTokens
from minibert.format.tokenizer import BYTE_LETTERS
from minibert.format.trie import Trie
from minibert.text.characters import well_formed
from minibert.text.token_runner import TokenBatch, TokenRunner
from minibert.text.tokenizer import (
    MAX_CHARACTERS,
    Content,
    Encoded,
    Frame,
    TextSettings,
    Tokenizer,
    kept,
    no_room,
    no_room_beside_second,
    shares,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

    from minibert.format import ModelFile
    from minibert.format.pieces import Pieces


class TableTokenizer(Tokenizer):
    """A tokenizer that runs where its tables lie.

    Args:
        file: a file that has tables (`config.text.tables`).
        settings: how the model reads texts.
        run: calls the kernels with the address of a job; None runs the tables in Python.

    Raises:
        FormatError: the tables are not what they should be.
    """

    source: ClassVar[str] = "tables"

    def __init__(self, file: ModelFile, settings: TextSettings, run: Callable[[int], None] | None = None) -> None:
        super().__init__(settings)
        assert file.config.text.tables is not None
        tables = file.config.text.tables
        self._file, self._tables, self._tensors = file, tables, file.token_tables()
        self._left = tables.direction == "left"
        self._runner = TokenRunner(tables, self._tensors, run)
        self._frames = (self._framed(tables.single, False), self._framed(tables.pair, True))
        self._special = tuple([len(each.before) + len(each.between) + len(each.after) for each in self._frames])

    def _framed(self, tokens: FrameTokens, pair: bool) -> Frame:
        types, before, between = tokens.types, len(tokens.before), len(tokens.between)
        typed = self._pair_types and (pair or any(types) or any(tokens.text_types))
        first, second = tokens.text_types[0], tokens.text_types[-1]
        parts = [*types[:before]], first, [*types[before : before + between]], second, [*types[before + between :]]
        return Frame([*tokens.before], [*tokens.between], [*tokens.after], parts if typed else None)

    def _encode_all(
        self, texts: Sequence[tuple[str, str | None]], limit: int, only_first: bool, at_once: bool
    ) -> list[Encoded]:
        if any(pair is not None for _, pair in texts):
            return self._encode_pairs(texts, limit, only_first)
        room = limit - self._special[0]
        batch, longer = self._run([text for text, _ in texts], max(room, 0))
        ids, ends = batch.ids.tolist(), batch.ends
        before, _, after, types = self._frames[0]
        found = []
        for number in range(len(texts)):
            own = ids[ends[number] : ends[number + 1]]
            cut = len(own) > room or longer[number]
            if cut:
                if room < 1:
                    raise no_room(limit)
                own = kept(own, room, self._tables.direction)
            typed = None if types is None else [*types[0], *[types[1]] * len(own), *types[4]]
            found.append(self._finished([*before, *own, *after], typed, cut))
        return found

    def _encode_pairs(self, texts: Sequence[tuple[str, str | None]], limit: int, only_first: bool) -> list[Encoded]:
        # How much of each text stays depends on how many tokens it has, so all of them are made.
        batch, longer = self._run([part for text, pair in texts for part in (text, pair or "")], None)
        ids, ends = batch.ids.tolist(), batch.ends
        found = []
        for number, (_, pair) in enumerate(texts):
            own = [ids[ends[part] : ends[part + 1]] for part in (2 * number, 2 * number + 1)]
            before, between, after, types = self._frames[pair is not None]
            special = self._special[pair is not None]
            cut = longer[2 * number] or longer[2 * number + 1] or len(own[0]) + len(own[1]) > limit - special
            if cut and limit - special < 1:
                raise no_room(limit)
            if cut and pair is None:
                own[0] = kept(own[0], limit - special, self._tables.direction)
            elif cut:
                if only_first and longer[2 * number + 1]:
                    raise no_room_beside_second(limit)
                stay = shares((len(own[0]), len(own[1])), limit, special, only_first)
                own = [kept(part, count, self._tables.direction) for part, count in zip(own, stay, strict=True)]
            typed = None
            if types is not None:
                typed = [*types[0], *[types[1]] * len(own[0]), *types[2], *[types[3]] * len(own[1]), *types[4]]
            found.append(self._finished([*before, *own[0], *between, *own[1], *after], typed, cut))
        return found

    def _run(self, texts: list[str], most: int | None, places: bool = False) -> tuple[TokenBatch, list[bool]]:
        """Tokens of texts, `most` of each and more where there are more; and which texts are longer than is read."""
        longer = [len(text) > MAX_CHARACTERS for text in texts]
        if any(longer):
            part = slice(-MAX_CHARACTERS, None) if self._left else slice(MAX_CHARACTERS)
            texts = [text[part] for text in texts]
        return self._runner.tokenize(texts, None if self._left else most, places=places), longer

    def _count(self, text: str) -> int:
        return len(self._runner.tokenize([text]).ids)

    def special_tokens(self, pair: bool) -> int:
        return self._special[pair]

    def is_special(self, id: int) -> bool:
        return id in self._special_ids

    def frame(self, pair: bool) -> Frame:
        return self._frames[pair]

    def _content(self, text: str) -> Content:
        return self._located(text, self._runner.tokenize([text], places=True), None)

    def _cut_content(self, text: str, budget: int) -> Content:
        batch, (longer,) = self._run([text], budget, places=True)
        shift = max(len(text) - MAX_CHARACTERS, 0) if self._left else 0
        content = self._located(text[shift:], batch, budget)
        offsets = [(start + shift, end + shift) for start, end in content.offsets] if shift else content.offsets
        return content._replace(offsets=offsets, truncated=content.truncated or longer)

    def _located(self, text: str, batch: TokenBatch, budget: int | None) -> Content:
        """The content of the one text of a batch, of which at most `budget` tokens are kept."""
        assert batch.spans is not None
        assert batch.words is not None
        ids = batch.ids.tolist()
        offsets = [(start, end) for start, end in batch.spans.tolist()]
        # What Unigram has no piece for is called by its own characters.
        spelt = self._tables.unknown_id if self._tables.model == "unigram" else -1
        tokens = [
            text[start:end] if id == spelt else self.token(id) or ""
            for id, (start, end) in zip(ids, offsets, strict=True)
        ]
        if self._tables.trim:
            offsets = [self._trimmed(place, *each) for place, each in enumerate(zip(tokens, offsets, strict=True))]
        most = len(ids) if budget is None else budget
        ids, tokens, offsets, words = (
            kept(part, most, self._tables.direction) for part in (ids, tokens, offsets, batch.words.tolist())
        )
        return Content(ids, tokens, offsets, words, len(batch.ids) > most)

    def _trimmed(self, place: int, token: str, span: tuple[int, int]) -> tuple[int, int]:
        """The characters of a token without white space, as the library's post-processors trim them."""
        start, end = span
        name = token.replace(BYTE_LETTERS[32], " ")
        leading, trailing = len(name) - len(name.lstrip()), len(name) - len(name.rstrip())
        if leading == 1 and self._tables.trim == 2 and (place == 0 or start == 0):
            leading = 0  # a space that was put before the text
        start = min(start + leading, end)
        return start, max(end - trailing, start) if trailing and end >= trailing else end

    # Names of tokens.

    @Lazy
    def _rest(self) -> dict[str, Any]:
        return self._file.tokenizer_rest()

    @Lazy
    def _added(self) -> dict[str, int]:
        """Ids of the tokens beside the vocabulary."""
        return {token["content"]: token["id"] for token in self._rest.get("added_tokens") or ()}

    @Lazy
    def _added_names(self) -> dict[int, str]:
        return {id: name for name, id in self._added.items()}

    @Lazy
    def _special_ids(self) -> set[int]:
        return {token["id"] for token in self._rest.get("added_tokens") or () if token["special"]}

    @Lazy
    def _pieces(self) -> Pieces:
        with unforked():
            from minibert.format.pieces import Pieces

        return Pieces(self._tables, self._tensors)

    @Lazy
    def _names(self) -> dict[int, str | None]:
        """Names that were asked for."""
        return {}

    @property
    def continuing_prefix(self) -> str:
        return self._tables.prefix

    def token_id(self, token: str) -> int | None:
        token = well_formed(token)
        if token in self._added:
            return self._added[token]
        data = token.encode()
        if self._tables.byte_level:
            numbers = [BYTE_LETTERS.find(letter) for letter in token]
            if min(numbers, default=0) < 0:
                return self._rest["model"]["vocab"].get(token)
            data = bytes(numbers)
        trie = Trie(tt.PIECES, self._tensors)
        node = trie.walk(0, data)
        key = trie.key(node) if node >= 0 else -1
        return int(self._tensors[tt.IDS][key]) if key >= 0 else None

    def token(self, id: int) -> str | None:
        if id not in self._names:
            self._names[id] = self._added_names.get(id) or self._pieces[id] or self._left_over.get(id)
        return self._names[id]

    @Lazy
    def _left_over(self) -> dict[int, str]:
        """Pieces that no trie of bytes can spell."""
        vocab = self._rest["model"]["vocab"]
        return {id: piece for piece, id in vocab.items()} if isinstance(vocab, dict) else {}

    @Lazy
    def _decoder(self) -> Callable[[list[str]], str]:
        with unforked():
            from minibert.text.decoding import decoder

        return decoder(self._rest.get("decoder"))

    def join(self, tokens: list[str]) -> str:
        return self._decoder([well_formed(token) for token in tokens])

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        wanted = [id for id in ids if not (skip_special_tokens and id in self._special_ids)]
        return self._decoder([name for id in wanted if (name := self.token(id)) is not None])

    @property
    def library(self) -> Library:
        return self._library

    @Lazy
    def _library(self) -> Library:
        try:
            with unforked():
                from minibert.text.library_tokenizer import proven_library

                made = proven_library(self._file.tokenizer_json())
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(f"the tokenizer inside the model fails: {error}") from error
        made.no_truncation()
        made.no_padding()
        return made
