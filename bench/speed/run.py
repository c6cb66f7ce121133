"""Everything at once: peak, latency on one thread and more, start-up; then all that report.py makes of it.

    python -m bench.speed.run                          # every model that prepare.py made
    python -m bench.speed.run FILE --peer RUNTIME=PYTHON:MODEL ...

Results go to bench/results/speed/MODEL.json. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import common
from bench.speed import compare, report, startup
from bench.speed.peers import BUILD, HERE, add_options, chosen, environment


def measure_peak(python: str, threads: list[int]) -> dict[str, Any] | None:
    """The figures of peak.py, in a process of its own; None, with a line, where numba is not to be had."""
    command = [python, str(HERE / "peak.py"), "--json", "--threads", *map(str, threads)]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, check=False)
    if done.returncode:
        common.note(f"skipped the peak: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    return json.loads(done.stdout)


def measure(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model."""
    options.model = model
    peers = chosen(options)
    result: dict[str, Any] = {"machine": common.describe_machine()}
    common.note(f"{model}: peak")
    if peak := measure_peak(options.python, options.threads):
        result["peak"] = peak
    result["rows"] = [asdict(row) for threads in options.threads for row in compare.compare(peers, threads, options)]
    common.note(f"{model}: start-up")
    started = startup.measure(peers, 1, options.rounds, options.settle)
    result["starts"] = {"threads": 1, "starts": [asdict(one) for one in started]}
    result["load_after"] = common.load()
    return result


def main() -> None:
    parser = common.command_line(__doc__)
    add_options(parser, optional=True)
    parser.add_argument("--name", help="of a FILE's results (default: its folder's)")
    cpus = common.describe_machine()["cpus"]
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2][:cpus], metavar="N")
    compare.add_timing_options(parser)
    parser.add_argument("--no-pages", action="store_true", help="write results only")
    options = parser.parse_args()
    if options.model:
        models = {options.name or options.model.resolve().parent.name: options.model}
    else:
        models = {file.parent.name: file for file in sorted((BUILD / "models").glob("*/minibert.safetensors"))}
        if not models:
            sys.exit(f"{BUILD / 'models'}: no model; run bench.speed.prepare, or name a file")
    for name, model in models.items():
        common.write_json(report.RESULTS / f"{name}.json", measure(model, options))
    results = report.read_results()
    print(report.render(results))
    if not options.no_pages:
        report.publish(results)


if __name__ == "__main__":
    main()
