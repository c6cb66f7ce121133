"""Everything at once: peak, latency on one thread and more, start-up; then README.md's tables and docs/latency.svg.

    python -m bench.speed.run                                 # every model that prepare.py made
    python -m bench.speed.run FILE --peer RUNTIME=PYTHON:MODEL ...

Results go to bench/results/MODEL.json. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine
from bench.speed import compare, plot, startup, table
from bench.speed.peers import BUILD, HERE, add_options, chosen, environment, note


def measure_peak(python: str, threads: list[int]) -> dict[str, Any] | None:
    """The figures of peak.py, in a process of its own; None, with a line, where numba is not to be had."""
    command = [python, str(HERE / "peak.py"), "--json", "--threads", *map(str, threads)]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, check=False)
    if done.returncode:
        note(f"skipped the peak: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    return json.loads(done.stdout)


def measure(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model."""
    options.model = model
    peers = chosen(options)
    result: dict[str, Any] = {"machine": machine.describe()}
    note(f"{model}: peak")
    if peak := measure_peak(options.python, options.threads):
        result["peak"] = peak
    result["rows"] = [asdict(row) for threads in options.threads for row in compare.compare(peers, threads, options)]
    note(f"{model}: start-up")
    started = startup.measure(peers, 1, options.rounds, options.settle)
    result["starts"] = {"threads": 1, "starts": [asdict(one) for one in started]}
    result["load_after"] = machine.load()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, optional=True)
    parser.add_argument("--name", help="of a FILE's results (default: its folder's)")
    cpus = machine.describe()["cpus"]
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2][:cpus], metavar="N")
    compare.add_timing_options(parser)
    parser.add_argument("--no-readme", action="store_true", help="write results only")
    options = parser.parse_args()
    if options.model:
        models = {options.name or options.model.resolve().parent.name: options.model}
    else:
        models = {file.parent.name: file for file in sorted((BUILD / "models").glob("*/minibert.safetensors"))}
        if not models:
            sys.exit(f"{BUILD / 'models'}: no model; run bench/speed/prepare.py, or name a file")
    table.RESULTS.mkdir(exist_ok=True)
    for name, model in models.items():
        result = measure(model, options)
        (table.RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    block = table.render(table.read_results(table.RESULTS))
    print(block)
    if not options.no_readme:
        try:
            table.README.write_text(table.insert(table.README.read_text(encoding="utf-8"), block), encoding="utf-8")
        except ValueError as error:
            sys.exit(str(error))
        try:
            plot.draw(table.read_results(table.RESULTS), plot.PICTURE)
        except ModuleNotFoundError as error:
            note(f"no picture: {error.name} is missing (pip install 'minibert[bench]')")


if __name__ == "__main__":
    main()
