"""Remakes tokenizers/ beside this file: small byte-level and Unigram tokenizers, and what transformers makes of texts.

    pip install -e '.[train]'
    python tests/golden/make_tokenizers.py

The vocabularies are trained on the texts of bench/parity; the tokenizers around them are those of RoBERTa (as
vocab.json and merges.txt alone, so that transformers builds it), ModernBERT and XLM-RoBERTa.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
FOLDER = HERE / "tokenizers"
sys.path.insert(0, str(HERE.parents[1]))

from bench.parity.texts import SENTENCES  # noqa: E402

#: Tokens of a text or pair, special tokens included: long ones are cut.
MAX_LENGTH = 40
PAIRS = [(5, 13), (40, 0), (22, 24), (35, 39), (14, 6)]


def byte_level(special: list[str]) -> Tokenizer:
    """Bytes, and the 60 merges that shorten the sentences most."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = len(special) + len(alphabet) + 60
    made.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet)
    )
    return made


def roberta(folder: Path) -> None:
    made = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    made.model.save(str(folder))
    # As checkpoints have it: some versions of transformers would not know otherwise that the mask takes a space.
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}
    mask |= {"single_word": False, "special": True}
    config = {"tokenizer_class": "RobertaTokenizer", "model_max_length": MAX_LENGTH, "mask_token": mask}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def modernbert(folder: Path) -> None:
    made = byte_level(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    made.normalizer = normalizers.NFC()
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    made.add_tokens([AddedToken(" " * width, normalized=True) for width in (3, 2)])
    made.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    save(made, folder, "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")


def xlm_roberta(folder: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(SENTENCES[:10], trainer)  # so that other scripts are unknown
    ends = [("<s>", 0), ("</s>", 2)]
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ends)
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    save(made, folder, "<unk>", "<s>", "</s>", "<pad>", "<mask>")


def save(made: Tokenizer, folder: Path, *roles: str) -> None:
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), roles, strict=True))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=MAX_LENGTH, model_input_names=["input_ids", "attention_mask"], **names
    ).save_pretrained(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False, separators=(",", ":")))


def answers(folder: Path) -> list[dict[str, Any]]:
    """Ids of every sentence and of some pairs, and the characters of the sentences' tokens."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    mask = tokenizer.mask_token
    singles = [*SENTENCES, "", " ", f"a {mask} b{mask}", f"{mask}"]
    found = []
    for text in singles:
        encoded = tokenizer(text, truncation=True, return_offsets_mapping=True)
        found.append({"text": text, "ids": encoded["input_ids"], "offsets": encoded["offset_mapping"]})
    for first, second in PAIRS:
        encoded = tokenizer(SENTENCES[first], SENTENCES[second], truncation=True)
        found.append({"text": SENTENCES[first], "pair": SENTENCES[second], "ids": encoded["input_ids"]})
    return found


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for make in (roberta, modernbert, xlm_roberta):
        folder = FOLDER / make.__name__
        folder.mkdir(parents=True)
        make(folder)
        lines = ",\n".join(json.dumps(each) for each in answers(folder))
        (folder / "answers.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
