"""`minibert serve` as a process: how it starts, what it is asked under, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from minibert.errors import MinibertError
from tests.serve.conftest import Client
from tests.tiny import tiny_folder  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "minibert", "serve", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'converter'}", **more}


@contextmanager
def serving(*arguments, **more: str):
    process = subprocess.Popen(
        command(*arguments, "--port", 0, "--backend", "numpy"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    try:
        lines = []
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://(\S+):(\d+)/ answers", line):
                yield process, Client(int(found[2])), lines
                return
        raise AssertionError("".join(lines))
    finally:
        process.kill()
        process.communicate()


def test_models_by_name_and_a_key_from_the_environment(tiny_folder):  # noqa: F811
    files = tiny_folder / "embedder.safetensors", f"other={tiny_folder / 'embedder.safetensors'}"
    with serving(*files, tiny_folder / "tokens.safetensors", MINIBERT_API_KEY="k") as (_, client, lines):
        key = {"Authorization": "Bearer k"}
        assert client.get("/v1/models").status == 401
        found = client.get("/v1/models", **key).json["data"]
        assert [each["id"] for each in found] == ["embedder", "other", "tokens"]
        assert client.get("/v1/models", Host="evil.example", **key).status == 403
        for name in ("embedder", "other"):
            assert client.ask("POST", "/v1/embeddings", {"model": name, "input": "a"}, key).status == 200
        assert "embedder: sentence-embedding, numpy, 1 threads\n" in lines


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_answers_what_it_has(tiny_folder, stop):  # noqa: F811
    """A request of many texts is at work, and another half sent, when the signal comes."""
    with serving(tiny_folder / "embedder.safetensors", "--max-texts", 4000) as (process, client, _):
        answers = []
        big = {"inputs": ["a great movie"] * 3000}
        thread = Thread(target=lambda: answers.append(client.post("/embed", big)))
        thread.start()
        body = json.dumps({"inputs": "a"}).encode()
        late = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
        late.putrequest("POST", "/embed")
        late.putheader("Content-Type", "application/json")
        late.putheader("Content-Length", str(len(body)))
        late.endheaders(body[:5])
        while "minibert_queue_requests 1" not in client.get("/metrics").text and not answers:
            pass
        process.send_signal(stop)
        late.send(body[5:])
        assert late.getresponse().status in (200, 503)
        thread.join(60)
        assert (answers[0].status, len(answers[0].json)) == (200, 3000)
        assert process.wait(60) in (0, -stop, 128 + stop)
        with pytest.raises(OSError):  # noqa: PT011 - refused, in the words of each system
            client.get("/health")
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_without_more_words(tiny_folder, stop):  # noqa: F811
    with serving(tiny_folder / "embedder.safetensors") as (process, _, _):
        process.send_signal(stop)
        process.send_signal(stop)
        assert process.wait(60) in (0, -stop, 128 + stop)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_what_cannot_be_served(tiny_folder, tmp_path):  # noqa: F811
    path = tiny_folder / "embedder.safetensors"

    def fails(*arguments) -> str:
        done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment(), timeout=60)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "two models need two names" in fails(path, path)
    assert "nothing.safetensors" in fails(tmp_path / "nothing.safetensors")
    with serving(path) as (_, client, _):
        assert f"cannot listen at 127.0.0.1, port {client.port}" in fails(path, "--port", client.port)
    assert "ports go from 0 to 65535" in fails(path, "--port", 99999)
    assert "--api-key is empty" in fails(path, "--api-key", "")
    assert "cannot listen at 192.0.2.1" in fails(path, "--host", "192.0.2.1", "--port", 0)


def test_what_is_missing_is_named(tiny_folder):  # noqa: F811
    code = "import sys; sys.modules['uvicorn'] = None; from minibert.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", str(tiny_folder / "embedder.safetensors")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 1
    assert "needs uvicorn, which is missing here: pip install 'minibert[serve]'" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0"])
def test_who_reaches_an_address(host):
    from minibert.serve import server

    try:
        listening = server.listen(host, 0)
    except MinibertError:
        pytest.skip(f"this machine has no {host}")
    with listening:
        assert server.is_loopback(listening) is (host != "0.0.0.0")


def test_everyone_may_ask_where_others_reach_it_and_is_warned_of(tiny_folder):  # noqa: F811
    with serving(tiny_folder / "embedder.safetensors", "--host", "0.0.0.0") as (_, client, lines):
        assert any("warning: anyone who reaches 0.0.0.0 may ask" in line for line in lines)
        assert client.get("/info", Host="any.example").status == 200
    with serving(tiny_folder / "embedder.safetensors", "--host", "0.0.0.0", "--api-key", "k") as (_, client, lines):
        assert not any("warning" in line for line in lines)
        assert client.get("/info").status == 401
