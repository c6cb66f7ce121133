"""What bench/arm/instructions.py runs on an emulated core: forward passes of one runtime, then an end without ado.

python guest.py RUNTIME MODEL TOKENIZER_JSON WHAT PASSES

WHAT is "text", from the text to the vector, or a number of tokens for the model alone.
"""

import os
import sys

TEXT = "The quick brown fox jumps over the lazy dog while nobody in the whole village is looking at it."


def main() -> None:
    runtime, model, tokenizer_json, what, passes = sys.argv[1:]
    ids = [] if what == "text" else [[101, *range(2000, 1998 + int(what)), 102]]
    if runtime == "minibert":
        import minibert

        loaded = minibert.load(model, threads=1)
        for _ in range(int(passes)):
            answer = loaded.engine.forward(ids) if ids else loaded.encode(TEXT)
    else:
        from runtimes import RUNTIMES

        loaded = RUNTIMES[runtime](model, 1)
        for _ in range(int(passes)):
            if not ids:
                from tokenizers import Tokenizer

                ids = [Tokenizer.from_file(tokenizer_json).encode(TEXT).ids]
            answer = loaded.answer(ids)
    sys.stdout.write(f"{len(answer)}\n")
    sys.stdout.flush()
    # What a process does after its answer is nobody's start.
    os._exit(0)


if __name__ == "__main__":
    main()
