"""Vectors or labels of many texts by Ray Data: an actor for each CPU, and a part of the texts at a time.

    python ray_job.py TEXTS -o OUT [--model minilm] [--workers N] [--address ray://head:10001]

What is computed is the parts that OUT doesn't have yet; an actor that dies is replaced, and its part is done again.
On a cluster TEXTS and OUT lie where every node sees them. The model's file comes along.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import command
import parts
import ray
import ray.data
from ray import cloudpickle

from minibert.engine.processors import default_threads


class Worker:
    """An actor, which opens the model once.

    Args:
        job: what is to be done.
        content: the model's file in Ray's store, of which a node that hasn't got the file has one copy.
    """

    def __init__(self, job: parts.Job, content: list[ray.ObjectRef]) -> None:
        self.job = job
        self.model = job.load(lambda: ray.get(content[0]))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Columns of Part in, columns of Done out."""
        rows = zip(*(batch[name].tolist() for name in parts.Part._fields), strict=True)
        done = [self.job.work(self.model, parts.Part(*row)) for row in rows]
        return {name: [getattr(each, name) for each in done] for name in parts.Done._fields}


def run(options: argparse.Namespace, job: parts.Job, missing: list[parts.Part]) -> Iterator[parts.Done]:
    """The parts, as they are done."""
    workers = options.workers or default_threads()
    local = {} if options.address else {"num_cpus": workers, "include_dashboard": False}
    ray.init(options.address, log_to_driver=False, logging_level="ERROR", **local)
    if options.address and not options.workers:
        workers = int(ray.cluster_resources()["CPU"])
    cloudpickle.register_pickle_by_value(parts)  # other nodes have no such module
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    content = [ray.put(Path(job.model).read_bytes())]  # in a list: Ray would hand over what a bare reference refers to
    blocks = min(len(missing), 200 * workers)
    data = ray.data.from_items([part._asdict() for part in missing], override_num_blocks=blocks).map_batches(
        Worker,
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        fn_constructor_args=(job, content),
    )
    for row in data.iter_rows():
        yield parts.Done(**row)
    ray.shutdown()


if __name__ == "__main__":
    sys.exit(command.main(__doc__ or "", run, "--address"))
