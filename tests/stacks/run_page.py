"""Runs the blocks of Python of a page, in one namespace, and writes what each printed: `run_page.py PAGE OUT PORT`.

In a process of its own, where it stands: stacks bring threads and telemetry along. Whoever asks for an address that is
not this machine's is refused, and named in OUT.
"""

import atexit
import contextlib
import io
import json
import re
import sys
from pathlib import Path

LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None, b"127.0.0.1", b"localhost")
asked = []


def watch(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in LOCAL:
        asked.append(str(host))
        raise OSError(f"no block may ask {host}")


def main(page: str, out: str, port: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", Path(page).read_text(), re.MULTILINE | re.DOTALL)
    sys.addaudithook(watch)
    names, printed = {"__name__": "__main__"}, []

    @atexit.register  # what registers later, as telemetry does, ends before
    def finish():
        heavy = sorted({"torch", "tensorflow"} & sys.modules.keys())
        Path(out).write_text(json.dumps({"printed": printed, "asked": asked, "heavy": heavy}))

    for number, block in enumerate(blocks, 1):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            exec(compile(block.replace(":8080/", f":{port}/"), f"{page}, block {number}", "exec"), names)
        printed.append(text.getvalue())


main(*sys.argv[1:])
