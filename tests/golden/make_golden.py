"""Remakes the expected outputs beside this file with transformers and sentence-transformers.

    pip install -e '.[train]' sentence-transformers
    python tests/golden/make_golden.py

classifier.json holds logits of the checkpoint of tests/checkpoints.py; sentence/ is a folder saved by
sentence-transformers itself (half precision, 70 kB), and sentence.json holds its vectors.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as modules_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.checkpoints import CONFIG, bert_weights, write_checkpoint  # noqa: E402

TEXTS = [
    "a great movie",
    "The old man was NOT playing well, was he?",
    "",
    "café, naïve; 你好 (x) 3.14 - “quoted”!",
    "what can you do with money from a bank " * 8,
]
PAIRS = [("what is it?", "it is a river."), ("", "good"), ("the film " * 30, "is it good")]
HIDDEN_ACTS = ("gelu", "gelu_new", "relu")


def rounded(values: torch.Tensor) -> list:
    """As many digits as a float32 has."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]


def classifier_cases() -> list[dict]:
    cases = []
    for activation in HIDDEN_ACTS:
        config = {**CONFIG, "hidden_act": activation}
        with tempfile.TemporaryDirectory() as name:
            folder = write_checkpoint(Path(name), config)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
            )
            if info["missing_keys"] or info["unexpected_keys"]:
                raise SystemExit(f"tests/checkpoints.py no longer names tensors as transformers does: {info}")
        for text, pair in [*((text, None) for text in TEXTS), *PAIRS]:
            encoded = tokenizer(text, pair, truncation=True, return_tensors="pt")
            with torch.no_grad():
                logits = model(**encoded).logits
            cases.append(
                {
                    "hidden_act": activation,
                    "text": text,
                    "pair": pair,
                    "ids": encoded["input_ids"][0].tolist(),
                    "token_types": encoded["token_type_ids"][0].tolist(),
                    "logits": rounded(logits)[0],
                }
            )
    return cases


def make_sentence_folder(folder: Path) -> dict:
    """A model of one layer with heads of 20 features, pooling, a projection, normalizing and prompts."""
    sizes = {"hidden_size": 60, "num_hidden_layers": 1, "intermediate_size": 50, "max_position_embeddings": 40}
    config = {**CONFIG, **sizes, "architectures": ["BertModel"]}
    with tempfile.TemporaryDirectory() as name:
        weights = {key: value.astype(np.float16) for key, value in bert_weights(config, None, seed=2).items()}
        home = write_checkpoint(Path(name), config, {key: value.astype(np.float32) for key, value in weights.items()})
        transformer = modules_of.Transformer(str(home), max_seq_length=32)
    dense = modules_of.Dense(60, 24, activation_function=torch.nn.Tanh())
    random = np.random.RandomState(3)
    with torch.no_grad():
        for parameter in dense.parameters():
            noise = (0.3 * random.standard_normal(tuple(parameter.shape))).astype(np.float16)
            parameter.copy_(torch.from_numpy(noise.astype(np.float32)))
    modules = [transformer, modules_of.Pooling(60, "mean"), dense, modules_of.Normalize()]
    prompts = {"query": "what is ", "document": "the "}
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts).float()
    vectors = {
        prompt or "": rounded(torch.from_numpy(model.encode(TEXTS, prompt_name=prompt, batch_size=1)))
        for prompt in (None, "query")
    }
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save(str(folder), create_model_card=False)
    return {"texts": TEXTS, "vectors": vectors}


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in classifier_cases())
    (HERE / "classifier.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    sentence = json.dumps(make_sentence_folder(HERE / "sentence"), ensure_ascii=False)
    (HERE / "sentence.json").write_text(sentence + "\n", encoding="utf-8")
