"""A file's text in pieces that a model reads whole, each below its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import minibert

#: Tokens of a chunk, headings included: a few paragraphs, which one vector still stands for.
TOKENS = 192
#: Which part of a chunk the next one repeats at most, where it goes on within a paragraph.
OVERLAP = 1 / 8
#: Characters in which so many tokens are looked for: text without words may have fewer tokens, and gets smaller chunks.
_CHARACTERS_PER_TOKEN = 8
_HEADING_CHARACTERS = 200
#: Endings of names whose headings are understood: marked by # or underlined.
MARKDOWN = (".md", ".markdown", ".rst")

_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"(=|-)\1{2,}[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_FRONT_MATTER = re.compile(r"---[ \t]*\n.*?\n---[ \t]*\n", re.DOTALL)

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*\s+|[\u3002\uff01\uff1f]\s*|\n")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True)
class Chunk:
    """A piece of a text.

    Attributes:
        heading: headings above it, outermost first, joined by " › ".
        start: where it begins, in characters.
        line: the line that it begins in, from 1.
        text: what stands there.
    """

    heading: str
    start: int
    line: int
    text: str

    @property
    def read(self) -> str:
        """What the model reads of it."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def chunks_of(text: str, name: str, model: minibert.Model) -> Iterator[Chunk]:
    """The chunks of a file.

    Args:
        text: what it holds.
        name: its name, whose ending says whether there are headings.
        model: the model that will read them, by whose tokens they are measured.
    """
    sections = _sections(text) if name.lower().endswith(MARKDOWN) else [("", 0, len(text))]
    limit = min(TOKENS, model.max_length * 3 // 4)  # a model's own prompt takes some, too
    line, counted = 1, 0
    for heading, start, stop in sections:
        budget = max(limit - model.token_count(heading), limit // 2)
        for first, last in _spans(text, start, stop, budget, model):
            line, counted = line + text.count("\n", counted, first), first
            yield Chunk(heading, first, line, text[first:last])


def _sections(text: str) -> Iterator[tuple[str, int, int]]:
    """Headings, start and end of each part between two headings; what stands in fences of code is none."""
    front = _FRONT_MATTER.match(text)
    place = begin = front.end() if front else 0
    trail: list[tuple[int, str]] = []
    fence, before, above = "", "", ""  # the fence that is open; the last line, and the one above it
    for line in text[place:].splitlines(keepends=True):
        found = _FENCE.match(line)
        title, level, since = "", 0, place
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence):
            fence = ""
        elif not fence:
            if atx := _ATX.match(line):
                title, level = atx[2], len(atx[1])
            elif before.strip() and not above.strip() and (under := _UNDERLINE.match(line)):
                title, level, since = before.strip(), 1 if under[1] == "=" else 2, place - len(before)
        place += len(line)
        above, before = before, line
        if title:
            yield _joined(trail), begin, since
            trail = [outer for outer in trail if outer[0] < level] + [(level, title)]
            begin, before = place, ""
    yield _joined(trail), begin, len(text)


def _joined(trail: list[tuple[int, str]]) -> str:
    return " \u203a ".join(title for _, title in trail)[-_HEADING_CHARACTERS:]


def _spans(text: str, start: int, stop: int, budget: int, model: minibert.Model) -> Iterator[tuple[int, int]]:
    """Start and end of pieces of at most `budget` tokens, that end with a paragraph, a sentence or a word."""
    while True:
        while start < stop and text[start].isspace():
            start += 1
        if start >= stop:
            return
        window = text[start : min(stop, start + _CHARACTERS_PER_TOKEN * budget)]
        content = model.tokenizer.content(window, budget)
        end = start + (content.offsets[-1][1] if content.truncated and content.offsets else len(window))
        following = end
        if end < stop:
            end, following = _cut(text, start, end)
        if piece := text[start:end].rstrip():
            yield start, start + len(piece)
        start = following


def _cut(text: str, start: int, limit: int) -> tuple[int, int]:
    """Where a piece of a longer text ends, as late as it may, and where the next one starts."""
    for pattern in (_PARAGRAPH, _SENTENCE, _WORD):
        ends = [found.end() for found in pattern.finditer(text, start + (limit - start) // 2, limit)]
        if ends:
            end = ends[-1]
            break
    else:
        return limit, limit
    if pattern is _PARAGRAPH:
        return end, end
    back = end - int((end - start) * OVERLAP)
    for again in (_SENTENCE, _WORD):
        found = again.search(text, back, end)
        if found and found.end() < end:
            return end, found.end()
    return end, end
