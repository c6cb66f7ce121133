"""BGE-M3 (Chen et al. 2024, arXiv 2402.03216): beside a text's vector a weight and a vector for each of its tokens.

FlagEmbedding keeps both linears in files of their own beside the encoder: sparse_linear.pt and colbert_linear.pt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from minibert.format.schema import Architecture, Task, TokenHead
from minibert_converter.checkpoints.encoder import read_linear
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.torch_file import torch_contents
from minibert_converter.network import Network

#: The encoder that M3 is; the tokens around texts that its vocabulary has, which weigh nothing.
MODEL_TYPE = "xlm-roberta"
WEIGHTLESS = ("<s>", "</s>", "<pad>", "<unk>")
FILES: Mapping[str, TokenHead] = {
    "sparse_linear.pt": TokenHead("tokens.weights", activation="relu"),
    "colbert_linear.pt": TokenHead("tokens.vectors", normalize=True),
}


@dataclass(frozen=True)
class TokenHeads:
    """The two linears of a folder."""

    tensors: Mapping[str, NamedTensors]

    def added_to(self, architecture: Architecture, task: Task, tokenizer_json: str) -> tuple[Architecture, Task]:
        """An architecture and a task with both."""
        tokenizer = Tokenizer.from_str(tokenizer_json)
        ids = {id for token in WEIGHTLESS if (id := tokenizer.token_to_id(token)) is not None}
        heads = tuple(FILES[name] for name in self.tensors)
        return replace(architecture, token_heads=heads), replace(task, weightless=tuple(sorted(ids)))

    def read(self, network: Network, width: int) -> None:
        """Puts the linears into a network whose rows are so wide."""
        for file, tensors in self.tensors.items():
            read_linear(network, tensors, FILES[file].name, "weight", "bias", tensors.rows("weight"), width)
            tensors.refuse_strangers()


def read_token_heads(folder: Folder, model_type: str) -> TokenHeads | None:
    """The linears of an M3; None where a folder has not both, or another encoder.

    Raises:
        CheckpointError: a file is broken.
    """
    if model_type != MODEL_TYPE or not all(folder.has(name) for name in FILES):
        return None
    return TokenHeads({name: NamedTensors(folder.path, torch_contents(folder.file(name))) for name in FILES})
