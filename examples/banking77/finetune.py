"""Fine-tune a BERT on Banking77: makes the teacher that train.py learns from.

    pip install -e ".[train]"
    python examples/banking77/finetune.py BASE --out FOLDER

BASE is a Hugging Face folder (or the name) of a BERT, for example sentence-transformers/all-MiniLM-L6-v2, Apache-2.0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from checkpoint import DATA, read_tsv, save, score
from learn import Dataset, Recipe, fit, log
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertForSequenceClassification


def main() -> None:
    """Train, save, read anew, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("base", help="the checkpoint to start from")
    add("--out", type=Path, required=True, help="folder for the fine-tuned checkpoint")
    add("--data", type=Path, default=DATA, help="folder of train.tsv.gz and test.tsv.gz (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--passes", type=int, default=4)
    add("--batch", type=int, default=32)
    add("--lr", type=float, default=1e-4, help="learning rate at its peak")
    add("--threads", type=int, default=1, help="more are faster; sums may then differ in their last bits")
    add("--bfloat16", action="store_true", help="matmuls of the training in bfloat16: faster where the CPU has it")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)

    train_names, texts = read_tsv(args.data / "train.tsv.gz")
    names = sorted(set(train_names))
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    model = BertForSequenceClassification.from_pretrained(
        args.base,
        dtype=torch.float32,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        problem_type="single_label_classification",
    )
    ids = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
    recipe = Recipe(args.passes, args.batch, args.lr, 0.01, 1.0, 1.0, args.seed, args.bfloat16)
    fit(model, Dataset(ids, torch.tensor([names.index(name) for name in train_names])), recipe)
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    size = save(args.out, model, plain)
    test_names, test_texts = read_tsv(args.data / "test.tsv.gz")
    log(f"accuracy on the test: {score(args.out, test_texts, test_names):.2f}%; {size:,} bytes in {args.out}")


if __name__ == "__main__":
    main()
