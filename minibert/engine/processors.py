"""How many threads a forward pass is worth here: affinity, quotas of containers, and what the environment says."""

from __future__ import annotations

import os

from minibert.errors import InputError

#: Where Linux shows control groups.
_GROUPS = "/sys/fs/cgroup"


def default_threads() -> int:
    """Threads of an engine that is told no number.

    MINIBERT_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may run on, and no more than its control
    group's quota has.

    Raises:
        InputError: MINIBERT_THREADS is no number of threads.
    """
    asked = os.environ.get("MINIBERT_THREADS")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise InputError(f"MINIBERT_THREADS must be a number of threads, got {asked!r}")
        return int(asked)
    others = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # a list has one number for each level of nesting
    if others.isdecimal() and int(others):
        return int(others)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(int(min(cpus, cpu_quota(_GROUPS, "/proc/self/cgroup"))), 1)


def cpu_quota(groups: str, membership: str) -> float:
    """CPUs' worth of time that the control groups of a process give it; infinity where there is no limit.

    Args:
        groups: the folder of control groups, of version 1 or 2 or both.
        membership: the file that lists a process's groups, as /proc/self/cgroup does.
    """
    quota = float("inf")
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            roots, read = (groups, f"{groups}/unified"), _of_version_2
        elif "cpu" in controllers.split(","):
            roots, read = (f"{groups}/cpu", f"{groups}/{controllers}"), _of_version_1
        else:
            continue
        # A container may see its own group as the root, or only the names that it has outside.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for root in roots:
            for depth in range(len(parts) + 1):
                quota = min(quota, read("/".join([root, *parts[:depth]])))
    return quota


def _of_version_2(folder: str) -> float:
    return _ratio(_read(f"{folder}/cpu.max").split())


def _of_version_1(folder: str) -> float:
    return _ratio([_read(f"{folder}/cpu.cfs_quota_us").strip(), _read(f"{folder}/cpu.cfs_period_us").strip()])


def _ratio(parts: list[str]) -> float:
    """Microseconds of quota by microseconds of period; infinity for "max", -1, and what cannot be read."""
    if len(parts) == 2 and all(part.isdecimal() for part in parts) and int(parts[1]):
        return int(parts[0]) / int(parts[1])
    return float("inf")


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
