"""Trainings side by side, each in a process of its own with its share of the processor's cores."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert import isolated
from minibert.errors import MinibertError

#: Environment by which a training keeps to its threads.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
#: Where the teacher's answers are, in the folder of a search.
ANSWERS = "answers"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        key: names it, and its file in the folder.
        recipe: as plain values.
        seconds: that it may train.
    """

    key: str
    recipe: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Workshop:
    """Where trainings are done.

    Attributes:
        folder: of the jobs, the students and the teacher's answers.
        teacher: the checkpoint.
        examples: a JSON file of texts and labels.
        workers: trainings at a time.
        threads: of each.
    """

    folder: Path
    teacher: Path
    examples: Path
    workers: int
    threads: int

    def student(self, key: str) -> Path:
        """Where the student of a job is written."""
        return self.folder / f"{key}.safetensors"

    def train(
        self,
        jobs: Sequence[Job],
        done: Callable[[Job, Mapping[str, Any]], None],
        told: Callable[[Mapping[str, Mapping[str, Any]]], None],
    ) -> None:
        """Does jobs, `workers` at a time, in order.

        Args:
            jobs: to do.
            done: told of each job's end: "bytes" and "seconds".
            told: told now and then how far those that run are: by key, "step", "steps" and "seconds_left".

        Raises:
            MinibertError: one failed; the others are stopped, and go on where they were when they are done again.
        """
        waiting, running = list(jobs), dict[str, tuple[Job, subprocess.Popen[str]]]()
        lines: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()
        far: dict[str, Mapping[str, Any]] = {}
        ends: dict[str, Mapping[str, Any]] = {}
        with tempfile.TemporaryDirectory(prefix="minibert-") as private:
            try:
                while waiting or running:
                    while waiting and len(running) < self.workers:
                        job = waiting.pop(0)
                        running[job.key] = job, self._start(job, private, lines)
                    key, line = lines.get()
                    if line is None:  # the process has closed its output
                        job, process = running.pop(key)
                        process.wait()
                        far.pop(key, None)
                        end = ends.pop(key, {})
                        if "bytes" not in end:
                            why = end.get("error") or self._last_words(key, process.returncode)
                            raise MinibertError(f"a training failed ({key}): {why}")
                        done(job, end)
                    elif "step" in line:
                        far[key] = line
                        told(far)
                    else:
                        ends[key] = line
            finally:
                for _, process in running.values():
                    process.kill()
                    process.wait()

    def _start(self, job: Job, private: str, lines: queue.Queue[Any]) -> subprocess.Popen[str]:
        path = self.folder / f"{job.key}.json"
        said = {
            "teacher": str(self.teacher),
            "examples": str(self.examples),
            "recipe": job.recipe,
            "out": str(self.student(job.key)),
            "cache": str(self.folder / ANSWERS),
            "threads": self.threads,
            "seconds": job.seconds,
        }
        path.write_text(json.dumps(said), encoding="utf-8")
        # Threads that wait sleep: those that spin would take the time of the other trainings.
        environment = {**os.environ, **dict.fromkeys(_THREADS, str(self.threads)), "OMP_WAIT_POLICY": "PASSIVE"}
        with self._log(job.key).open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                isolated.command("minibert_converter.shrink.worker", str(path)),
                cwd=private,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=os.name == "posix",  # Ctrl-C is for the one who waits, who then stops them all
            )

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put((job.key, json.loads(line)))
            lines.put((job.key, None))

        threading.Thread(target=read, daemon=True).start()
        return process

    def _log(self, key: str) -> Path:
        return self.folder / f"{key}.log"

    def _last_words(self, key: str, code: int) -> str:
        lines = self._log(key).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if code < 0:
            return f"its process was killed by signal {-code}, perhaps for want of memory"
        return lines[-1] if lines else f"its process ended with code {code}"
