"""Texts on which tables are compared with the library, chosen so that each pass has something to do."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Tokenizer

_TEXTS = (
    "",
    " ",
    "Hello, world!",
    "  two  spaces,\ttabs\n\nand\r\nlines  ",
    "I'll say you've won't can't IT'S 'sup ''quoted'' ``so''",
    "Ünïcödé ÀÉÎõü ẞß ŁÓDŹ İstanbul ΣΑΣ ﬁn ① ½ ㎏ ™ … ‼",
    "e\u0301a\u0323\u0307 \u1e9b\u0323 q\u0307\u0323 \u0344 \u0958\u0301",
    "한국어 각 \u1112\u1161\u11ab カ\u3099 か\u3099 ｶﾞ",
    "北京欢迎你，世界。東京タワー",  # noqa: RUF001
    "नमस्ते क्षत्रिय ไทยภาษา עִבְרִית العَرَبِيَّة",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ ©\u200d© 😀\u200d™\u0301",
    "1234567890 3.14 ２０２４ ٣٤ Ⅷ x² 10,000",  # noqa: RUF001
    "a-b_c.d/e\\f@g#h$i%j^k&l*m(n)o[p]q{r}s<t>u=v+w~x|y`z",
    "\u00a0\u2003\u3000nbsp\u200b\ufeffzero\u00ad\u2028\u2029",
    "\x00\x01\x1f\x7f\x85\ufffd\U000e0041\U0010ffff\U00050000",
    "supercalifragilisticexpialidocious " + "x" * 300,
    "▁▁under ▁ line▁",
    "\u0e33\u0300 \u0f73\u0f71 \u1d15e\u0301 \u302e\u302f",
    "don't 'S 'Re '' '",
    # What comes again and again can be taken apart in ways that cost the same.
    "wait....... ------- =====!!!!!?? 0000000 hahahahaha loooool ——— …… ……… xxxxx 久久久久久",
)


def samples(library: Tokenizer) -> Iterator[str]:
    """Texts: some of all kinds, some with added tokens, some of random characters and of the vocabulary's pieces."""
    yield from _TEXTS
    added = [token.content for token in library.get_added_tokens_decoder().values()][:40]
    for token in added:
        yield from (token, f"a{token}b", f"x {token} y", f"  {token}  {token.lower()},{token}{token} z")
    chance = random.Random(7)
    count = library.get_vocab_size()

    def piece() -> str:
        return library.id_to_token(chance.randrange(count)) or ""

    for _ in range(40):
        yield "".join(piece() for _ in range(8))
        yield " ".join(piece() for _ in range(6))
        yield piece() + piece() * 5
        yield "".join(map(chr, _characters(chance, 12)))
        yield "".join(chance.choice("".join(_TEXTS)) for _ in range(24))


def _characters(chance: random.Random, count: int) -> Iterator[int]:
    for _ in range(count):
        point = chance.choice((chance.randrange(0x250), chance.randrange(0x3100), chance.randrange(0x110000)))
        yield point if not 0xD800 <= point < 0xE000 else 0x20
