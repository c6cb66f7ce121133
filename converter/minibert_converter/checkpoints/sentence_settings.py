"""What sentence-transformers says of texts: how long they may be, what the encoder is asked for, and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert_converter.checkpoints.folder import Folder, JsonObject

#: Where the limit on a text's length and lowercasing stand, in the order in which they are looked for.
SETTINGS_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: What those files may say besides, which changes no vector, and their groups of arguments for other libraries.
SETTINGS_HARMLESS = "modality_config|unpad_inputs|backend|method_.*"
ARGUMENTS = ("model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs")
ARGUMENTS_HARMLESS = (
    "trust_remote_code|attn_implementation|torch_dtype|dtype|device_map|use_fast|padding_side|token|revision"
    "|cache_dir|local_files_only|low_cpu_mem_usage|use_safetensors|add_pooling_layer"
)
#: What the encoder of each type is asked for: its task, its output, and the feature that it becomes. (A CrossEncoder
#: with more than a Transformer asks for what a SentenceTransformer does.)
OUTPUTS = {
    "SentenceTransformer": ("feature-extraction", "last_hidden_state", "token_embeddings"),
    "SparseEncoder": ("fill-mask", "logits", "token_embeddings"),
    "CrossEncoder": ("sequence-classification", "logits", "scores"),
}
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def read_settings(
    folder: Folder, outputs: tuple[str, str, str] = OUTPUTS["SentenceTransformer"], besides: str = ""
) -> tuple[int | None, bool, bool]:
    """The longest text in tokens, or None where nothing is said; whether texts are lowered first, and layers kept.

    Args:
        folder: of the Transformer.
        outputs: what it is asked for.
        besides: keys that somebody else reads, as a regular expression.
    """
    read = ((name, folder.json_if_present(name)) for name in SETTINGS_FILES)
    name, values = next(((name, values) for name, values in read if values), ("", {}))
    path, settings = folder / name, JsonObject(values)
    length, lowercase = settings.get("max_seq_length"), settings.get("do_lower_case")
    every_layer = folder.json_if_present("config.json").get("output_hidden_states")
    for group in ARGUMENTS:
        arguments = settings.get(group) or {}
        if not isinstance(arguments, dict):
            raise CheckpointError(f"{path}: {group} is {arguments!r:.80}, not an object")
        arguments = JsonObject(arguments)
        length = arguments.get("model_max_length", length)
        every_layer = arguments.get("output_hidden_states", every_layer)
        arguments.refuse_unknown(f"{path}: {group}", ARGUMENTS_HARMLESS)
    _refuse_other_outputs(path, settings, *outputs)
    length = _read_processing(path, settings, length)
    settings.refuse_unknown(path, f"{SETTINGS_HARMLESS}|{besides}")
    if length is not None and (type(length) is not int or length < 1):
        raise CheckpointError(f"{path}: max_seq_length is {length!r}")
    return length, bool(lowercase), bool(every_layer)


def _read_processing(path: PurePath, settings: JsonObject, length: Any) -> Any:
    """What the tokenizer is called with: the longest text, if it says another than `length`."""
    groups = settings.get("processing_kwargs") or {}
    texts = [groups.get(group) or {} for group in ("common", "text")] if isinstance(groups, dict) else [groups]
    if not all(isinstance(group, dict) for group in texts) or set(groups) - {"common", "text"}:
        raise UnsupportedError(f"{path}: processing_kwargs is {groups!r:.80}, which is not understood here")
    for arguments in map(JsonObject, texts):
        length = arguments.get("max_length", length)
        if arguments.get("truncation", True) is not True:
            raise UnsupportedError(f"{path}: processing_kwargs sets truncation, which is not understood here")
        arguments.refuse_unknown(f"{path}: processing_kwargs", "padding|padding_side|pad_to_multiple_of|return_.*")
    return length


def _refuse_other_outputs(path: PurePath, settings: JsonObject, task: str, made: str, features: str) -> None:
    """Checks that the encoder has the task, the output and the feature that its type of model is made of."""
    modalities = settings.get("modality_config") or {}
    text = modalities.get("text") if isinstance(modalities, dict) else None
    output = text.get("method_output_name", made) if isinstance(text, dict) else made
    said = {
        "transformer_task": (settings.get("transformer_task", task), task),
        "method_output_name": (output, made),
        "module_output_name": (settings.get("module_output_name", features), features),
    }
    for key, (value, due) in said.items():
        if value not in (due, [due]):
            raise UnsupportedError(f"{path}: {key} is {value!r:.80}; only {due!r} is supported here")
    if isinstance(modalities, dict) and "message" in modalities:
        raise UnsupportedError(f"{path}: texts that go through a chat template (modality message) are not supported")


def read_prompts(path: PurePath, config: Mapping[str, Any]) -> tuple[dict[str, str], str | None, str]:
    """Prompts by name, the name of the one that is put before texts where nobody chooses, and the similarity."""
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise CheckpointError(f"{path}: prompts must be an object of strings")
    default = config.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise CheckpointError(f"{path}: default_prompt_name is {default!r}, which is none of its prompts")
    similarity = config.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise UnsupportedError(f"{path}: similarity_fn_name {similarity!r} is none of {', '.join(SIMILARITIES)}")
    return prompts, default, similarity
