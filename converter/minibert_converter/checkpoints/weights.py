"""Which files of a folder hold its weights, and every tensor in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.foreign import no_weights
from minibert_converter.checkpoints.safetensors_file import safetensors_contents
from minibert_converter.checkpoints.stored import StoredTensor
from minibert_converter.checkpoints.torch_file import torch_contents

#: The name of a file, and what reads it.
WeightFile = tuple[str, Callable[[Path], dict[str, StoredTensor]]]
#: In order of preference: safe formats first.
WEIGHT_FILES: tuple[WeightFile, ...] = (
    ("model.safetensors", safetensors_contents),
    ("pytorch_model.bin", torch_contents),
)


def read_weights(folder: Folder, files: Sequence[WeightFile] = WEIGHT_FILES) -> dict[str, StoredTensor]:
    """Every tensor of the checkpoint in `folder`, by name, unread.

    Looks for each of `files`, such as model.safetensors, then for its shards by model.safetensors.index.json.

    Raises:
        CheckpointError: none of these files is there, or one is broken.
    """
    for name, read_contents in files:
        if folder.has(name):
            return _read_one(folder.file(name), read_contents)
        if folder.has(f"{name}.index.json"):
            return _read_shards(folder, f"{name}.index.json", read_contents)
    raise no_weights(folder)


def _read_one(path: Path, read_contents: Callable[[Path], dict[str, StoredTensor]]) -> dict[str, StoredTensor]:
    with open(path, "rb") as file:
        if file.read(64).startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path}: only a pointer of Git LFS; fetch the file itself with `git lfs pull`")
    return read_contents(path)


def _read_shards(
    folder: Folder, name: str, read_contents: Callable[[Path], dict[str, StoredTensor]]
) -> dict[str, StoredTensor]:
    index, weight_map = folder / name, folder.json(name).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index}: has no weight_map from tensor names to files")
    shards = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or not folder.has(shard):
            raise CheckpointError(f"{index}: names {shard!r}, which is not a file in this folder")
        shards[shard] = _read_one(folder.file(shard), read_contents)
    contents = {}
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise CheckpointError(f"{index}: tensor {name!r} is not in {shard}")
        contents[name] = shards[shard][name]
    return contents
