"""Checkpoints whose config.json or tokenizer_config.json is contradicted: transformers' answers, or a refusal."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from minibert.errors import MinibertError
from minibert.reference import Reference
from minibert.tasks.text_classification import Classifier
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.export import export
from minibert_converter.network import Network
from tests.families import SETUPS, golden, write_family

TEXTS = ["a great movie", ("The old house?", "no"), "", "Not [MASK] good " * 9, "\u96fb b\u00e0d"]
AUTO = {
    "sentence-embedding": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
}
#: What there is nothing to compare with.
BY_TRANSFORMERS = "refused by transformers"
#: By model_type, encoders that have a decoder otherwise.
ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel"}
#: Other names that transformers has for the same thing, in some families or all.
ALIASES = {
    "hidden_size": ["dim", "n_embd", "d_model"],
    "num_hidden_layers": ["n_layers", "num_layers", "n_layer"],
    "num_attention_heads": ["n_heads", "num_heads", "n_head"],
    "intermediate_size": ["hidden_dim", "n_inner"],
    "max_position_embeddings": ["n_positions", "max_trained_positions"],
    "hidden_act": ["activation", "hidden_activation", "activation_function"],
    "layer_norm_eps": ["layer_norm_epsilon", "norm_eps"],
    "rope_parameters": ["rope_theta", "rope_scaling", "rotary_emb_base"],
    "num_labels": ["id2label", "label2id", "_num_labels"],
    "type_vocab_size": ["num_token_types"],
    "dtype": ["torch_dtype"],
}
#: Values that keys may have; other keys get others of the type that they have.
VALUES: dict[str, Sequence[Any]] = {
    **dict.fromkeys(
        ("hidden_act", "activation", "hidden_activation", "classifier_activation", "pooler_hidden_act"),
        ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_10", "quick_gelu", "relu", "silu", "tanh", "mish"),
    ),
    **dict.fromkeys(("layer_norm_eps", "norm_eps", "layer_norm_epsilon"), (1e-12, 1e-5, 0.1, 0, 1)),
    **dict.fromkeys(("rope_theta", "global_rope_theta", "local_rope_theta", "rotary_emb_base"), (10.0, 500, 1e4)),
    "rope_scaling": [None, {"type": "linear", "factor": 2.0}, {"rope_type": "dynamic", "factor": 2.0}],
    "rope_parameters": [
        None,
        {"rope_theta": 50.0},
        {"rope_theta": 50.0, "rope_type": "default"},
        {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
        {"full_attention": {"rope_type": "default", "rope_theta": 30.0}},
    ],
    "architectures": [None, [], ["BertModel"], ["BertForTokenClassification"], ["Unknown"]],
    "problem_type": [None, "regression", "single_label_classification", "multi_label_classification", "other"],
    "id2label": [None, {"0": "a", "1": "b", "2": "c"}, {"0": "a", "1": "b"}, {"2": "a", "1": "b", "0": "c"}],
    "label2id": [{"a": 2, "b": 1, "c": 0}],
    "position_embedding_type": ["absolute", "relative_key", "relative_key_query", "rope", None],
    "pad_token_id": [None, 0, 1, 3, -1],
    "layer_types": [None, ["full_attention"] * 4, ["sliding_attention"] * 4, ["full_attention"] * 2],
    "local_attention": [4, 20, 128],
    "sliding_window": [4, 20],
    "classifier_pooling": ["cls", "mean", "max"],
    "pos_att_type": [None, [], "c2p", ["p2c"], ["c2p", "p2c"]],
    "norm_rel_ebd": ["none", "layer_norm"],
    "dtype": ["float32", "float16", "bfloat16"],
    "model_type": ["bert", "roberta", "electra", "distilbert", "xlm-roberta", "ernie", "modernbert", "gte", "unknown"],
    "summary_type": ["first", "last", "mean"],
    "tokenizer_class": [
        "BertTokenizer",
        "PreTrainedTokenizerFast",
        "RobertaTokenizer",
        "BertTokenizerFast",
        "XTokenizer",
    ],
    "model_input_names": [["input_ids"], ["input_ids", "token_type_ids", "attention_mask"]],
    "model_max_length": [8, 30, 512, 1e30],
    "truncation_side": ["left", "right", "up"],
    "strip_accents": [None, True, False],
    "cls_token": ["[SEP]", "[CLS]", None, "a"],
    "quantization_config": [{"quant_method": "bitsandbytes"}],
    "auto_map": [{"AutoModel": "modeling.X"}],
}
#: Keys that a config may get though it has none of them.
FLAGS = (
    *("is_decoder", "add_cross_attention", "is_encoder_decoder", "tie_word_embeddings", "use_task_id", "norm_bias"),
    *("attention_bias", "mlp_bias", "classifier_bias", "relative_attention", "position_biased_input", "share_att_key"),
    *("sinusoidal_pos_embds", "sparse_prediction", "decoder_bias", "use_cache", "output_hidden_states", "qkv_bias"),
    *("output_attentions", "embedding_layer", "scale_attn_weights", "pre_norm", "hidden_prenorm"),
)
NUMBERS = (
    *("type_vocab_size", "embedding_size", "num_hidden_groups", "inner_group_num", "projection_dim", "num_labels"),
    *("relative_attention_num_buckets", "max_relative_positions", "position_buckets", "conv_kernel_size", "head_dim"),
    *(
        "global_attn_every_n_layers",
        "task_type_vocab_size",
        "chunk_size_feed_forward",
        "attention_head_size",
        "n_layers",
    ),
)
FRACTIONS = ("rotary_emb_fraction", "partial_rotary_factor", "attention_probs_dropout_prob", "scale_embedding")


#: What the code that nomic-bert's checkpoints came with calls keys of theirs; transformers doesn't know them.
OF_NOMIC = ("n_embd", "n_layer", "n_head", "n_inner", "n_positions", "activation_function", "rotary_emb_base")
OF_NOMIC += ("layer_norm_epsilon",)


def other(key: str, value: Any, source: random.Random) -> Any:
    """A value for a key, most often one that makes sense."""
    if key in VALUES and source.random() < 0.9:
        return source.choice(VALUES[key])
    if isinstance(value, bool) or key in FLAGS:
        return source.choice([True, False, None])
    if isinstance(value, int) or key in NUMBERS:
        number = value if isinstance(value, int) else 2
        return source.choice([0, 1, 2, 3, number + 1, number - 1, 2 * number, number // 2, None, str(number)])
    if isinstance(value, float) or key in FRACTIONS:
        return source.choice([0.0, 0.5, 1.0, 2.0, None])
    return source.choice([None, "x", 1, [], {}])


def mutated(config: dict[str, Any], source: random.Random, more: tuple[str, ...]) -> dict[str, Any]:
    """The config with a key less, renamed, said twice, changed or added; one of these, or a few."""
    config = dict(config)
    for _ in range(source.choice([1, 1, 1, 2, 3])):
        key = source.choice(list(config)) if config and source.random() < 0.6 else source.choice(more)
        if key in OF_NOMIC and config.get("model_type") == "nomic_bert":
            continue
        how = source.random()
        names = next(([first, *rest] for first, rest in ALIASES.items() if key in (first, *rest)), [key, f"{key}_"])
        if config.get("model_type") == "nomic_bert":
            names = [name for name in names if name not in OF_NOMIC]
        if how < 0.2:
            config.pop(key, None)
        elif how < 0.35 and key in config:
            config[source.choice(names)] = config.pop(key)
        elif how < 0.5:
            config[source.choice(names)] = other(key, config.get(key), source)
        else:
            config[key] = other(key, config.get(key), source)
    return config


def write_mutated(folder: Path, seed: int, entries: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A checkpoint of some family and task, and what one of its two configs became."""
    source = random.Random(seed)
    family = source.choice(list(SETUPS))
    task = source.choice(list(entries[family]["tasks"]))
    write_family(folder, family, task, entries[family])
    name = "tokenizer_config.json" if source.random() < 0.2 else "config.json"
    more = ("tokenizer_class", "model_input_names", "model_max_length", "truncation_side", "cls_token", "do_lower_case")
    if name == "config.json":
        more = (*VALUES, *FLAGS, *NUMBERS, *FRACTIONS)
    config = mutated(json.loads((folder / name).read_text()), source, more)
    (folder / name).write_text(json.dumps(config))
    return f"{family} {task} {name}", config


class Theirs:
    """What transformers makes of a folder.

    Raises whatever transformers raises.

    Attributes:
        drawn: names of weights that the folder lacks, and that are random numbers therefore.
    """

    def __init__(self, folder: Path, task: str) -> None:
        import transformers

        self.task = task
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        named, name = config.get("architectures") or [""], AUTO[task]
        if task == "sentence-embedding":  # AutoModel takes all of DPR for the encoder of questions, and T5 as a whole
            name = named[0] if named[0].startswith("DPR") else ENCODERS.get(config.get("model_type"), name)
        loaded = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype="float32")
        self.model, info = loaded
        self.model.eval()
        words = self.model.base_model.get_input_embeddings()
        self.padding = {self.model.config.pad_token_id, getattr(words, "padding_idx", None)}
        # What AutoModel makes up for pooling is read by nobody.
        unread = ("pooler.",) if task == "sentence-embedding" else ("position_ids",)
        self.drawn = sorted(name for name in info["missing_keys"] if not any(part in name for part in unread))

    def inputs(self, text: Any, most: int) -> tuple[dict[str, Any], list[int], list[int]]:
        """What goes into the model, its ids and its types, none being zeros."""
        text, pair = text if isinstance(text, tuple) else (text, None)
        made = self.tokenizer(text, pair, truncation=True, max_length=most, return_tensors="pt")
        ids = made["input_ids"][0].tolist()
        types = made["token_type_ids"][0].tolist() if "token_type_ids" in made else [0] * len(ids)
        return made, ids, types

    def rows(self, inputs: dict[str, Any]) -> np.ndarray:
        """Logits, or the last layer's rows (of DPR the first one's)."""
        import torch

        with torch.no_grad():
            out = self.model(**inputs, return_dict=True)
        if self.task == "question-answering":
            return torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1).numpy()
        if self.task == "sentence-embedding":
            return (out.last_hidden_state[0] if "last_hidden_state" in out else out.pooler_output).numpy()
        return out.logits[0].numpy() if self.task != "text-classification" else out.logits.numpy()

    def scores(self, text: Any, most: int) -> dict[str, float]:
        """What its pipeline answers for a single text, by label."""
        import transformers

        made = transformers.pipeline("text-classification", model=self.model, tokenizer=self.tokenizer)
        found = made(text, top_k=None, truncation=True, max_length=most)
        return {one["label"]: one["score"] for one in found}


def rows_of(network: Network, ids: list[int], types: list[int], tokens: bool) -> np.ndarray:
    """Ours, in float32; `tokens`: before pooling."""
    config, tensors = export(network)
    if tokens:
        config = replace(config, architecture=replace(config.architecture, pooling="none", normalize=False))
    return Reference(config, tensors).forward([ids], [types])


def difference(network: Network, theirs: Theirs) -> str:
    """What is not as transformers has it; empty if all is, BY_TRANSFORMERS if it has no answer of its own."""
    if theirs.drawn:  # of token types a note says that there are none
        types = all(name.endswith("token_type_embeddings.weight") for name in theirs.drawn)
        return BY_TRANSFORMERS if types else f"transformers draws {theirs.drawn[:4]} by chance"
    ours = Tokenizer.from_str(network.tokenizer_json)
    tokens = theirs.task == "sentence-embedding" and network.architecture.pooling != "cls"
    compared = 0
    for text in TEXTS:
        inputs, ids, types = theirs.inputs(text, network.text.max_length)
        encoded = ours.encode(*text) if isinstance(text, tuple) else ours.encode(text)
        if len(encoded.ids) <= network.text.max_length and (encoded.ids != ids or encoded.type_ids != types):
            return f"{text!r}: ids are {encoded.ids}, {encoded.type_ids}, not {ids}, {types}"
        # Some families have positions for all tokens but padding; where there is no room, nothing is cut.
        if theirs.padding & set(ids) or len(ids) > network.text.max_length:
            continue
        one = theirs.task == "text-classification" and isinstance(text, str)
        try:
            wanted, expected = theirs.rows(inputs), theirs.scores(text, network.text.max_length) if one else {}
        except Exception:  # types that it has no rows for, chunks of no size, pooling that it doesn't know
            continue
        compared += 1
        found = rows_of(network, ids, types, tokens)
        near = 1e-4 * max(1, abs(wanted).max())
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-3, atol=near):
            return f"{text!r}: {found.ravel()[:4]}, not {wanted.ravel()[:4]}"
        if one:
            classifier = Classifier(network.task)
            answer = classifier.answer(found[0], classifier.function, None)
            made = {each["label"]: each["score"] for each in answer}
            if made != pytest.approx(expected, abs=1e-4):
                return f"{text!r}: scores are {made}, not {expected}"
    if network.text.max_length > (theirs.tokenizer.model_max_length or 1e30):
        return f"reads {network.text.max_length} tokens, not {theirs.tokenizer.model_max_length}"
    return "" if compared else BY_TRANSFORMERS


def outcome(folder: Path) -> str:
    """What becomes of a folder: "same", "refused", BY_TRANSFORMERS, or a difference."""
    try:
        network = read_checkpoint(folder)
    except MinibertError:
        return "refused"
    try:
        theirs = Theirs(folder, network.task.kind)
    except Exception:
        return BY_TRANSFORMERS
    return difference(network, theirs) or "same"


@pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
def test_contradicted_folders_answer_as_in_transformers_or_not_at_all(tmp_path, fuzz_rounds, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    entries, outcomes, wrong = golden(), [], {}
    for seed in range(fuzz_rounds // 10):
        folder = tmp_path / str(seed)
        where, config = write_mutated(folder, seed, entries)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes.append(outcome(folder))
        if outcomes[-1] not in ("same", "refused", BY_TRANSFORMERS):
            wrong[seed] = (where, config, outcomes[-1])
    assert wrong == {}
    assert outcomes.count("same") > fuzz_rounds // 50
