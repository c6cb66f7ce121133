"""config.json of a checkpoint, read by a family's table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minibert.errors import CheckpointError, UnsupportedError
from minibert.format.constants import MAX_VOCAB_SIZE, Activation, Pooling, ProblemType
from minibert_converter.checkpoints.folder import Folder, JsonObject

PROBLEM_TYPES: dict[str, ProblemType] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}


#: What transformers calls the rows that a classifier reads -> ours.
POOLINGS: Mapping[str, Pooling] = {"cls": "cls", "bos": "cls", "mean": "mean", "late": "mean"}


#: transformers' names of activations -> ours. The three names of the tanh approximation differ only in rounding.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swiglu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


#: torch.nn's names of activations -> ours.
ACTIVATIONS_OF_TORCH: Mapping[str, Activation] = {
    "Identity": "none",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}
#: Keys of config.json that change no answer: what is for training, for other code, or said again by the weights.
HARMLESS_KEYS = (
    "_.*|transformers_version|torch_dtype|dtype|torchscript|use_bfloat16|attn_implementation|model_name"
    "|.*dropout.*|.*_dropout|initializer_.*|.*init_.*|gradient_checkpointing|use_cache|output_.*|return_dict.*"
    "|finetuning_task|task_specific_params|label2id|num_labels|label_.*|.*_token_id|pad_idx|pooler_.*|summary_.*"
    "|directionality|chunk_size_feed_forward|language|output_past|tie_word_embeddings|tie_weights_|vocab_file|vocab_type"
    "|max_length|min_length|do_sample|early_stopping|num_beams.*|temperature|top_[kp]|typical_p|repetition_penalty"
    "|length_penalty|no_repeat_ngram_size|encoder_no_repeat_ngram_size|bad_words_ids|num_return_sequences|remove_invalid_.*"
    "|forced_.*|suppress_tokens|begin_suppress_tokens|exponential_decay_length_penalty|diversity_penalty|prefix|tf_.*"
    "|is_encoder_decoder|cross_attention_hidden_size|model_max_length|name_or_path|id2label|license|author"
    "|reference_compile|repad_logits_with_grad|sparse_.*|deterministic_flash_attn|compile|keys_to_ignore_at_inference"
    "|layer_norm_type|embedding_type|net_structure_type|hidden_dropout_prob_emb|ignore_mismatched_sizes|fp16|bf16|pruned"
    "|seed|learning_rate|weight_decay|batch_size|train_.*|eval_.*|num_train_epochs|max_seq_length|sinusoidal_pos_embds"
    "|qa_dropout|seq_classif_dropout|classifier_.*|decoder_bias|global_attn_every_n_layers|local_rope_theta|global_rope_theta"
    "|pack_qkv|unpad_inputs|use_memory_efficient_attention"
)


@dataclass(frozen=True)
class Key:
    """A key of config.json.

    Attributes:
        name: the checkpoint's name of it.
        default: what transformers takes when the key is absent; None where there is no sensible one.
        older: what it is called in older checkpoints, or by transformers in all families alike.
    """

    name: str
    default: Any = None
    older: str | None = None


class ConfigFile:
    """The values of one config.json, with errors that name the file and the key."""

    def __init__(self, folder: Folder, name: str = "config.json") -> None:
        self.path = folder / name
        self.values = JsonObject(folder.json(name))

    def value(self, key: Key) -> Any:
        """The value of a key under its name or its older one, or the default.

        Raises:
            CheckpointError: both are there, and say different things.
        """
        if key.older is None or key.older not in self.values:
            return self.values.get(key.name, key.default)
        value = self.values[key.older]
        if self.values.get(key.name, value) != value:
            raise self.wrong(key.name, f"the same as {key.older}, {value!r:.40}, which is another name of it")
        return value

    def text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def size(self, key: Key, least: int = 1, most: int = MAX_VOCAB_SIZE) -> int:
        """A whole number from `least` to `most`."""
        value = self.value(key)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key.name, f"a whole number from {least} to {most}")
        return value

    def flag(self, key: Key) -> bool:
        """True or false."""
        value = self.value(key)
        if type(value) is not bool:
            raise self.wrong(key.name, "true or false")
        return value

    def layer_norm_eps(self, key: Key) -> float:
        """A small number, not negative."""
        value = self.value(key)
        if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value < 1):
            raise self.wrong(key.name, "a small number that is not negative")
        return float(value)

    def activation(self, key: Key | Activation) -> Activation:
        """An activation, where a family leaves it to config.json.

        Raises:
            UnsupportedError: the kernels do not have it.
        """
        if not isinstance(key, Key):
            return key
        value = self.value(key)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise UnsupportedError(f"{self.path}: {key.name} is {value!r}; supported are {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def pooling(self, key: Key | Pooling) -> Pooling:
        """How a classifier makes one row of a text, where a family leaves it to config.json.

        Raises:
            UnsupportedError: there is no such pooling.
        """
        if not isinstance(key, Key):
            return key
        value = self.value(key)
        if not isinstance(value, str) or value not in POOLINGS:
            raise UnsupportedError(f"{self.path}: {key.name} is {value!r}; supported are {', '.join(POOLINGS)}")
        return POOLINGS[value]

    def architectures(self) -> list[str]:
        """The classes of transformers that the checkpoint was saved from; may be empty."""
        value = self.values.get("architectures") or []
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.wrong("architectures", "an array of strings")
        return value

    def labels(self, count: int) -> tuple[str, ...]:
        """The names of `count` outputs in order; LABEL_0, LABEL_1, ... where the checkpoint names none.

        Raises:
            CheckpointError: id2label does not name exactly these outputs.
        """
        names = self.values.get("id2label")
        if names is None:
            return tuple(f"LABEL_{index}" for index in range(count))
        if not isinstance(names, dict) or set(map(str, names)) != {str(index) for index in range(count)}:
            raise self.wrong(
                "id2label", f"an object with one name for each of the classifier's {count} outputs, from 0"
            )
        return tuple(str(names[str(index)]) for index in range(count))

    def problem_type(self) -> ProblemType | None:
        """What the outputs of a classifier mean, or None where the checkpoint does not say."""
        value = self.text("problem_type")
        if value is None:
            return None
        if value not in PROBLEM_TYPES:
            raise self.wrong("problem_type", "one of " + ", ".join(PROBLEM_TYPES))
        return PROBLEM_TYPES[value]

    def score_of_one_output(self, function: str | None) -> tuple[ProblemType, Activation] | None:
        """What sentence-transformers makes of a cross-encoder's one output, where it says so; None where it does not.

        Args:
            function: the name of a class of torch.nn; older folders have it here.

        Raises:
            UnsupportedError: it is another function than those that are known.
        """
        own = self.values.get("sentence_transformers")
        function = function or (own.get("activation_fn") if isinstance(own, dict) else None)
        older = self.values.get("sbert_ce_default_activation_function")
        function = function or older
        if function is None:
            return None
        package, _, name = str(function).rpartition(".")
        if package.startswith("torch.nn") and name == "Sigmoid":
            return "multi_label", "none"
        if package.startswith("torch.nn") and name in ACTIVATIONS_OF_TORCH:
            return "regression", ACTIVATIONS_OF_TORCH[name]
        raise UnsupportedError(
            f"{self.path}: the score is {function!r:.80} of the output; supported are Sigmoid, "
            f"{', '.join(ACTIVATIONS_OF_TORCH)} of torch.nn"
        )

    def not_read(self) -> list[str]:
        """Keys that nobody asked for, but for those that are known to change no answer."""
        return self.values.not_asked(HARMLESS_KEYS)

    def refuse_other_networks(self, must_be: Mapping[str, Any]) -> None:
        """Checks the keys that would change what the network computes: each must have its one value, or not be there.

        Raises:
            UnsupportedError: one of them has a value that is not understood.
        """
        for name, value in must_be.items():
            if self.values.get(name, value) != value:
                raise UnsupportedError(f"{self.path}: {name} is {self.values[name]!r}; only {value!r} is supported")
        if self.values.get("quantization_config"):
            raise UnsupportedError(
                f"{self.path}: the checkpoint is already quantized; convert the one it was made from"
            )

    def refuse_code(self, known: str | None) -> None:
        """Checks that the network is not code that comes with the checkpoint, but for classes that are known to be it.

        Args:
            known: regular expression of names of classes.

        Raises:
            UnsupportedError: auto_map names another class.
        """
        classes = self.values.get("auto_map") or {}
        if not isinstance(classes, dict):
            raise self.wrong("auto_map", "an object")
        for key, value in classes.items():
            name = str(value).rpartition(".")[2]
            if key.startswith("AutoModel") and not (known and re.fullmatch(known, name)):
                raise UnsupportedError(
                    f"{self.path}: auto_map gives {key} as {value!r:.120}, code that comes with the checkpoint: it is "
                    f"never run, and what it computes is not known. If it is what transformers has for model_type "
                    f"{self.text('model_type')!r}, remove auto_map from config.json"
                )

    def wrong(self, name: str, expected: str) -> CheckpointError:
        """An error that says what `name` should have been."""
        value = repr(self.values.get(name))
        return CheckpointError(f"{self.path}: {name} is {value[:80]}, but must be {expected}")
