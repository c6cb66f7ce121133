"""What a search found as one HTML page: the students that were trained, drawn by size and by what they keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from minibert.files import replacing
from minibert_converter.recipe.toml import recipe_toml
from minibert_converter.report import format_bytes
from minibert_converter.report_page import STYLE, table
from minibert_converter.shrink.shrink import Shrunk
from minibert_converter.shrink.sifting import Trial

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 300, 60, 40
#: Room that a size takes below the drawing.
_LABEL = 64


def write_page(found: Shrunk, path: str | Path, title: str, inputs: Sequence[str | Path] = ()) -> None:
    """Writes the page, whole or not at all.

    Args:
        found: what a search ended with.
        path: the file to write; an older one is replaced.
        title: what was shrunk.
        inputs: files, and folders of files, that must not be replaced.

    Raises:
        InputError: the path is no place for a file, or one of `inputs`.
        MinibertError: the file cannot be written.
    """
    with replacing(path, inputs) as file:
        file.write(page(found, title).encode())


def page(found: Shrunk, title: str) -> str:
    """The page as text."""
    rows = [
        (
            escape(str(trial.student)),
            format_bytes(trial.bytes),
            f"{trial.kept.part:.2%}",
            f"{trial.kept.low:.2%} to {trial.kept.high:.2%}",
            f"{trial.likeness:.4f}",
            f"{trial.latency:.2f}",
        )
        for trial in found.front
    ]
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Asked for: {escape(str(found.goal))}. Found: {escape(str(found.best.student))}, "
        f"{format_bytes(found.file_bytes)}; the teacher takes {format_bytes(found.teacher_bytes)} in int8.</p>",
        f"<p>It {escape(found.sentence)}.</p>",
        "<h2>Students by size</h2>",
        _drawing(found),
        table(("student", "bytes", "kept", "95% sure", "likeness", "time of the teacher's"), rows),
        f"<p>{found.trials} students were trained. What they keep of the teacher's {escape(found.measure)} was "
        f"measured on the texts by which one was chosen; times are estimated for {escape(found.target.says)}.</p>",
        "<h2>Recipe</h2>",
        f"<pre>{escape(recipe_toml(found.recipe))}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"


def _drawing(found: Shrunk) -> str:
    """Bytes to the right, on a logarithmic scale, the part of the score that is kept upwards."""
    trials: Sequence[Trial] = found.front
    sizes = [math.log(trial.bytes) for trial in trials]
    parts = [trial.kept.part for trial in trials]
    left, right = min(sizes) - 0.1, max(sizes) + 0.1
    low, high = min(parts) - 0.01, max(*parts, 1.0) + 0.005

    def place(trial: Trial) -> tuple[float, float]:
        x = _LEFT + (math.log(trial.bytes) - left) / (right - left) * (_WIDTH - _LEFT - 20)
        y = (high - trial.kept.part) / (high - low) * (_HEIGHT - _BOTTOM)
        return round(x, 1), round(y, 1)

    marks, labelled = [], -math.inf
    for trial in trials:
        x, y = place(trial)
        filled = "#c33" if trial.key == found.best.key else "#58a"
        size = format_bytes(trial.bytes)
        says = escape(f"{size}, {trial.kept.part:.1%}: {trial.student}")
        marks.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{filled}"><title>{says}</title></circle>')
        if x - labelled >= _LABEL:
            marks.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{size}</text>')
            labelled = x
    ticks = []
    step = next(one for one in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / one <= 8 or one == 0.2)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = round((high - number * step) / (high - low) * (_HEIGHT - _BOTTOM), 1)
        ticks.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}" stroke="#8883"/>')
        ticks.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{number * step:.1%}</text>')
    line = " ".join(f"{x},{y}" for x, y in map(place, trials))
    path = f'<polyline points="{line}" fill="none" stroke="#58a"/>'
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" style="max-width: 100%" role="img"'
    says = f"<title>{escape(found.measure)} kept, by bytes of the file</title>"
    return f"<svg {box}>{says}{''.join(ticks)}{path}{''.join(marks)}</svg>"
