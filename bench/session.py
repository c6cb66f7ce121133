"""What someone who converts a model sees: the session in docs/COMPRESSION.md.

    python -m bench.session all-MiniLM-L6-v2 --fill

The command runs in the folder that the checkpoint lies in; what it makes is deleted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import common

OPTIONS = ("--quantize", "int4", "--embeddings", "int4")


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path, help="a folder of transformers or sentence-transformers")
    parser.add_argument("--fill", action="store_true", help="write the session into docs/COMPRESSION.md")
    options = parser.parse_args()
    words = ["convert", options.checkpoint.name, *OPTIONS]
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(options.checkpoint.resolve(), Path(folder) / options.checkpoint.name)
        done = subprocess.run(
            [sys.executable, "-m", "minibert", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(common.ROOT), str(common.ROOT / "converter")])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
    text = "\n".join(["```console", f"$ minibert {' '.join(words)}", *done.stdout.splitlines(), "```"])
    print(text)
    if options.fill:
        common.fill(common.DOCS / "COMPRESSION.md", __file__, text)


if __name__ == "__main__":
    main()
