"""What run.py measured: tables for docs/BENCHMARKS.md, six lines of them for README.md, and docs/latency.svg.

    python -m bench.speed.report            # rewrites all three
    python -m bench.speed.report --print    # shows the tables

The picture has one column a model and one row a number of threads; it needs matplotlib (the extra "bench").
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench import common
from bench.speed.peers import RUNTIMES
from bench.speed.shapes import SHAPES

RESULTS, PICTURE = common.RESULTS / "speed", common.DOCS / "latency.svg"
TITLES = {
    "minibert": "minibert",
    "onnxruntime": "onnxruntime",
    "litert": "LiteRT",
    "openvino": "OpenVINO",
    "ctranslate2": "CTranslate2",
    "torch": "PyTorch",
    "llamacpp": "llama.cpp",
}
_DISTURBED = "~"
_NOTE = f"{_DISTURBED} something disturbed this figure: its median lies more than 15% above its fastest pass."
#: What README shows of each model, and the peers that it names beside the fastest of all.
_SUMMARY, _NAMED = ("b1s32", "b1s128", "ragged64"), ("onnxruntime", "torch")

Row = dict[str, Any]
Result = dict[str, Any]


def latency(result: Result, threads: int) -> str:
    """The table of one number of threads."""
    rows = [row for row in result["rows"] if row["threads"] == threads]
    peers = [name for name in RUNTIMES if any(row["runtime"] == name for row in rows)]
    peak = result.get("peak", {}).get("peak", {}).get(str(threads))
    head = ["", "minibert", "GMAC/s", *(["of the peak"] if peak else []), *(TITLES[name] for name in peers)]
    lines = []
    for name, shape in SHAPES.items():
        found = _by_runtime(rows, name)
        if not found:
            continue
        ours = found.pop("minibert")
        speed = ours["gmacs_per_second"]
        cells = [shape.title, _milliseconds(ours), f"{speed:.0f}"]
        if peak:
            cells.append(f"{1e9 * speed / peak:.0%}")
        least = min((row["ratio"] for row in found.values()), default=0)
        for peer in peers:
            row = found.get(peer)
            cells.append(_ratio(row, row["ratio"] == least) if row else "")
        lines.append(cells)
    return common.table(head, lines)


def _by_runtime(rows: list[Row], shape: str) -> dict[str, Row]:
    """Of each runtime the row of its best way to be fed this shape."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["ratio"]):
        if row["shape"] == shape:
            found.setdefault(row["runtime"], row)
    return found


def _milliseconds(row: Row) -> str:
    value = row["median_ms"]
    return f"{_DISTURBED * row['disturbed']}{value:.{2 if value < 10 else 1 if value < 100 else 0}f} ms"


def _ratio(row: Row, best: bool) -> str:
    """Median of the ratios and their range; the best peer's is bold."""
    return f"{f'**{_times(row)}**' if best else _times(row)} ({row['low']:.2f} to {row['high']:.2f})"


def _times(row: Row) -> str:
    return f"{_DISTURBED * row['disturbed']}{row['ratio']:.2f}"


def starts(result: Result) -> str:
    """The table of starts."""
    rows = [
        [TITLES[one["runtime"]], f"{one['seconds']:.2f} s", f"{one['peak_mib']:.0f} MiB", f"{one['files_mib']:.1f} MiB"]
        for one in result["starts"]
    ]
    return common.table(["", "start to first answer", "peak memory", "files"], rows)


def dense(result: Result) -> str:
    """One sentence about the kernel and the peak."""
    peak = result["peak"]
    limit = peak["peak"]["1"]
    shares = [row["macs_per_second"] / limit for row in peak["dense"] if row["m"] >= 48 and row["kind"] == "int8"]
    sentence = (
        f"Peak: {limit / 1e9:.0f} GMAC/s on one thread, measured with the kernels' own instruction ({peak['isa']})"
    )
    if shares:
        sentence += f"; the dense kernel alone reaches {min(shares):.0%} to {max(shares):.0%} of it from 48 tokens on"
    return sentence + "."


def render(results: dict[str, Result]) -> str:
    """Everything between the marks. `results` is by model."""
    parts: list[str] = []
    for model, result in results.items():
        versions = {row["runtime"]: row["version"] for row in result["rows"]}
        parts.append(f"### {model}\n")
        named = ", ".join(f"{TITLES[name]} {version}" for name, version in versions.items())
        parts.append(
            f"int8 on {_where(result)}; {named}. Random token ids, the same for all; tokenizing is not counted.\n"
        )
        for threads in sorted({row["threads"] for row in result["rows"]}):
            count = f"{threads} thread{'s' * (threads > 1)}"
            parts.append(
                f"**{count}**: minibert's median time, and each peer's as a multiple of it (lowest to highest)\n"
            )
            parts.append(latency(result, threads) + "\n")
        if "peak" in result:
            parts.append(dense(result) + "\n")
        if "starts" in result:
            parts.append(f"A fresh process, {result['starts']['threads']} thread(s), caches warm:\n")
            parts.append(starts(result["starts"]) + "\n")
        if any(row["disturbed"] for row in result["rows"]):
            parts.append(f"{_NOTE}\n")
    return "\n".join(parts)


def summary(results: dict[str, Result]) -> str:
    """README's lines: some shapes of each model on one thread, beside the fastest peer and those that all know."""
    lines, shown = [], []
    for model, result in results.items():
        rows = [row for row in result["rows"] if row["threads"] == 1]
        for shape in _SUMMARY:
            found = _by_runtime(rows, shape)
            ours, peers = found["minibert"], [row for name, row in found.items() if name != "minibert"]
            cells = [f"{model}, {SHAPES[shape].title}{' tokens' * (len(SHAPES[shape].lengths) == 1)}"]
            cells += [_milliseconds(ours), f"{_times(peers[0])} ({TITLES[peers[0]['runtime']]})"]
            cells += [_times(found[name]) if name in found else "" for name in _NAMED]
            lines.append(cells)
            shown += [ours, peers[0], *(found[name] for name in _NAMED if name in found)]
    head = ["", "minibert", "the fastest other", *(TITLES[name] for name in _NAMED)]
    machines = dict.fromkeys(map(_where, results.values()))
    after = (
        f"int8, one thread; others as a multiple of minibert's time. {' and '.join(machines)}. "
        "Every length, runtime and number of threads: [docs/BENCHMARKS.md](docs/BENCHMARKS.md)."
    )
    return "\n\n".join([common.table(head, lines), after, *([_NOTE] if any(row["disturbed"] for row in shown) else [])])


def _where(result: Result) -> str:
    about = result["machine"]
    return f"{about['cpu']}, {about['cpus']} CPUs, {about['system']}; {about['date']}, revision {about['revision']}"


def draw(results: dict[str, Result]) -> None:
    """How many times as long as minibert each peer takes for one text, by the text's length."""
    threads = sorted({row["threads"] for result in results.values() for row in result["rows"]})
    figure = common.new_figure(5 * len(results), 2.9 * len(threads))
    grid = figure.subplots(len(threads), len(results), squeeze=False, sharey=True)
    for column, (name, result) in enumerate(results.items()):
        for row, count in enumerate(threads):
            axes = grid[row][column]
            for peer, points in ratios(result, count).items():
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=TITLES[peer])
            axes.axhline(1, color="black", linewidth=1)
            axes.set_xscale("log", base=2)
            axes.set_ylim(0, 4)
            axes.set_title(f"{name}, {count} thread{'s' * (count > 1)}", fontsize=10)
            axes.set_ylabel("times minibert's time", fontsize=9)
            axes.set_xlabel("tokens of the text", fontsize=9)
            axes.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f}")
            axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize=8)
    common.save_figure(figure, PICTURE)


def ratios(result: Result, threads: int) -> dict[str, list[tuple[int, float]]]:
    """(tokens, ratio) of each peer, for shapes of one text."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in result["rows"]:
        lengths = SHAPES[row["shape"]].lengths
        if row["threads"] == threads and row["runtime"] != "minibert" and len(lengths) == 1:
            found.setdefault(row["runtime"], []).append((lengths[0], row["ratio"]))
    return {peer: sorted(points) for peer, points in found.items()}


def read_results() -> dict[str, Result]:
    """The results of run.py, by the name of the model."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}


def publish(results: dict[str, Result]) -> None:
    """Writes the tables, and the picture where matplotlib is to be had."""
    common.fill(common.DOCS / "BENCHMARKS.md", __file__, render(results))
    common.fill(common.README, __file__, summary(results))
    try:
        draw(results)
    except ModuleNotFoundError as error:
        common.note(f"no picture: {error.name} is missing (pip install 'minibert[bench]')")


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("--print", action="store_true", help="show the tables instead of writing anything")
    options = parser.parse_args()
    results = read_results()
    if not results:
        sys.exit(f"{RESULTS}: no results; run bench.speed.run first")
    if options.print:
        print(f"{summary(results)}\n\n{render(results)}")
    else:
        publish(results)


if __name__ == "__main__":
    main()
