"""Answer every message of an MQTT topic, as JSON: a classifier its labels, a model of vectors these, and so on.

    python answer.py intents.safetensors --topic 'house/+/speech'
    mosquitto_sub -v -t 'house/+/speech/answer'

A message is a text, or JSON such as {"text": ..., "id": ...}, whose other fields come back with the answer. Whatever
happens to the broker, the connection is made again. Messages that come faster than answers wait, --queue of them at
most: then the oldest go. With --client-id the broker keeps messages for us while we are away. The environment's
MQTT_USERNAME and MQTT_PASSWORD say who we are.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt

import minibert

#: Behind the topic of a message, the topic of its answer.
SUFFIX = "/answer"


def note(text: str) -> None:
    """A line on stderr."""
    print(f"answer.py: {text}", file=sys.stderr, flush=True)


def answer(model: Any, payload: bytes) -> dict[str, Any]:
    """What is published for a message: the fields that it had, and "answer" or "error"."""
    fields: dict[str, Any] = {}
    try:
        text = payload.decode()
        if text.lstrip().startswith("{"):
            fields = json.loads(text)
            text = fields.get("text")
            if not isinstance(text, str):
                return {**fields, "error": 'the message has no "text"'}
        if model.task.kind == "sentence-embedding":
            return {**fields, "answer": model.encode(text).astype("float64").round(6).tolist()}
        return {**fields, "answer": model.predict(text)}
    except (minibert.MinibertError, ValueError, RecursionError) as error:
        return {**fields, "error": str(error)}


class Client:
    """The connection, which is made again whenever it is lost; messages are `waiting`, or what ends the program."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.waiting: queue.Queue[mqtt.MQTTMessage | Exception] = queue.Queue(arguments.queue)
        self._topic, self._lost = arguments.topic, 0
        version, own = mqtt.CallbackAPIVersion.VERSION2, arguments.client_id
        self._client = mqtt.Client(version, own or "", clean_session=not own)
        self._free = threading.Semaphore(arguments.queue)  # answers that the broker has not confirmed yet
        self._client.on_publish = lambda *_: self._free.release()
        self._client.reconnect_delay_set(1, 30)
        if name := os.environ.get("MQTT_USERNAME"):
            self._client.username_pw_set(name, os.environ.get("MQTT_PASSWORD"))
        if arguments.tls:
            self._client.tls_set()
        self._client.on_connect, self._client.on_disconnect = self._connected, self._disconnected
        self._client.on_subscribe, self._client.on_message = self._subscribed, self._arrived
        self._client.on_connect_fail = lambda *_: note(f"no broker answers at {arguments.host}; trying again")
        self._client.connect_async(arguments.host, arguments.port)
        self._client.loop_start()  # a thread, which tries until there is a broker

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._put(minibert.MinibertError(f"the broker refuses us: {code}"))
        else:
            client.subscribe(self._topic, qos=1)  # again each time: a new broker knows of nothing

    def _subscribed(self, _client: mqtt.Client, _data: Any, _id: int, codes: list[Any], _properties: Any) -> None:
        if codes[0].is_failure:
            self._put(minibert.MinibertError(f"the broker refuses {self._topic}: {codes[0]}"))
        else:
            note(f"listens to {self._topic}")

    def _disconnected(self, _client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            note(f"the connection is lost ({code}); trying again")

    def _arrived(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.payload and not message.topic.endswith(SUFFIX):  # house/# brings our own answers too
            self._put(message)

    def _put(self, each: mqtt.MQTTMessage | Exception) -> None:
        while True:
            try:
                return self.waiting.put_nowait(each)
            except queue.Full:
                self._lost += 1
                if self._lost & (self._lost - 1) == 0:  # at powers of two: a flood is not made worse
                    note(f"messages come faster than answers; {self._lost} were lost")
                with suppress(queue.Empty):
                    self.waiting.get_nowait()

    def publish(self, topic: str, content: dict[str, Any]) -> None:
        """Send an answer, now or when there is a connection again; waits while too many are under way."""
        self._free.acquire()
        self._client.publish(topic, json.dumps(content), qos=1)

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()


def main() -> int:
    """Answer until somebody ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model file, or minilm")
    parser.add_argument("--topic", required=True, help="what to listen to; answers go to TOPIC/answer")
    parser.add_argument("--host", default="localhost", help="of the broker (default: localhost)")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--tls", action="store_true", help="encrypt (usually --port 8883)")
    parser.add_argument("--client-id", metavar="ID", help="have the broker keep messages while we are away")
    parser.add_argument("--queue", type=int, default=100, metavar="N", help="messages that may wait (default: 100)")
    arguments = parser.parse_args()
    arguments.queue = max(arguments.queue, 1)  # 0 would be without a bound
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    model = minibert.load(arguments.model)
    answer(model, b"a first text, so that the first message need not wait for what is loaded on first use")
    client = Client(arguments)
    try:
        while True:
            message = client.waiting.get()
            if isinstance(message, Exception):
                raise message
            client.publish(message.topic + SUFFIX, answer(model, message.payload))
    finally:
        client.close()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (minibert.MinibertError, OSError) as error:
        sys.exit(f"answer.py: {error}")
