"""A report as one HTML page: tables and drawings, nothing to fetch and nothing to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from minibert.files import replacing
from minibert_converter.comparison import Comparison
from minibert_converter.report import Part, Report, format_bytes

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .15rem .8rem .15rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; border-bottom: 1px solid #bbb; }
code { font-size: .9em; } svg text { font: 12px system-ui, sans-serif; fill: #222; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } svg text { fill: #ddd; } }
"""
_ROW, _NAME, _BAR, _GAP = 20, 170, 220, 30


def write_page(
    report: Report,
    path: str | Path,
    title: str,
    inputs: Sequence[str | Path] = (),
    compared: Comparison | None = None,
) -> None:
    """Writes the page, whole or not at all.

    Args:
        report: what a conversion returned.
        path: the file to write; an older one is replaced.
        title: what was converted.
        inputs: files, and folders of files, that must not be replaced.
        compared: the model before and after.

    Raises:
        InputError: the path is no place for a file, or one of `inputs`.
        MinibertError: the file cannot be written.
    """
    with replacing(path, inputs) as file:
        file.write(page(report, title, compared).encode())


def page(report: Report, title: str, compared: Comparison | None = None) -> str:
    """The page as text."""
    total = report.total
    facts = f"{format_bytes(total.bytes_before)} became {format_bytes(report.file_bytes or total.bytes_after)}"
    calibration = f", calibration texts: {report.calibration}" if report.calibration else ""
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(report.task)}: {facts}{escape(calibration)}.</p>",
        *(() if compared is None else _comparison(compared)),
        "<h2>Passes</h2>",
        _passes(report),
        "<h2>Parts</h2>",
        _drawing(report.parts),
        _parts(report),
        *(f"<p>{escape(sentence)}</p>" for sentence in (*report.notes, *report.choice)),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"


def _comparison(compared: Comparison) -> list[str]:
    """Size, speed and score before and after, and the answers that changed."""
    both = (compared.before, compared.after)
    rows = [
        ("size", *(format_bytes(side.bytes) for side in both)),
        ("one text, here", *(f"{1e3 * side.seconds:.2f} ms" for side in both)),
        ("texts a second, here", *(f"{side.texts_per_second:,.0f}" for side in both)),
    ]
    for name, value in compared.after.score.items():
        if isinstance(value, float) and name not in ("seconds", "texts_per_second"):
            rows.append((escape(name.replace("_", " ")), *(f"{side.score[name]:.4f}" for side in both)))
    lines = ["<h2>Before and after</h2>", table(("", "float32", "this file"), rows)]
    if compared.alike is not None:
        lines.append(
            f"<p>The vectors of {compared.texts} texts, before and after, have a mean cosine of {compared.alike:.4f}; "
            "furthest apart are those of</p>"
        )
    elif compared.texts:
        lines.append(f"<p>Of the answers to {compared.texts} texts {compared.changed} changed.</p>")
    if compared.examples:
        header = ("text", "") if compared.alike is not None else ("text", "before", "after")
        keep = slice(2, None) if compared.alike is not None else slice(1, None)
        lines.append(table(header, [(escape(one[0]), *map(escape, one[keep])) for one in compared.examples]))
    return lines


def _passes(report: Report) -> str:
    rows = []
    for each in report.passes:
        worst = max(each.outcome.errors.items(), key=lambda item: item[1], default=("", 0.0))
        size = each.size
        rows.append(
            (
                f"<code>{escape(', '.join(f'{key} = {value}' for key, value in each.step.items()))}</code>",
                f"{size.parameters:,}",
                format_bytes(size.bytes),
                f"{size.macs / 1e6:,.1f} M",
                f"{worst[1]:.2%} {escape(worst[0])}" if worst[1] else "",
            )
        )
    return table(("pass", "parameters", "bytes", "multiplications a token", "largest error"), rows)


def _parts(report: Report) -> str:
    rows = [
        (
            escape(part.name),
            f"{part.parameters:,}" if part.parameters else "",
            format_bytes(part.bytes_before),
            format_bytes(part.bytes_after),
            f"{part.density:.0%}",
            f"{part.error:.2%}" if part.error else "",
        )
        for part in (*report.parts, report.total)
    ]
    return table(("part", "parameters", "before", "after", "density", "error"), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML; cells are escaped already."""
    lines = ["<tr>" + "".join(f"<th>{cell}" for cell in header)]
    lines += ["<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _drawing(parts: Sequence[Part]) -> str:
    """Three columns of bars, one line a part: bytes (what they were as an outline), density, error."""
    most = max((part.bytes_before for part in parts), default=1) or 1
    worst = max((part.error for part in parts), default=0.0) or 1.0
    width, height = _NAME + 3 * (_BAR + _GAP), _ROW * (len(parts) + 1) + 8
    shapes: list[str] = []

    def column(
        number: int, title: str, length: Callable[[Part], float], colour: str, said: Callable[[Part], str]
    ) -> None:
        left = _NAME + number * (_BAR + _GAP)
        shapes.append(f'<text x="{left}" y="14">{title}</text>')
        for line, part in enumerate(parts, 1):
            top = _ROW * line + 3
            title_of = f"<title>{escape(part.name)}: {said(part)}</title>"
            if number == 0:
                before = _BAR * part.bytes_before / most
                shapes.append(_bar(left, top, before, "none", title_of, stroke="#999"))
            shapes.append(_bar(left, top, _BAR * length(part), colour, title_of))

    for line, part in enumerate(parts, 1):
        shapes.append(f'<text x="0" y="{_ROW * line + 14}">{escape(part.name)}</text>')
    column(
        0,
        f"bytes, and before (up to {format_bytes(most)})",
        lambda part: part.bytes_after / most,
        "#3b75af",
        lambda part: f"{format_bytes(part.bytes_before)} before, {format_bytes(part.bytes_after)} after",
    )
    column(1, "density", lambda part: part.density, "#519e3e", lambda part: f"{part.density:.1%}")
    column(
        2,
        f"error (up to {worst:.1%})" if worst < 1 else "error",
        lambda part: part.error / worst,
        "#c53a32",
        lambda part: f"{part.error:.2%}",
    )
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="max-width: 100%"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {box}>\n' + "\n".join(shapes) + "\n</svg>"


def _bar(x: float, y: float, width: float, fill: str, content: str, stroke: str = "none") -> str:
    size = f'x="{x}" y="{y}" width="{width:.1f}" height="{_ROW - 6}"'
    return f'<rect {size} fill="{fill}" stroke="{stroke}">{content}</rect>'
