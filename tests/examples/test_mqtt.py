"""examples/mqtt against a real broker: mosquitto, or amqtt of PyPI; skipped where there is neither, or no paho-mqtt."""

from __future__ import annotations

import json
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from tests.examples.rows import PATIENCE, row, run, running, until

mqtt = pytest.importorskip("paho.mqtt.client")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
AMQTT = "listeners: {{default: {{type: tcp, bind: '127.0.0.1:{port}'}}}}\nauth: {{allow-anonymous: true}}\n"
EMBED = "python examples/mqtt/answer.py minilm --topic 'house/#'"


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request, tmp_path, port):
    """A context in which a broker listens at `port`."""
    if request.param == "mosquitto":
        if not MOSQUITTO:
            pytest.skip("needs mosquitto")
        command = [MOSQUITTO, "-p", str(port)]
    else:
        if not find_spec("amqtt"):
            pytest.skip("needs amqtt")
        file = tmp_path / "amqtt.yaml"
        file.write_text(AMQTT.format(port=port))
        command = [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(file)]

    @contextmanager
    def listening():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(PATIENCE * 10):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield
        finally:
            process.kill()
            process.wait()

    return listening


class Peer:
    """Somebody else: publishes texts, and sees what is published."""

    def __init__(self, port: int) -> None:
        self.seen: queue.Queue = queue.Queue()
        subscribed: queue.Queue = queue.Queue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _data, message: self.seen.put(message)
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe("house/+/speech/answer", qos=1)
        subscribed.get(timeout=PATIENCE)

    def say(self, text: str | bytes, room: str = "kitchen") -> None:
        self.client.publish(f"house/{room}/speech", text, qos=1)

    def ask(self, text: str | bytes, room: str = "kitchen") -> dict:
        self.say(text, room)
        message = self.seen.get(timeout=PATIENCE)
        assert message.topic == f"house/{room}/speech/answer"
        return json.loads(message.payload)


@contextmanager
def peer(port):
    made = Peer(port)
    try:
        yield made
    finally:
        made.client.disconnect()
        made.client.loop_stop()


def test_the_row(tmp_path, broker, port):
    """Texts, JSON and what is neither; a broker that goes and comes again; the end."""
    with running(f"{row('mqtt')} --port {port}", tmp_path) as process:
        until(process.stderr, "no broker answers")  # none is there yet
        with broker():
            until(process.stderr, "listens to house/+/speech")
            with peer(port) as other:
                assert other.ask("where is my new card?")["answer"]["label"] == "card_arrival"
                found = other.ask('{"text": "my pin is blocked", "id": 7}', "hall")
                assert (found["answer"]["label"], found["id"]) == ("pin_blocked", 7)
                assert "error" in other.ask(b"\xff")
                assert "error" in other.ask('{"id": 7}')
                assert "error" in other.ask("{not JSON")
        until(process.stderr, "the connection is lost")
        with broker():
            until(process.stderr, "listens to house/+/speech")
            with peer(port) as other:
                assert other.ask("where is my new card?")["answer"]["label"] == "card_arrival"
                process.send_signal(signal.SIGINT)
                assert process.wait() == 130
        assert "Traceback" not in process.stderr.read()


def test_vectors_and_a_topic_that_holds_the_answers(tmp_path, broker, port):
    with broker(), running(f"{EMBED} --port {port}", tmp_path) as process:
        until(process.stderr, "listens to house/#")
        with peer(port) as other:
            assert len(other.ask("a text")["answer"]) == 384
            assert len(other.ask("the end")["answer"]) == 384
            assert other.seen.empty()  # no answer was answered
        process.terminate()
        assert process.wait() == 0


def test_a_flood_is_bounded(tmp_path, broker, port):
    """Of a thousand messages at once some are lost, which is said; those that are answered are the newest."""
    with broker(), running(f"{EMBED} --queue 2 --port {port}", tmp_path) as process:
        until(process.stderr, "listens to house/#")
        with peer(port) as other:
            for number in range(1000):
                other.say(json.dumps({"text": "a text " * 100, "id": number}))
            other.say(json.dumps({"text": "the last", "id": "last"}))
            found = [json.loads(other.seen.get(timeout=PATIENCE).payload)["id"]]
            while found[-1] != "last":
                found.append(json.loads(other.seen.get(timeout=PATIENCE).payload)["id"])
        until(process.stderr, "messages come faster than answers")
        assert len(found) < 1001
        assert found[:-1] == sorted(found[:-1])


def test_mistakes(tmp_path):
    done = run("python examples/mqtt/answer.py none.safetensors --topic a", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"answer.py: ")
    assert run("python examples/mqtt/answer.py minilm", tmp_path).returncode == 2
