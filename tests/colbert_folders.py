"""Small checkpoints of one vector a token, as PyLate, Stanford's ColBERT and sentence-transformers save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import CONFIG, bert_weights, vocabulary, write_checkpoint, write_json

ENCODER = {**CONFIG, "architectures": ["BertModel"]}
DIM = 8
#: As all three folders have it.
QUERY_LENGTH, DOCUMENT_LENGTH = 12, 20
SKIPPED = [".", ",", "!", "~"]
SETTINGS: dict[str, Any] = {
    "prompts": {},
    "query_prefix": "[unused0]",
    "document_prefix": "[unused1]",
    "query_length": QUERY_LENGTH,
    "document_length": DOCUMENT_LENGTH,
    "attend_to_expansion_tokens": False,
    "skiplist_words": SKIPPED,
    "do_query_expansion": True,
}
QUERIES = ["where is the bank?", "", "who was the man in the old house by the river, and why was he there at night?"]
DOCUMENTS = ["the bank, a small house.", "no!", "the film was good, " * 12]
#: Settings of PyLate that tests/golden/colbert.json knows.
VARIANTS = {"plain": {}, "attended": {"attend_to_expansion_tokens": True}, "not filled": {"do_query_expansion": False}}


def projections() -> dict[str, dict[str, np.ndarray]]:
    """Two linears, by folder, the first of which adds what comes in."""
    random = np.random.RandomState(5)
    hidden = ENCODER["hidden_size"]

    def noise(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    first = {"linear.weight": noise(32, hidden), "linear.bias": noise(32), "residual.weight": noise(32, hidden)}
    return {"1_Dense": first, "2_Dense": {"linear.weight": noise(DIM, 32)}}


def stanford_linear() -> np.ndarray:
    """The two projections as one, but for the bias."""
    first, second = projections().values()
    return second["linear.weight"] @ (first["linear.weight"] + first["residual.weight"])


def _write_dense(folder: Path, **config: Any) -> None:
    for name, weights in projections().items():
        (folder / name).mkdir(exist_ok=True)
        outputs, inputs = weights["linear.weight"].shape
        own = {"in_features": inputs, "out_features": outputs, "bias": "linear.bias" in weights}
        own |= {"activation_function": "torch.nn.modules.linear.Identity", "use_residual": name == "1_Dense"}
        write_json(folder / name / "config.json", own | config)
        save_file(weights, folder / name / "model.safetensors")


def _modules(*named: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(named)]


def write_pylate(folder: Path, **settings: Any) -> Path:
    """As PyLate saves it."""
    write_checkpoint(folder, ENCODER, bert_weights(ENCODER, labels=None))
    dense = [(name, "pylate.models.Dense.Dense") for name in projections()]
    write_json(folder / "modules.json", _modules(("", "sentence_transformers.models.Transformer"), *dense))
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 19, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", SETTINGS | settings)
    _write_dense(folder)
    return folder


def write_native(folder: Path, **mask: Any) -> Path:
    """As MultiVectorEncoder of sentence-transformers saves it; prefixes are text."""
    write_checkpoint(folder, ENCODER, bert_weights(ENCODER, labels=None))
    tokens = vocabulary(ENCODER["vocab_size"])
    special = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(tokens.index(token)): {"content": token, **special} for token in ("[unused0]", "[unused1]")}
    config = {"do_lower_case": True, "model_max_length": 48, "tokenizer_class": "BertTokenizer"}
    write_json(folder / "tokenizer_config.json", config | {"added_tokens_decoder": added})
    base, own = "sentence_transformers.base.modules", "sentence_transformers.multi_vector_encoder.modules"
    names = [
        ("", f"{base}.transformer.Transformer"),
        *((name, f"{base}.dense.Dense") for name in projections()),
        ("3_MultiVectorMask", f"{own}.multi_vector_mask.MultiVectorMask"),
        ("4_Normalize", f"{base}.normalize.Normalize"),
    ]
    write_json(folder / "modules.json", _modules(*names))
    expansion = {"strategy": "fixed", "attend": False, "token": None, "length": QUERY_LENGTH}
    settings = {"max_seq_length": 19, "document_length": DOCUMENT_LENGTH, "query_expansion": expansion}
    write_json(folder / "sentence_bert_config.json", settings)
    prompts = {"query": "[unused0]", "document": "[unused1]"}
    config = {"model_type": "MultiVectorEncoder", "prompts": prompts, "similarity_fn_name": "maxsim"}
    write_json(folder / "config_sentence_transformers.json", config)
    rows = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    _write_dense(folder, **rows)
    for name, config in (("3_MultiVectorMask", {"skiplist_words": SKIPPED, **mask}), ("4_Normalize", rows)):
        (folder / name).mkdir(exist_ok=True)
        write_json(folder / name / "config.json", config)
    return folder


def write_stanford(folder: Path, **metadata: Any) -> Path:
    """As Stanford's ColBERT saves it: one projection among the encoder's own tensors, and punctuation skipped."""
    weights = {f"bert.{name}": value for name, value in bert_weights(ENCODER, labels=None).items()}
    weights["linear.weight"] = stanford_linear()
    write_checkpoint(folder, {**ENCODER, "architectures": ["HF_ColBERT"]}, weights)
    known = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "attend_to_mask_tokens": False}
    known |= {"query_maxlen": QUERY_LENGTH, "doc_maxlen": DOCUMENT_LENGTH, "mask_punctuation": True, "dim": DIM}
    write_json(folder / "artifact.metadata", known | {"similarity": "cosine"} | metadata)
    return folder
