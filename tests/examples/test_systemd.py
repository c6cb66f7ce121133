"""examples/systemd and the service of examples/raspberry_pi: systemd understands them and finds them closed, and what
they start does what they are for."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from minibert.engine.cpu import supported_isas
from tests.examples.rows import ROOT, row, run, running, until

UNITS = [*(ROOT / "examples/systemd").glob("minibert-*"), ROOT / "examples/raspberry_pi/minibert-watch.service"]
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
#: What `systemd-analyze security` may find at most, in tenths: 0 is closed, 100 open.
EXPOSED = {"minibert-serve": 15, "minibert-encode": 10, "minibert-watch": 20}
TOOL = shutil.which("systemd-analyze")
systemd = pytest.mark.skipif(TOOL is None, reason="needs systemd-analyze")


def name(unit: Path) -> str:
    return unit.stem


@pytest.fixture
def here(tmp_path):
    """The units, of programs that are here."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in UNITS:
        text = re.sub(r"/opt/minibert/bin/\w+", sys.executable, unit.read_text())
        (folder / unit.name).write_text(text)
    return folder


def analyze(*words) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOL, *map(str, words)], capture_output=True, text=True, check=False)


def setting(unit: Path, key: str) -> str:
    (value,) = re.findall(rf"^{key}=(.+)$", unit.read_text(), re.MULTILINE)
    return value


@systemd
def test_systemd_understands_them(here):
    done = analyze("verify", "--man=no", *here.iterdir())
    assert (done.returncode, done.stderr) == (0, "")
    (here / "minibert-serve.service").write_text("[Service]\nExecStart=/bin/true\nRestrt=always\n")
    assert "Restrt" in analyze("verify", "--man=no", here / "minibert-serve.service").stderr  # so it would be seen
    assert analyze("calendar", setting(ROOT / "examples/systemd/minibert-encode.timer", "OnCalendar")).returncode == 0


@systemd
@pytest.mark.parametrize("unit", SERVICES, ids=name)
def test_they_are_closed(here, unit):
    if "--offline" not in analyze("--help").stdout:
        pytest.skip("an old systemd, which asks only those that run")
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSED[unit.stem]}", here / unit.name)
    assert done.returncode == 0, done.stdout


def test_the_timer_starts_a_unit_that_is_there():
    """Each by the other's name; and both read and write in the folder that systemd makes."""
    assert {unit.stem for unit in UNITS if unit.suffix == ".timer"} <= {unit.stem for unit in SERVICES}
    unit = ROOT / "examples/systemd/minibert-encode.service"
    folder = f"/var/lib/{setting(unit, 'StateDirectory')}"
    assert setting(unit, "StandardInput") == f"file:{folder}/texts.txt"
    assert setting(unit, "ConditionPathExists") == f"{folder}/texts.txt"


def command(unit: str, prefix: str = f"{sys.executable} -m ") -> str:
    return setting(ROOT / f"examples/systemd/{unit}", "ExecStart").replace("/opt/minibert/bin/", prefix)


def check_service(command: str, folder: Path, **more: str) -> None:
    with running(command.replace("--port 8080", "--port 0"), folder, **more) as process:
        line = until(process.stderr, "answers; Ctrl-C ends")[-1]
        connection = HTTPConnection("127.0.0.1", int(line.split(":")[2].partition("/")[0]), timeout=60)
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/embeddings", json.dumps({"input": "a text"}), headers)
        assert len(json.loads(connection.getresponse().read())["data"][0]["embedding"]) == 384
        connection.close()
        process.terminate()
        ends = setting(ROOT / "examples/systemd/minibert-serve.service", "SuccessExitStatus")
        assert process.wait() == int(ends)


def test_the_service_answers(tmp_path):
    pytest.importorskip("uvicorn")
    check_service(command("minibert-serve.service"), tmp_path)


def test_the_job_encodes_twice(tmp_path):
    """The second night's matrix takes the place of the first's."""
    for lines in (2, 3):
        done = run(command("minibert-encode.service"), tmp_path, "a text\n" * lines, STATE_DIRECTORY=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert np.load(tmp_path / "vectors.npy").shape == (lines, 384)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("install"), reason="needs GNU's install")
def test_the_row_installs_what_the_units_start(tmp_path):
    """Minutes: a wheel is built. What is installed answers, and where the kernel can forbid it, maps nothing to write
    and run."""
    pytest.importorskip("numba")
    words = shlex.split(row("systemd"))
    assert words[0] == "sudo"
    root = tmp_path / "root"
    isas = ",".join({supported_isas()[0], "avx2"})
    done = run(shlex.join(words[1:]), tmp_path, DESTDIR=str(root), MINIBERT_PREBUILT=isas)
    assert done.returncode == 0, done.stderr
    installed = {unit.name for unit in (root / "etc/systemd/system").iterdir()}
    assert installed == {unit.name for unit in UNITS if unit.parent.name == "systemd"}
    programs = root / "opt/minibert/bin"
    forbid = "import ctypes, sys; sys.exit(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) and 1)"  # PR_SET_MDWE
    able = subprocess.run([programs / "python", "-c", forbid], check=False).returncode == 0
    program = f"""
import ctypes, minibert
ctypes.CDLL(None).prctl(65, {int(able)}, 0, 0, 0)
model = minibert.load("minilm")
print(model.engine.backend, len(model.encode("a text")))
"""
    isolated = [programs / "python", "-I", "-c", program]  # this checkout is not seen
    done = subprocess.run(isolated, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("prebuilt 384\n", "")
    check_service(command("minibert-serve.service", f"{programs}{os.sep}"), tmp_path, PYTHONPATH="")
