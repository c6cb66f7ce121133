"""Folders that are no checkpoint of an encoder that can be read: what they are, and what to do instead."""

from __future__ import annotations

from minibert.errors import CheckpointError, MinibertError, UnsupportedError
from minibert_converter.checkpoints.folder import Folder

#: Endings of files of weights in other formats -> what they are.
FORMATS = {
    ".gguf": "weights of llama.cpp (GGUF), quantized for it",
    ".onnx": "an ONNX graph",
    ".tflite": "a LiteRT graph",
    ".h5": "weights of TensorFlow",
    ".msgpack": "weights of Flax",
    ".ot": "weights of rust-bert",
    ".mlmodel": "a Core ML model",
    ".xml": "an OpenVINO graph",
    ".ckpt": "a training checkpoint, not one of transformers",
    ".pt": "a file of torch.save, not one of transformers",
    ".pth": "a file of torch.save, not one of transformers",
}
SAVE = 'AutoModel....from_pretrained(...).save_pretrained("folder") of transformers'


def no_config(folder: Folder) -> MinibertError:
    """The error for a folder without config.json."""
    names = folder.names()
    if "gliner_config.json" in names:
        return UnsupportedError(
            f"{folder}: a GLiNER model, which scores spans against labels given as text; token classification with "
            "fixed labels is what minibert has for that"
        )
    if "model_config.json" in names or "params.json" in names:
        return UnsupportedError(
            f"{folder}: no config.json, but another library's config; convert it to transformers' format first"
        )
    inside = [name for name in names if folder.within(name).has("config.json")] if "modules.json" not in names else []
    hint = f"; there is one in {', '.join(inside[:8])}: give that folder" if inside else _hint(names)
    return CheckpointError(
        f"{folder}: no config.json, so not a Hugging Face checkpoint; the folder holds "
        f"{', '.join(name.rstrip('/') for name in names[:12]) or 'nothing'}{hint}"
    )


def no_weights(folder: Folder) -> MinibertError:
    """The error for a folder without weights that can be read."""
    names = folder.names()
    variants = [
        name
        for name in names
        if name.startswith(("model.", "pytorch_model."))
        and name.endswith((".safetensors", ".bin"))
        and "-of-" not in name
    ]
    if variants:
        return CheckpointError(
            f"{folder}: no weights under their plain name, but {', '.join(variants)}; rename the one that is meant to "
            f"model{variants[0][variants[0].rindex('.') :]}".replace("model.bin", "pytorch_model.bin")
        )
    if any("-of-" in name for name in names):
        return CheckpointError(
            f"{folder}: weights in parts, without the index (.index.json) that says which part holds what; fetch it too"
        )
    return CheckpointError(
        f"{folder}: no weights; looked for model.safetensors and pytorch_model.bin, whole or sharded with .index.json; "
        f"the folder holds {', '.join(name.rstrip('/') for name in names[:12]) or 'nothing'}{_hint(names)}"
    )


def _hint(names: list[str]) -> str:
    for name in names:
        for ending, what in FORMATS.items():
            if name.endswith(ending):
                return f". {name} is {what}: fetch the model's safetensors instead, or make them by {SAVE}"
    folders = [name for name in names if name in ("onnx/", "openvino/", "coreml/")]
    return (
        f". {folders[0]} holds graphs of another runtime, not weights: fetch the model's safetensors" if folders else ""
    )
