"""Small checkpoints of every family, drawn from seeds: what tests/golden/make_families.py gave to transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import vocabulary, write_json

GOLDEN = Path(__file__).parent / "golden" / "families.json"

#: Ends of transformers' class names.
TASKS = {
    "sentence-embedding": "Model",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "fill-mask": "ForMaskedLM",
}

#: Odd sizes on purpose: heads of 32 features in rows of 96, vocabularies and feed-forwards that are no multiple of 16.
_SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 100,
    "max_position_embeddings": 64,
    "vocab_size": 203,
    "pad_token_id": 0,
    "num_labels": 3,
}
_ROBERTA = _SIZES | {"pad_token_id": 1, "max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5}

_MODERN = _SIZES | {
    "model_type": "modernbert",
    "num_hidden_layers": 4,
    "local_attention": 20,
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 2),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), 3),
}

_DEBERTA = _SIZES | {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": "c2p|p2c",
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "pooler_hidden_act": "gelu",
}

_DPR = _SIZES | {"model_type": "dpr", "num_hidden_layers": 1}

#: Heads of 20 features in a hidden state of 96.
_T5: dict[str, Any] = {
    "model_type": "t5",
    "d_model": 96,
    "d_kv": 20,
    "d_ff": 100,
    "num_layers": 2,
    "num_heads": 3,
    "n_positions": 64,
    "vocab_size": 203,
    "pad_token_id": 0,
    "num_labels": 3,
}
_OF_T5 = ("sentence-embedding", "token-classification")

#: Family -> the name that transformers' classes begin with, the tasks if not all that it has, and a config.
SETUPS: dict[str, dict[str, Any]] = {
    "bert": {"class": "Bert", "config": _SIZES | {"model_type": "bert", "num_hidden_layers": 1}},
    "distilbert": {
        "class": "DistilBert",
        "config": {
            "model_type": "distilbert",
            "dim": 96,
            "n_layers": 2,
            "n_heads": 3,
            "hidden_dim": 100,
            "max_position_embeddings": 64,
            "vocab_size": 203,
            "num_labels": 3,
        },
    },
    "roberta": {"class": "Roberta", "config": _ROBERTA | {"model_type": "roberta"}},
    "xlm-roberta": {"class": "XLMRoberta", "config": _ROBERTA | {"model_type": "xlm-roberta", "num_hidden_layers": 1}},
    "camembert": {"class": "Camembert", "config": _ROBERTA | {"model_type": "camembert", "num_hidden_layers": 1}},
    "electra": {"class": "Electra", "config": _SIZES | {"model_type": "electra", "embedding_size": 40}},
    "electra-wide": {"class": "Electra", "config": _SIZES | {"model_type": "electra", "embedding_size": 96}},
    "albert": {
        "class": "Albert",
        "config": _SIZES | {"model_type": "albert", "embedding_size": 40, "num_hidden_layers": 3},
    },
    "albert-groups": {
        "class": "Albert",
        "config": _SIZES
        | {"model_type": "albert", "embedding_size": 96, "num_hidden_layers": 5, "num_hidden_groups": 2},
    },
    "mpnet": {"class": "MPNet", "config": _ROBERTA | {"model_type": "mpnet"}},
    "mpnet-long": {
        "class": "MPNet",
        "config": _ROBERTA | {"model_type": "mpnet", "num_hidden_layers": 1, "max_position_embeddings": 302},
    },
    "nomic": {
        "class": "NomicBert",
        "config": _SIZES
        | {"model_type": "nomic_bert", "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"}},
    },
    "nomic-yarn": {
        "class": "NomicBert",
        "config": _SIZES
        | {
            "model_type": "nomic_bert",
            "num_hidden_layers": 1,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
                "beta_fast": 4,
            },
        },
    },
    "gte": {
        "class": "Gte",
        "config": _SIZES
        | {
            "model_type": "gte",
            "type_vocab_size": 2,
            "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
        },
    },
    "gte-untyped": {
        "class": "Gte",
        "config": _SIZES | {"model_type": "gte", "type_vocab_size": 0, "num_hidden_layers": 1},
    },
    "t5": {"class": "T5", "tasks": _OF_T5, "config": _T5 | {"feed_forward_proj": "relu"}},
    "t5-gated": {
        "class": "T5",
        "tasks": _OF_T5,
        "config": _T5
        | {
            "feed_forward_proj": "gated-gelu",
            "num_layers": 1,
            "relative_attention_num_buckets": 12,
            "relative_attention_max_distance": 30,
        },
    },
    "mt5": {"class": "MT5", "tasks": _OF_T5, "config": _T5 | {"model_type": "mt5", "num_layers": 1}},
    "eurobert": {
        "class": "EuroBert",
        "config": _SIZES
        | {
            "model_type": "eurobert",
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "classifier_pooling": "bos",
            "rope_parameters": {"rope_theta": 250000.0, "rope_type": "default"},
        },
    },
    "eurobert-biases": {
        "class": "EuroBert",
        "config": _SIZES
        | {
            "model_type": "eurobert",
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "head_dim": 20,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_pooling": "late",
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0},
        },
    },
    "megatron": {
        "class": "MegatronBert",
        "config": _SIZES | {"model_type": "megatron-bert", "num_hidden_layers": 2},
    },
    "ernie": {
        "class": "Ernie",
        "config": _SIZES | {"model_type": "ernie", "use_task_id": True, "num_hidden_layers": 1},
    },
    "data2vec": {
        "class": "Data2VecText",
        "config": _ROBERTA | {"model_type": "data2vec-text", "num_hidden_layers": 1},
    },
    "jina-v3": {
        "class": "JinaEmbeddingsV3",
        "config": _ROBERTA
        | {"model_type": "jina_embeddings_v3", "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"}},
    },
    "deberta-v2": {
        "class": "DebertaV2",
        "config": _DEBERTA
        | {
            "model_type": "deberta-v2",
            "position_buckets": 16,
            "max_relative_positions": -1,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
        },
    },
    "deberta-v2-unshared": {
        "class": "DebertaV2",
        "config": _DEBERTA
        | {"model_type": "deberta-v2", "num_hidden_layers": 1, "max_relative_positions": 40, "type_vocab_size": 2},
    },
    "deberta": {"class": "Deberta", "config": _DEBERTA | {"model_type": "deberta", "max_relative_positions": -1}},
    "dpr-question": {"class": "DPRQuestionEncoder", "config": _DPR},
    "dpr-context": {"class": "DPRContextEncoder", "config": _DPR},
    "modernbert": {
        "class": "ModernBert",
        "config": _MODERN | {"max_position_embeddings": 200},
    },
    "modernbert-biases": {
        "class": "ModernBert",
        "config": _MODERN
        | {
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"],
            "classifier_pooling": "mean",
            **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True),
        },
    },
}


def class_name(family: str, task: str) -> str:
    """The class of transformers, which has it or not; DPR's encoders are called as they are, T5's are half of it."""
    name = SETUPS[family]["class"]
    if task == "sentence-embedding" and name.startswith("DPR"):
        return name
    return f"{name}Encoder{TASKS[task]}" if task == "sentence-embedding" and name.endswith("T5") else name + TASKS[task]


def cases(config: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    """Ids and token types: a single text, a pair, the longest text, and an empty one."""
    random = np.random.RandomState(7)
    offset = config["pad_token_id"] + 1 if config["model_type"] in _POSITIONS_AFTER_PADDING else 0
    longest = config.get("max_position_embeddings", config.get("n_positions")) - offset
    pairs = config.get("type_vocab_size", 2) > 1 and config["model_type"] not in _WITHOUT_TYPES
    texts = []
    for first, second in ((9, 0), (7, 12), (longest - 3, 0), (0, 0)):
        ids = [2, *random.randint(5, 203, first).tolist(), 3]
        types = [0] * len(ids)
        if second:
            ids += [*random.randint(5, 203, second).tolist(), 3]
            types += [int(pairs)] * (second + 1)
        texts.append((ids, types))
    return texts


_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "data2vec-text", "mpnet")
_WITHOUT_TYPES = ("distilbert", "mpnet", "modernbert", "t5", "mt5", "eurobert")


def shown_rows(count: int) -> list[int]:
    """Rows of an answer that are compared: one, or a few of a text's tokens."""
    return [0] if count == 1 else sorted({0, 1, count // 2, count - 1})


def shown_columns(count: int) -> slice:
    """Columns of an answer that are compared."""
    return slice(0, count, max(1, count // 8))


def checkpoint_weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Noise for every tensor, float32 but exact in float16; the same name always gets the same."""
    weights = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(crc32(name.encode()) & 0x7FFFFFFF)
        values = random.standard_normal(shape)
        if len(shape) == 1:
            norm = "norm" in name.lower() and name.endswith("weight")
            values = 1 + 0.2 * values if norm else 0.2 * values
        else:
            values *= 0.5 if "embeddings" in name else 1.5 / np.sqrt(shape[-1])
            values *= 0.25 if "SelfAttention.q." in name else 1  # T5 divides no scores by the root of the head size
        weights[name] = values.astype(np.float16).astype(np.float32)
    return weights


def golden() -> dict[str, Any]:
    """What transformers computed."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def tensor_shapes(entry: dict[str, Any], task: str) -> dict[str, list[int]]:
    """Names and shapes of a checkpoint's tensors; `entry` is a family's of `golden`."""
    made = entry["tasks"][task]
    prefix = "" if task == "sentence-embedding" else entry["prefix"]
    encoder = {prefix + name: shape for name, shape in entry["encoder"].items() if name not in made["without"]}
    return encoder | made["head"]


def write_family(folder: Path, family: str, task: str, entry: dict[str, Any], dtype: type = np.float32) -> Path:
    """A checkpoint folder of a family with the head of a task; `entry` is the family's of `golden`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**SETUPS[family]["config"], "architectures": [entry["tasks"][task]["architecture"]]}
    labels = config.pop("num_labels")
    if task in ("text-classification", "token-classification"):
        config["id2label"] = {str(number): f"label {number}" for number in range(labels)}
    write_json(folder / "config.json", config)
    weights = {name: v.astype(dtype) for name, v in checkpoint_weights(tensor_shapes(entry, task)).items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    write_tokenizer_json(folder, config["vocab_size"])
    return folder


def write_tokenizer_json(folder: Path, size: int) -> None:
    """A tokenizer of words, with BERT's special tokens whatever the family: it is not what is tested here."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    words = {token: index for index, token in enumerate(vocabulary(size))}
    tokenizer = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "token_type_ids", "attention_mask"]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
