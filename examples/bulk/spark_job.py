"""Vectors or labels of many texts by Spark: `mapInArrow` over parts of the texts, one a task.

    python spark_job.py TEXTS -o OUT [--model minilm] [--workers N] [--master spark://head:7077]

What is computed is the parts that OUT doesn't have yet; a Python worker that dies is replaced, and its task is done
again. On a cluster TEXTS and OUT lie where every node sees them. The model's file comes along.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import command
import parts
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from minibert.engine.processors import default_threads

PARTS = "file string, number long, text string, first long, rows long, start long"
DONE = "part string, rows long, worker string, began double, ended double"


def session(options: argparse.Namespace) -> SparkSession:
    """Spark on a cluster, or in this process, where four failures of a task end the job, as on a cluster."""
    builder = SparkSession.builder.appName("minibert")
    if not options.master:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = builder.config(map={"spark.ui.enabled": "false", "spark.log.level": "ERROR"})
        return builder.master(f"local[{options.workers or default_threads()},4]").getOrCreate()
    if options.workers:
        builder = builder.config("spark.cores.max", str(options.workers))
    return builder.master(options.master).getOrCreate()


def run(options: argparse.Namespace, job: parts.Job, missing: list[parts.Part]) -> Iterator[parts.Done]:
    """The parts, once all are done."""
    spark = session(options)
    spark.sparkContext.addPyFile(parts.__file__)
    spark.sparkContext.addFile(job.model)
    name = Path(job.model).name

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = job.load(lambda: Path(SparkFiles.get(name)).read_bytes())
        for batch in batches:
            done = [job.work(model, parts.Part(**row)) for row in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist([each._asdict() for each in done])

    rows = spark.sparkContext.parallelize(map(tuple, missing), len(missing))
    for row in spark.createDataFrame(rows, PARTS).mapInArrow(work, DONE).collect():
        yield parts.Done(*row)
    spark.stop()


if __name__ == "__main__":
    sys.exit(command.main(__doc__ or "", run, "--master"))
