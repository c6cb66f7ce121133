"""From the start of Python to an answer, as a user's script would go, then an end without ado.

    python first_answer.py RUNTIME MODEL THREADS TOKENIZER_JSON WHAT [PASSES]

WHAT is a text, or a number of tokens for the model alone. Prints the peak resident memory in KiB when the last answer
is there. Every peer gets the same tokenizer library and file.
"""

import os
import sys


def main() -> None:
    runtime, model, threads, tokenizer_json, what, *times = sys.argv[1:]
    passes = range(int(times[0]) if times else 1)
    ids = [[101, *range(2000, 1998 + int(what)), 102]] if what.isdigit() else []
    answer = []
    if runtime == "minibert":
        import minibert

        loaded = minibert.load(model, threads=int(threads))
        read = loaded.predict if loaded.labels else loaded.encode
        for _ in passes:
            answer = loaded.engine.forward(ids) if ids else read(what)
    else:
        from runtimes import RUNTIMES

        loaded = RUNTIMES[runtime](model, int(threads))
        if not ids:
            from tokenizers import Tokenizer

            ids = [Tokenizer.from_file(tokenizer_json).encode(what).ids]
        for _ in passes:
            answer = loaded.answer(ids)
    if not len(answer):
        sys.exit("no answer")
    print(_peak_kib(), flush=True)
    # What a process does after its answer is nobody's start.
    os._exit(0)


def _peak_kib() -> int:
    # Of the program itself: ru_maxrss would count the process that started it, too.
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
