"""A model file of an older release gets what this one adds: tables of its tokenizer.

    python -m minibert_converter.upgrade OLD.safetensors NEW.safetensors

Old files run as they are; with tables their first answer comes sooner, and texts become tokens many times as fast.
Everything else in the file stays what it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace

from minibert.errors import MinibertError
from minibert.format import read_model, write_model
from minibert.format.tensors import TOKENIZER
from minibert_converter.export import token_tables


def upgrade(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Write a model file again, its tokenizer as tables.

    Args:
        source: a model file.
        target: the file to write; it may be the same one.

    Returns:
        Why the tokenizer stays with the tokenizers library, as the end of a sentence; empty where it has tables now.

    Raises:
        FormatError: there is no such file, or it is no model file.
        MinibertError: the target cannot be written.
    """
    file = read_model(source, copy=True)
    if file.config.text.tables is not None:
        made = None
    else:
        made = token_tables(file.tokenizer_json(), file.config.architecture.vocab_size)
    tensors = {name: tensor for name, tensor in file.tensors.items() if name not in file.config.aliases}
    config = file.config
    if made is not None and made.tables is not None:
        tensors = {name: tensor for name, tensor in tensors.items() if name != TOKENIZER} | made.tensors
        config = replace(config, text=replace(config.text, tables=made.tables))
    write_model(target, config, tensors)
    return "" if made is None else made.refusal


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        "minibert_converter.upgrade", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("source", metavar="OLD")
    parser.add_argument("target", metavar="NEW")
    options = parser.parse_args()
    try:
        refusal = upgrade(options.source, options.target)
    except MinibertError as error:
        sys.exit(f"minibert_converter.upgrade: error: {error}")
    if refusal:
        sys.stderr.write(f"note: the tokenizer stays with the tokenizers library: {refusal}\n")


if __name__ == "__main__":
    main()
