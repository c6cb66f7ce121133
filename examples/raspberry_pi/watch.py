"""Watch a stream of lines and tell when one means something: sentiment, intents, whatever the model's labels are.

    journalctl -f -o cat -u assistant | python watch.py model.safetensors --label negative --above 0.9
    mosquitto_sub -t house/speech     | python watch.py intents.safetensors

Every line of stdin gets one JSON line on stdout, at once; with --label only lines of these labels do. A line is an
answer's text: what a microphone's speech recogniser, a log or an MQTT topic writes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time

import minibert


def main() -> int:
    """Answer lines until the stream ends or systemd stops the service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a classifier, written by minibert convert")
    parser.add_argument("--label", action="append", help="tell only lines with this label; may be given several times")
    parser.add_argument("--above", type=float, default=0.0, metavar="SCORE", help="... and at least this score")
    parser.add_argument("--threads", type=int, help="threads for one line (default: all cores)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    model = minibert.load(arguments.model, threads=arguments.threads)
    model.predict("a first text, so that the first line need not wait for what is loaded on first use")
    print(f"ready: {model!r}", file=sys.stderr, flush=True)
    for raw in sys.stdin.buffer:
        text = raw.decode("utf-8", "replace").strip()
        if not text:
            continue
        start = time.perf_counter()
        answer = model.predict(text)
        milliseconds = round((time.perf_counter() - start) * 1e3, 2)
        if (not arguments.label or answer["label"] in arguments.label) and answer["score"] >= arguments.above:
            print(json.dumps({"text": text, **answer, "ms": milliseconds}, ensure_ascii=False), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (minibert.MinibertError, OSError) as error:
        sys.exit(f"watch.py: {error}")
