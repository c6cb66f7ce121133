"""Vectors or labels of many texts by Dask: a process for each CPU, and a part of the texts at a time.

    python dask_job.py TEXTS -o OUT [--model minilm] [--workers N] [--address tcp://head:8786]

On a cluster TEXTS, OUT and the model's file lie where every node sees them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import command
import parts
from distributed import Client, as_completed

from minibert.engine.processors import default_threads


def work(job: parts.Job, part: parts.Part) -> parts.Done:
    """A part, in a process that keeps its model."""
    return job.work(job.load(Path(job.model).read_bytes), part)


def run(options: argparse.Namespace, job: parts.Job, missing: list[parts.Part]) -> Iterator[parts.Done]:
    """The parts, as they are done."""
    here = {"threads_per_worker": 1, "dashboard_address": None, "n_workers": options.workers or default_threads()}
    with Client(options.address, **({} if options.address else here)) as client:
        client.upload_file(parts.__file__)
        for _, done in as_completed(client.map(work, [job] * len(missing), missing, retries=3), with_results=True):
            yield done


if __name__ == "__main__":
    sys.exit(command.main(__doc__ or "", run, "--address"))
