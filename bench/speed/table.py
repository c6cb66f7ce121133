"""The figures of bench/results as Markdown, between the markers in README.md.

python -m bench.speed.table            # rewrites README.md
python -m bench.speed.table --print    # shows what it would write
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.pages import README, RESULTS
from bench.speed.peers import RUNTIMES
from bench.speed.shapes import SHAPES

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
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

Row = dict[str, Any]


def latency(result: dict[str, Any], threads: int) -> list[str]:
    """The table of one number of threads."""
    rows = [row for row in result["rows"] if row["threads"] == threads]
    peers = [name for name in RUNTIMES if any(row["runtime"] == name for row in rows)]
    peak = result.get("peak", {}).get("peak", {}).get(str(threads))
    head = ["", "minibert", "GMAC/s", *(["of the peak"] if peak else []), *(TITLES[name] for name in peers)]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for name, shape in SHAPES.items():
        found = {row["runtime"]: _best(rows, name, row["runtime"]) for row in rows if row["shape"] == name}
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
        lines.append(_line(cells))
    return lines


def _best(rows: list[Row], shape: str, runtime: str) -> Row:
    """The runtime's best way of feeding this shape."""
    return min((r for r in rows if r["shape"] == shape and r["runtime"] == runtime), key=lambda r: r["ratio"])


def _milliseconds(row: Row) -> str:
    value = row["median_ms"]
    return f"{_DISTURBED * row['disturbed']}{value:.{2 if value < 10 else 1 if value < 100 else 0}f} ms"


def _ratio(row: Row, best: bool) -> str:
    """Median of the ratios and their range; the best peer's is bold."""
    mark = _DISTURBED * row["disturbed"]
    value = f"{mark}{row['ratio']:.2f}"
    return f"{f'**{value}**' if best else value} ({row['low']:.2f} to {row['high']:.2f})"


def starts(result: dict[str, Any]) -> list[str]:
    """The table of starts."""
    lines = [_line(["", "start to first answer", "peak memory", "files"]), _line(["---", "---:", "---:", "---:"])]
    for one in result["starts"]:
        cells = [TITLES[one["runtime"]], f"{one['seconds']:.2f} s", f"{one['peak_mib']:.0f} MiB"]
        lines.append(_line([*cells, f"{one['files_mib']:.1f} MiB"]))
    return lines


def dense(result: dict[str, Any]) -> str:
    """One sentence about the kernel and the peak."""
    peak = result["peak"]
    limit = peak["peak"]["1"]
    shares = [row["macs_per_second"] / limit for row in peak["dense"] if row["m"] >= 48]
    sentence = (
        f"Peak: {limit / 1e9:.0f} GMAC/s on one thread, measured with the kernels' own instruction ({peak['isa']})"
    )
    if shares:
        sentence += f"; the dense kernel alone reaches {min(shares):.0%} to {max(shares):.0%} of it from 48 tokens on"
    return sentence + "."


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def render(results: dict[str, dict[str, Any]]) -> str:
    """Everything between the markers. `results` is by model."""
    parts: list[str] = []
    for model, result in results.items():
        about = result["machine"]
        versions = {row["runtime"]: row["version"] for row in result["rows"]}
        parts.append(f"### {model}\n")
        named = ", ".join(f"{TITLES[name]} {version}" for name, version in versions.items())
        where = (
            f"{about['cpu']}, {about['cpus']} CPUs, {about['system']}; {about['date']}, revision {about['revision']}"
        )
        parts.append(f"int8 on {where}; {named}. Random token ids, the same for all; tokenizing is not counted.\n")
        for threads in sorted({row["threads"] for row in result["rows"]}):
            count = f"{threads} thread{'s' * (threads > 1)}"
            parts.append(
                f"**{count}**: minibert's median time, and each peer's as a multiple of it (lowest to highest)\n"
            )
            parts.append("\n".join(latency(result, threads)) + "\n")
        if "peak" in result:
            parts.append(dense(result) + "\n")
        if "starts" in result:
            parts.append(f"A fresh process, {result['starts']['threads']} thread(s), caches warm:\n")
            parts.append("\n".join(starts(result["starts"])) + "\n")
        if any(row["disturbed"] for row in result["rows"]):
            parts.append(
                f"{_DISTURBED} something disturbed this figure: its median lies more than 15% above its fastest pass.\n"
            )
    return "\n".join(parts)


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of `run.py`, by the name of the model."""
    found = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    return {name: result for name, result in found.items() if "rows" in result}  # other scripts keep theirs there too


def insert(readme: str, block: str) -> str:
    """The README with a new block.

    Raises:
        ValueError: it does not have each marker once, in order.
    """
    before, found, rest = readme.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found or not found_end or BEGIN in rest or END in after:
        raise ValueError(f"{README}: needs one line {BEGIN} and after it one line {END}")
    return f"{before}{BEGIN}\n\n{block}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="show the block instead of writing it")
    options = parser.parse_args()
    results = read_results(RESULTS)
    if not results:
        sys.exit(f"{RESULTS}: no results; run bench/speed/run.py first")
    block = render(results)
    if options.print:
        print(block)
        return
    try:
        README.write_text(insert(README.read_text(encoding="utf-8"), block), encoding="utf-8")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
