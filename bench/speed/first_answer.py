"""From the start of Python to the first answer, as a user's script would go: text in, vector out, once.

    python first_answer.py RUNTIME MODEL THREADS TOKENIZER_JSON TEXT

Prints the peak resident memory in KiB when the answer is there. Every peer gets the same tokenizer library and file.
"""

import sys


def main() -> None:
    runtime, model, threads, tokenizer_json, text = sys.argv[1:]
    if runtime == "minibert":
        import minibert

        loaded = minibert.load(model, threads=int(threads))
        answer = loaded.predict(text) if loaded.labels else loaded.encode(text)
    else:
        from runtimes import RUNTIMES
        from tokenizers import Tokenizer

        loaded = RUNTIMES[runtime](model, int(threads))
        answer = loaded.answer([Tokenizer.from_file(tokenizer_json).encode(text).ids])
    if not len(answer):
        sys.exit("no answer")
    print(_peak_kib(), flush=True)


def _peak_kib() -> int:
    # Of the program itself: ru_maxrss would count the process that started it, too.
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
