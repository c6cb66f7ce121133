"""examples/aws_lambda: events of API Gateway and function URLs, from this checkout and from the unpacked zip alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from minibert.engine.cpu import supported_isas
from tests.examples.rows import ROOT, environment, row, run

HERE = ROOT / "examples/aws_lambda"
SMALL = ROOT / "examples/banking77/small.safetensors"
#: What Lambda does: imports the handler, and hands it events.
DRIVER = """
import json, sys
sys.path.insert(0, {folder!r})
from handler import MODEL, handler
context = object()
answers = [handler(event, context) for event in json.load(sys.stdin)]
print(json.dumps({{"backend": MODEL.engine.backend, "answers": answers}}))
"""
BODY = '{"texts": ["where is my new card?", "🙂"]}'


def by_rest(body: str | None, **more) -> dict:
    """API Gateway, REST."""
    return {"httpMethod": "POST", "path": "/", "body": body, "isBase64Encoded": False, "headers": {}, **more}


def by_url(body: str | bytes, method: str = "POST") -> dict:
    """API Gateway, HTTP, and function URLs: bodies are base64 unless they are known to be text."""
    data = base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
    http = {"method": method, "path": "/"}
    return {"version": "2.0", "requestContext": {"http": http}, "body": data, "isBase64Encoded": True}


#: Events, the status of the answer, and what its body says.
EVENTS = [
    (by_rest(BODY), 200, '"answers"'),
    (by_url(BODY), 200, '"answers"'),
    ({"body": BODY}, 200, '"answers"'),  # aws lambda invoke
    (by_rest(None), 400, "no JSON"),
    (by_rest('{"texts": ['), 400, "no JSON"),
    (by_rest("[" * 100_000), 400, "no JSON"),
    (by_url(b'{"texts": ["\xff"]}'), 400, "no JSON"),
    ({**by_url(BODY), "body": "%%%"}, 400, "no JSON"),
    (by_rest('["a"]'), 400, "the body must be"),
    (by_rest('{"texts": "a"}'), 400, "the body must be"),
    (by_rest('{"texts": []}'), 400, "the body must be"),
    (by_rest('{"texts": ["a", 1]}'), 400, "the body must be"),
    (by_rest(json.dumps({"texts": ["a"] * 129})), 413, "128 texts"),
    (by_rest(json.dumps({"texts": ["a" * 300_000]})), 413, "262144 bytes"),
    (by_url(json.dumps({"texts": ["a" * 300_000]})), 413, "262144 bytes"),
    (by_url("x" * (256 * 1024 + 2)), 413, "262144 bytes"),
    (by_url("", "GET"), 405, "POST texts"),
]


def check(output: bytes, backend: str | None = None) -> list[dict]:
    found = json.loads(output)
    assert backend in (None, found["backend"])
    for (_, status, says), answer in zip(EVENTS, found["answers"], strict=True):
        assert (answer["statusCode"], says in answer["body"]) == (status, True), answer
        assert answer["headers"]["content-type"].startswith("application/json")
        assert not answer["isBase64Encoded"]
        json.loads(answer["body"])
    return [json.loads(answer["body"]) for answer in found["answers"] if answer["statusCode"] == 200]


def ask(command: list[str], folder: Path, **options) -> subprocess.CompletedProcess[bytes]:
    events = json.dumps([event for event, _, _ in EVENTS]).encode()
    program = DRIVER.format(folder=str(folder))
    done = subprocess.run([*command, "-c", program], input=events, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done


def test_vectors():
    first, *others = check(ask([sys.executable], HERE, env=environment()).stdout)
    assert first["model"] == "minilm"
    assert [len(vector) for vector in first["answers"]] == [384, 384]
    assert others == [first, first]


def test_labels():
    first, *_ = check(ask([sys.executable], HERE, env=environment(MINIBERT_MODEL=str(SMALL))).stdout)
    assert first["model"] == "small"
    assert first["answers"][0]["label"] == "card_arrival"


def test_by_hand_and_mistakes(tmp_path):
    done = run("""python examples/aws_lambda/handler.py '{"body": "[]"}'""", tmp_path)
    assert json.loads(done.stdout)["statusCode"] == 400
    done = run("python examples/aws_lambda/build.py --model none.safetensors", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"build.py: ")


def sandbox(folder: Path) -> list[str]:
    """Python in a file system that nobody writes to, without home, /tmp and /proc; plain where there can be none."""
    prefix = Path(sys.base_prefix).resolve()
    python = str(Path(sys.executable).resolve())
    places = [path for path in ("/usr", "/lib", "/lib64", prefix, folder) if Path(path).exists()]
    binds = [word for path in places for word in ("--ro-bind", str(path), str(path))]
    box = [
        "bwrap",
        *binds,
        "--unshare-user",
        "--uid",
        "993",
        "--gid",
        "990",
        "--remount-ro",
        "/",
        "--chdir",
        "/",
        python,
    ]
    if shutil.which("bwrap") and not subprocess.run([*box, "-c", ""], capture_output=True, check=False).returncode:
        return box
    return [python, "-B"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zip is for Linux")
def test_the_row_builds_a_zip_that_answers_by_itself(tmp_path):
    """Minutes: kernels are compiled for this CPU. Nothing of this environment is seen when the zip answers."""
    pytest.importorskip("numba")
    done = run(row("aws_lambda"), tmp_path, MINIBERT_PREBUILT=",".join({supported_isas()[0], "avx2"}))
    assert done.returncode == 0, done.stderr.decode()
    assert b"aws lambda create-function" in done.stdout
    file = tmp_path / "function.zip"
    assert file.stat().st_size < 50_000_000
    folder = (tmp_path / "task").resolve()
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    assert (folder / "handler.py").exists()
    assert sum(each.stat().st_size for each in folder.rglob("*")) < 250_000_000
    before = {each: each.stat().st_mtime_ns for each in folder.rglob("*")}
    environ = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "PATH": os.defpath}
    done = ask([*sandbox(folder), "-I"], folder, env=environ)
    assert done.stderr == b""  # no warning that NumPy answers
    check(done.stdout, "prebuilt")
    assert before == {each: each.stat().st_mtime_ns for each in folder.rglob("*")}
