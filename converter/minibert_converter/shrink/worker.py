"""One student's training in a process of its own: `python -m minibert_converter.shrink.worker JOB.json`.

The job is a JSON file that names the teacher, the examples (a JSON file), the recipe, the file to write and the seconds
to train for. On stdout go JSON lines of how far it is, and at last of what came out.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from minibert.errors import MinibertError

#: Seconds between two lines of how far the work is.
_PAUSE = 0.5


def main() -> None:
    """Does the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        _say(_train(job))
    except MinibertError as error:
        _say({"error": str(error)})


def _train(job: dict[str, Any]) -> dict[str, Any]:
    from minibert_converter.distill.dataset import Examples
    from minibert_converter.distill.distill import Watcher, distill
    from minibert_converter.recipe import Recipe

    read = json.loads(Path(job["examples"]).read_text(encoding="utf-8"))
    texts = [text if isinstance(text, str) else tuple(text) for text in read["texts"]]
    said = 0.0

    def moment(now: Any) -> None:
        nonlocal said
        if time.monotonic() >= said:
            said = time.monotonic() + _PAUSE
            _say({"step": now.step, "steps": now.steps, "seconds_left": now.seconds_left})

    began = time.monotonic()
    report, _ = distill(
        job["teacher"],
        Examples(texts, read["labels"]),
        job["out"],
        Recipe.from_json(job["recipe"]),
        cache=job["cache"],
        threads=job["threads"],
        seconds=job["seconds"],
        watcher=Watcher(moment=moment),
    )
    return {"bytes": report.file_bytes, "seconds": time.monotonic() - began}


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
