"""Counts in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

#: Upper ends of the classes of a request's duration in seconds, and of the texts of a pass.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """How many values fell into which class.

    Args:
        ends: of the classes, rising; one more has everything above.
    """

    def __init__(self, ends: Sequence[float]) -> None:
        self.ends = ends
        self.counts = [0] * (len(ends) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.ends, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """As Prometheus has it: classes that add up."""
        lines, total = [], 0
        for end, count in zip([*map(str, self.ends), "+Inf"], self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{end}"}} {total}')
        return [*lines, f"{name}_sum{{{labels}}} {self.sum:.9g}", f"{name}_count{{{labels}}} {total}"]


class Metrics:
    """What the service counts.

    Args:
        queue: gives how many requests wait or are at work.
    """

    def __init__(self, queue: Callable[[], int]) -> None:
        self._queue = queue
        self._lock = Lock()  # models have threads of their own
        self._requests: Counter[tuple[str, int]] = Counter()
        self._durations: dict[str, Histogram] = {}
        self._tokens: Counter[str] = Counter()
        self._passes: dict[str, Histogram] = {}

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request by its path, which is one that there is, and its status."""
        self._requests[path, status] += 1
        if path not in self._durations:
            self._durations[path] = Histogram(SECONDS)
        self._durations[path].add(seconds)

    def passed(self, model: str, texts: int, tokens: int) -> None:
        """Count a pass through an engine."""
        with self._lock:
            self._tokens[model] += tokens
            if model not in self._passes:
                self._passes[model] = Histogram(TEXTS)
            self._passes[model].add(texts)

    def text(self) -> str:
        """All of them."""
        with self._lock:
            lines = _head("minibert_requests_total", "counter", "Requests by path and status.")
            for (path, status), count in sorted(self._requests.items()):
                lines.append(f'minibert_requests_total{{path="{path}",status="{status}"}} {count}')
            lines += _head("minibert_request_seconds", "histogram", "From the whole request to the whole answer.")
            for path, histogram in sorted(self._durations.items()):
                lines += histogram.lines("minibert_request_seconds", f'path="{path}"')
            lines += _head("minibert_tokens_total", "counter", "Tokens that went through a model.")
            for model, count in sorted(self._tokens.items()):
                lines.append(f'minibert_tokens_total{{model="{_escaped(model)}"}} {count}')
            lines += _head("minibert_pass_texts", "histogram", "Texts that shared a pass through a model.")
            for model, histogram in sorted(self._passes.items()):
                lines += histogram.lines("minibert_pass_texts", f'model="{_escaped(model)}"')
            lines += _head("minibert_queue_requests", "gauge", "Requests that wait or are at work.")
            lines.append(f"minibert_queue_requests {self._queue()}")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
