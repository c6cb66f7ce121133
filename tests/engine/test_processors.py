"""How many threads an engine has by itself."""

from __future__ import annotations

import pytest

from minibert.engine import processors
from minibert.engine.processors import cpu_quota, default_threads
from minibert.errors import InputError


def quota(folder, membership: str, files: dict[str, str]) -> float:
    """The quota where control groups have these files."""
    (folder / "membership").write_text(membership)
    for name, content in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return cpu_quota(str(folder / "groups"), str(folder / "membership"))


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("", {}, float("inf")),
        ("0::/\n", {"cpu.max": "max 100000\n"}, float("inf")),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/pods/one\n", {"pods/one/cpu.max": "max 100000\n", "pods/cpu.max": "300000 100000\n"}, 3),
        ("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"unified/cpu.max": "150000 100000\n"}, 1.5),
        (
            "4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/\n",
            {"cpu/a/b/cpu.cfs_quota_us": "250000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "3:cpu,cpuacct:/docker/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "50000"},
            2,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("0::/\n", {"cpu.max": "nonsense\n"}, float("inf")),
        ("0::/\n", {"cpu.max": "100 0\n"}, float("inf")),
    ],
)
def test_quotas_of_control_groups(tmp_path, membership, files, expected):
    assert quota(tmp_path, membership, files) == expected


@pytest.fixture
def cpus(monkeypatch):
    """Eight CPUs, and no variables that say otherwise."""
    for name in ("MINIBERT_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(processors, "cpu_quota", lambda *_: float("inf"))


@pytest.mark.parametrize(("limit", "threads"), [(0.5, 1), (1.9, 1), (3, 3), (64, 8), (float("inf"), 8)])
def test_no_more_threads_than_the_quota_has_cpus(cpus, monkeypatch, limit, threads):
    monkeypatch.setattr(processors, "cpu_quota", lambda *_: limit)
    assert default_threads() == threads


def test_the_environment_has_its_say(cpus, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert default_threads() == 5
    monkeypatch.setenv("MINIBERT_THREADS", "3")
    assert default_threads() == 3
    for wrong in ("none", "0", "-1", "1.5"):
        monkeypatch.setenv("MINIBERT_THREADS", wrong)
        with pytest.raises(InputError, match="MINIBERT_THREADS"):
            default_threads()
    monkeypatch.setenv("MINIBERT_THREADS", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert default_threads() == 8
