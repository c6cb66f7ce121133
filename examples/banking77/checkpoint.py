"""Reading the data, writing and scoring Hugging Face checkpoint folders."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from learn import accuracy, predict
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertForSequenceClassification
from vocabulary import SPECIALS

DATA = Path(__file__).resolve().parent / "data"


def read_tsv(path: Path) -> tuple[list[str], list[str]]:
    """Labels and texts of a (gzipped) file of ``label<TAB>text`` lines under one header line, without quoting."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["label"] for row in rows], [row["text"] for row in rows]


def save(folder: Path, model: BertForSequenceClassification, tokenizer: Tokenizer) -> int:
    """Write a Hugging Face checkpoint folder in float16 (``model`` too is float16 then); returns its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in tokens), encoding="utf-8")
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": model.config.max_position_embeddings,
        **SPECIALS,
    }
    for name, content in (("tokenizer_config.json", settings), ("special_tokens_map.json", SPECIALS)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md")


def score(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> float:
    """Accuracy in percent of the checkpoint as it lies in ``folder``, read anew and run in float32."""
    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    longest = model.config.max_position_embeddings
    ids = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    wanted = torch.tensor([model.config.label2id[label] for label in labels])
    return accuracy(predict(model, ids), wanted)
