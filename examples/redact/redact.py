"""Replace names, places, addresses and numbers in a text by tags, and put them back.

    python redact.py --model ner.safetensors --map secret.json < mail.txt > shareable.txt
    python redact.py --restore secret.json < answer.txt

E-mail, telephone, IBAN and card (by check digits), IPv4 and IPv6 need no model; persons, places and organisations are
what a model of entities finds, and wherever else those names stand. One thing has one tag: [PERSON_1]. Only the map
leads back. Nothing is written unless all of it could be done, and no message holds a word of the text.
"""

from __future__ import annotations

import argparse
import ipaddress
import itertools
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import minibert
from minibert.files import replacing

Span = tuple[int, int, str]  # characters of a text, from and to, and what they are
#: Labels of models; others, such as products, are left alone.
KINDS = {"person": "PERSON", "per": "PERSON", "location": "PLACE", "loc": "PLACE", "gpe": "PLACE"}
KINDS |= {name: "ORGANISATION" for name in ("organization", "org", "corporation", "group")}
_GAP = r"[ \u00a0\u2009\u202f-]?"  # between groups of digits; never a line break
#: All but the first begin anywhere and are cut until they hold; bounded, so that no text takes long.
PATTERNS = {
    "EMAIL": r"(?<![\w.!#$%&'*+/=?^`{|}~-])([\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+)",
    "IBAN": rf"(?<!\w)(?=([A-Za-z]{{2}}\d\d(?:{_GAP}[A-Za-z0-9]){{11,30}}))",
    "CARD": rf"(?<!\w)(?=(\d(?:{_GAP}\d){{12,18}}))",
    "IP": r"(?<!\w)(?=((?:::)?[0-9A-Fa-f][0-9A-Fa-f:.]{0,44}))",
    "PHONE": r"(?<![\w@.])(?=((?:\+\(?\d|\(?0\d|\(?\d{3}\)?[ .-]?\d{3}[ .-]\d{4})[\d \u00a0()./-]{0,40}))",
}


def _holds(kind: str, found: str) -> bool:
    """Whether what looks like a number of some kind is one."""
    digits = re.sub(r"\W", "", found)
    if kind == "IBAN":
        return len(digits) >= 15 and int("".join(str(int(each, 36)) for each in digits[4:] + digits[:4])) % 97 == 1
    if kind == "CARD":
        doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
        return len(digits) >= 13 and sum(map(sum, (divmod(each, 10) for each in doubled))) % 10 == 0
    if kind == "PHONE":
        return 7 <= len(digits) <= 15 and not re.match(r"\d{1,2}([./-])\d{1,2}\1\d{2,4}(?!\d)", found)
    with suppress(ValueError):
        return kind == "EMAIL" or bool(ipaddress.ip_address(found))
    return False


def by_patterns(text: str) -> Iterator[Span]:
    """Exact patterns, each as long as it holds; they may overlap."""
    for kind, pattern in PATTERNS.items():
        for match in re.finditer(pattern, text):
            start, end = match.span(1)
            for stop in range(end, start, -1):
                whole = text[stop - 1] not in " \u00a0-/(." and not (stop < end and text[stop - 1 : stop + 1].isalnum())
                if whole and _holds(kind, text[start:stop]):
                    yield start, stop, kind
                    break


def by_model(model: Any, text: str, least: float) -> Iterator[Span]:
    """Names that the model finds in each line, and wherever else they stand."""
    names: dict[str, str] = {}
    for line in re.finditer(r"[^\r\n]+", text):
        for entity in model.predict(line[0], aggregation_strategy="first", stride=32):
            kind = KINDS.get(entity["entity_group"].lower())
            if kind and entity["score"] >= least:
                yield line.start() + entity["start"], line.start() + entity["end"], kind
                names[line[0][entity["start"] : entity["end"]]] = kind
    for name in filter(lambda name: len(name) > 2, names):
        yield from ((*same.span(), names[name]) for same in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text))


def merged(spans: list[Span]) -> list[Span]:
    """In order; of those that overlap all characters go, under the kind of the longest."""
    done: list[Span] = []
    for span in sorted(spans):
        if done and span[0] < done[-1][1]:
            last = done.pop()
            span = last[0], max(last[1], span[1]), max(last, span, key=lambda each: each[1] - each[0])[2]
        done.append(span)
    return done


def redacted(text: str, spans: list[Span], known: dict[str, str]) -> str:
    """The text with tags; `known` has the original of each, and gets more. Tags that the text holds are passed over."""
    tags = {original: tag for tag, original in known.items()}
    numbers = itertools.count(1 + max((int(re.sub(r"\D", "", tag)) for tag in known), default=0))
    parts, place = [], 0
    for start, end, kind in spans:
        if text[start:end] not in tags:
            tag = next(tag for tag in (f"[{kind}_{number}]" for number in numbers) if tag not in text)
            tags[text[start:end]], known[tag] = tag, text[start:end]
        parts += [text[place:start], tags[text[start:end]]]
        place = end
    return "".join([*parts, text[place:]])


def restored(text: str, known: dict[str, str]) -> str:
    """The originals in the places of their tags."""
    return re.sub(r"\[[A-Z]+_\d+\]", lambda tag: known.get(tag[0], tag[0]), text)


def main() -> None:
    """All texts, then the map, then what may be seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="texts in UTF-8, one after another (default: stdin)")
    parser.add_argument("--model", help="a model of entities; without it patterns alone are replaced")
    parser.add_argument("--min-score", type=float, default=0.3, metavar="P", help="of an entity (default: 0.3)")
    parser.add_argument("--map", metavar="FILE", help="what leads back; one that exists gives its tags, and grows")
    parser.add_argument("--restore", metavar="FILE", help="put the originals of this map back")
    arguments = parser.parse_args()
    file = arguments.restore or arguments.map
    known = json.loads(Path(file).read_bytes()) if file and (arguments.restore or Path(file).exists()) else {}
    data = [Path(path).read_bytes() for path in arguments.files] or [sys.stdin.buffer.read()]
    text = b"".join(data).decode()  # with its line ends
    if arguments.restore:
        result = restored(text, known)
    else:
        spans = list(by_patterns(text))
        if arguments.model:
            spans += by_model(minibert.load(arguments.model), text, arguments.min_score)
        else:
            print("redact.py: no --model: patterns alone, no names of persons, places, organisations", file=sys.stderr)
        result = redacted(text, merged(spans), known)
        if restored(result, known) != text:
            raise minibert.InputError("the text holds tags of the map itself")
        if arguments.map:
            with replacing(arguments.map, arguments.files, private=True) as target:
                target.write(json.dumps(known, indent=1).encode() + b"\n")
    sys.stdout.buffer.write(result.encode())
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # whose message might hold words of the text
        why = error if isinstance(error, (minibert.MinibertError, OSError)) else f"failed with {type(error).__name__}"
        sys.exit(f"redact.py: {why}; nothing was written")
