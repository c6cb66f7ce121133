"""Texts to compare on: many scripts, emoji, marks that combine, right-to-left, controls, odd white space."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

SENTENCES = (
    "The quick brown fox jumps over the lazy dog near Paris.",
    "Anna Schmidt moved from Berlin to New York in 1987, didn't she?",
    "A great movie, but the second half was far too long!",
    "Is it raining in São Paulo, or only in Rio de Janeiro?",
    "Prices rose by 3.14% (see http://example.org/a?b=c#d) - mail me@example.org",
    "O'Brien's well-known co-operative re-opened on 12/05/2021 at 7:30 a.m.",
    "Zürich, Łódź, Ærø und Öre: größte Straßen überall",
    "L’été dernier, Élodie a mangé une crème brûlée à Genève.",
    "¿Dónde está el baño? ¡En la Peña de los Ángeles!",
    "Việt Nam có nhiều món ăn ngon như phở và bún chả",
    "İstanbul'da yağmur yağıyor; ığdır uzakta",
    "Cafe\u0301 Zu\u0308rich by E\u0301mile and nai\u0308ve co\u0308operation",
    "e" + "\u0301\u0302\u0303" * 5 + " stacked marks o\u0308\u0304",
    "Москва и Санкт-Петербург стоят на разных реках.",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "北京是中国的首都，上海更大。",
    "東京は日本の首都です。カタカナとひらがな",
    "서울에 사는 김철수는 부산에 간다",
    "한글 (decomposed)",
    "नई दिल्ली भारत की राजधानी है।",
    "กรุงเทพมหานครเป็นเมืองหลวงของไทย",
    "القاهرة عاصمة مصر، وهي مدينة كبيرة",
    "مُحَمَّد يَعِيشُ فِي دُبَيّ",
    "ירושלים היא עיר בישראל, שָׁלוֹם עֲלֵיכֶם",
    "שלום from Tel Aviv יפו and محمد in Dubai",
    "I love 🍕 and 🚀🚀 in 🇩🇪!",
    "👩‍👩‍👧‍👦 went home 👍🏽 with 🧑🏾‍🚀",
    "☃ ☀️ ✈︎ ❤️‍🔥 mixed (╯°□°)╯︵ ┻━┻",
    "𝓗𝓮𝓵𝓵𝓸 𝕎𝕠𝕣𝕝𝕕 ＦＵＬＬ width ① Ⅷ ½ ﬁle",
    "a\u200bb zero\u200cwidth\u200djoined soft\u00adhyphen \ufeffmark",
    "controls \x00 \x07 \x1b[31m red \x7f end",
    "tabs\tand\nnew lines\r\nand\u00a0no-break\u2003em\u3000wide spaces",
    "   leading and trailing spaces   ",
    "...!!!???---___***###",
    "1234567890 12,345.67 0x1F 1e-9 ٣٤٥ ४५६",
    "<script>alert('x')</script> & &amp; \\u0041 %20 $PATH ../../etc",
    "aVeryLongWordWithoutAnySpaceInItThatGoesOnAndOnAndOnUntilItEndsSomewhereFarAway",
    "@user #London RT: LOL :-) ;) <3 http://t.co/xyz",
    "“Quoted” ‘text’ – with — dashes … and «guillemets»",
    "x",
    ".",
    "[SEP] [UNK] <s> </s> <unk>",
)


def texts(count: int, data: Path | None = None) -> list[str]:
    """The sentences, then as many others as are wanted: of `data`, or two or three sentences as one text.

    Args:
        count: how many.
        data: folder that holds blns/, xquad/ and wnut17/, as in ../shared/data.
    """
    chosen = random.Random(5)
    found = list(SENTENCES)
    if data is not None:
        found += chosen.sample(_from_data(data, chosen), max(count - len(found), 0))
    while len(found) < count:
        parts = chosen.sample(SENTENCES, chosen.choice((2, 2, 3)))
        found.append(chosen.choice((" ", " ", "\n", ", ")).join(parts))
    return found[:count]


def _from_data(data: Path, chosen: random.Random) -> list[str]:
    found = [text for text in json.loads((data / "blns/blns.json").read_text(encoding="utf-8")) if text.strip()]
    for path in sorted((data / "xquad").glob("*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            contexts = [part["context"] for article in json.load(file)["data"] for part in article["paragraphs"]]
        found += [context[: chosen.randint(60, 300)] for context in chosen.sample(contexts, 40)]
    with gzip.open(data / "wnut17/test.conll.gz", "rt", encoding="utf-8") as file:
        blocks = file.read().strip().split("\n\n")
    found += [" ".join(line.split("\t")[0] for line in block.split("\n")) for block in blocks[:400]]
    return found
