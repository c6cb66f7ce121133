"""The tokenizer of a checkpoint, as one tokenizer.json: what its class in transformers makes of the folder's files."""

from minibert_converter.checkpoints.tokenizer.reader import TokenizerFile, read_tokenizer

__all__ = ["TokenizerFile", "read_tokenizer"]
