"""A checkpoint's folder, opened once: everything in it is read, or known to change no answer, or told of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints.json_file import MAX_JSON_BYTES, read_json, read_text

#: Entries of one folder that are looked at. Real ones have some dozens.
MAX_ENTRIES = 4096
#: What changes no answer and is never read: texts for people, what training leaves behind, measurements, and weights in
#: other formats. Names of files, and of folders with a slash behind them.
NEVER_READ = (
    r"(?i:README|LICENSE|LICENCE|NOTICE|CITATION|CHANGELOG|AUTHORS|model_card|dataset_info|metrics?|requirements).*",
    r".*\.(md|rst|pdf|html|csv|tsv|log|png|jpe?g|gif|svg|webp|lock|ya?ml|cff|whl|sh|ipynb|sha256|parquet)|Dockerfile",
    r"\..*",
    r"data_config\.json|(training_args|optimizer|scheduler|scaler|rng_state.*)\.(bin|pt|pth)|(.*_results|trainer_state|train_config)\.json",
    r"events\.out\.tfevents.*|(runs|logs|wandb|eval|evaluation|data|assets|images|figures|imgs?)/|checkpoint-\d+/|global_step\d+/",
    r"(generation|preprocessor|processor|video_preprocessor)_config\.json|chat_template.*|latest|zero_to_fp32\.py",
    r"tf_model\.h5|flax_model\.msgpack|rust_model\.ot|saved_model\.pb|.*\.(onnx|onnx_data|tflite|mlmodel|gguf|ot|h5|msgpack)",
    r"(onnx|openvino|coreml|gguf|saved_model|tf|tensorrt|original)/|openvino_model\.(xml|bin)|.*\.mlpackage/",
)
#: What changes no answer where it is not read: the same weights or tokenizer in another form than the one that is.
HARMLESS = (
    *NEVER_READ,
    r"(pytorch_model|model)([-.].*)?\.(bin|safetensors|pt|pth|ckpt)(\.index\.json)?",
    r"(vocab|entity_vocab)\.(txt|json)|merges\.txt|bpe\.codes|.*\.(model|vocab)|tokenizer\.json|special_tokens_map\.json",
    r"config_setfit\.json|added_tokens\.json|sentence_.*_config\.json|config_sentence_transformers\.json|modules\.json|config\.json",
)
#: What would change answers, were it used: what it is, and what to do. Refused, or said in a note where answers without
#: it are still those of the encoder.
REFUSED = {
    "adapter_config.json": (
        "a PEFT adapter lies beside the model, which transformers would load on top of it; merge it first: "
        "AutoPeftModel....from_pretrained(folder).merge_and_unload().save_pretrained(other)"
    ),
}
LEFT_OUT = {
    "model_head.pkl": "the classifier of SetFit",
    "model_head.joblib": "the classifier of SetFit",
    "head.safetensors": "the classifier of model2vec",
    "pipeline.skops": "the classifier of model2vec",
    "sparse_linear.pt": "the weights of sparse vectors",
    "colbert_linear.pt": "the projection of one vector a token",
}


class Folder:
    """A folder of a checkpoint, and which of its files were read.

    Args:
        path: the folder.
        whole: the folder that this one lies in, whose account it shares.
    """

    def __init__(self, path: Path, whole: Folder | None = None) -> None:
        self.path = path
        self._read: set[Path] = whole._read if whole else set()
        self._folders: set[Path] = whole._folders if whole else set()
        self._folders.add(path)

    def __truediv__(self, name: str) -> Path:
        """The path of one of its files, for messages and for what only looks whether it is there."""
        return self.path / name

    def __str__(self) -> str:
        return str(self.path)

    def within(self, name: str) -> Folder:
        """A folder in this one, or this one for an empty name."""
        return Folder(self.path / name, self)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).is_file()

    def file(self, name: str) -> Path:
        """The path of a file that is going to be read."""
        self._read.add(self.path / name)
        return self.path / name

    def text(self, name: str, most: int = MAX_JSON_BYTES) -> str:
        """A file's text, as of `read_text`."""
        return read_text(self.file(name), most)

    def json(self, name: str, kind: type = dict, most: int = MAX_JSON_BYTES) -> Any:
        """A file's value, as of `read_json`."""
        return read_json(self.file(name), kind, most)

    def json_if_present(self, name: str) -> dict[str, Any]:
        """As `json` of an object, or an empty one where there is no such file."""
        return self.json(name) if self.has(name) else {}

    def names(self) -> list[str]:
        """Its files, and its folders with a slash behind them, by name."""
        if not self.path.is_dir():
            return []
        entries = list(islice(self.path.iterdir(), MAX_ENTRIES + 1))
        if len(entries) > MAX_ENTRIES:
            raise CheckpointError(f"{self.path}: has over {MAX_ENTRIES} entries, the limit")
        return sorted(entry.name + "/" * entry.is_dir() for entry in entries)

    def account(self) -> Iterator[str]:
        """Notes on what was not read and might have meant something; to be called when everything was read.

        Raises:
            UnsupportedError: there is something that the model is not right without.
        """
        code, unknown = [], []
        for folder in sorted(self._folders):
            for name in Folder(folder).names():
                path = folder / name
                if path in self._read or path in self._folders:
                    continue
                if name in REFUSED:
                    raise UnsupportedError(f"{path}: {REFUSED[name]}")
                shown = str(path.relative_to(self.path)) + "/" * name.endswith("/")
                if name in LEFT_OUT:
                    yield f"left out {shown}, {LEFT_OUT[name]}: vectors and answers are those of the encoder alone"
                elif name.endswith(".py"):
                    code.append(shown)
                elif not any(re.fullmatch(pattern, name) for pattern in HARMLESS):
                    _refuse_adapter(folder, name)
                    unknown.append(shown)
        if code:
            yield f"no code of the checkpoint was run: {_listed(code)}"
        if unknown:
            yield f"not read, as nothing that is known here asks for it: {_listed(unknown)}"


def _refuse_adapter(folder: Path, name: str) -> None:
    """Refuses a folder with an adapter in the model's folder, as jina-embeddings-v3 has one for each task."""
    if Folder(folder / name).has("adapter_config.json"):
        raise UnsupportedError(
            f"{folder / name / 'adapter_config.json'}: a PEFT adapter for the model beside it; merge the one that is "
            f"wanted first: PeftModel.from_pretrained(AutoModel....from_pretrained(folder), folder, "
            f"subfolder={name.rstrip('/')!r}).merge_and_unload().save_pretrained(other); or take the adapters away, if "
            "the model is wanted as it is without"
        )


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class JsonObject(dict[str, Any]):
    """An object of a JSON file that keeps account of the keys that were asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        self._asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._asked.add(str(key))
        return super().__contains__(key)

    def not_asked(self, harmless: str) -> list[str]:
        """Keys that nobody asked for, but for those that match the regular expression `harmless`."""
        return sorted(key for key in self if key not in self._asked and not re.fullmatch(harmless, key))

    def refuse_unknown(self, where: object, harmless: str = "") -> None:
        """Checks that somebody asked for every key, but for those that match the regular expression `harmless`.

        Raises:
            UnsupportedError: naming the others, and `where` they stand.
        """
        if unknown := self.not_asked(harmless):
            raise UnsupportedError(f"{where}: sets {', '.join(unknown)}, which is not understood here")
