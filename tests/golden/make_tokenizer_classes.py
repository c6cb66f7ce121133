"""Remakes tokenizer_classes/ beside this file: what transformers makes of folders that contradict themselves.

    pip install -e '.[train]' sentencepiece protobuf
    python tests/golden/make_tokenizer_classes.py            # --models trains the SentencePiece models anew, too

The folders are those of tests/tokenizer_folders.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import transformers  # noqa: E402
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES  # noqa: E402

from bench.parity.texts import SENTENCES  # noqa: E402
from tests import tokenizer_folders  # noqa: E402

FOLDER = HERE / "tokenizer_classes"
SETTINGS: dict[str, dict[str, Any]] = {
    "xlm-roberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
    "camembert": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
    "albert": {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"},
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "deberta-v2": {
        **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "control_symbols": "[MASK]"},
        **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
    },
}


def train_models() -> None:
    """SentencePiece models of 300 pieces; a few rules for characters in place of the 240 KB of NFKC."""
    import sentencepiece

    with tempfile.TemporaryDirectory() as work:
        corpus, rules = Path(work, "corpus.txt"), Path(work, "rules.tsv")
        corpus.write_text("\n".join(text for text in SENTENCES[:12] if text.strip()), encoding="utf-8")
        pairs = [
            ("ﬁ", "fi"),
            ("\t", " "),
            ("\n", " "),
            ("\u200b", ""),
            *((chr(0xFF21 + i), chr(65 + i)) for i in range(26)),
        ]
        pairs += [(chr(0xFF41 + i), chr(97 + i)) for i in range(26)]
        lines = ("\t".join(" ".join(f"{ord(char):X}" for char in side) for side in pair) for pair in pairs)
        rules.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, settings in SETTINGS.items():
            sentencepiece.SentencePieceTrainer.train(
                input=str(corpus),
                model_prefix=str(Path(work, name)),
                vocab_size=300,
                hard_vocab_limit=False,
                character_coverage=0.98,
                normalization_rule_tsv=str(rules),
                minloglevel=2,
                **settings,
            )
            Path(work, f"{name}.model").replace(FOLDER / f"{name}.model")


def answers(folder: Path) -> list[list[list[int]]] | None:
    """Ids and types of every text and pair; None where transformers has no answer."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        encoded = [tokenizer(text) for text in tokenizer_folders.TEXTS]
        encoded += [tokenizer(*pair) for pair in tokenizer_folders.PAIRS]
    except Exception:
        return None
    return [[each["input_ids"], each.get("token_type_ids") or [0] * len(each["input_ids"])] for each in encoded]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", action="store_true", help="train the SentencePiece models anew")
    FOLDER.mkdir(exist_ok=True)
    if parser.parse_args().models:
        train_models()
    transformers.logging.set_verbosity_error()
    lines = []
    for case in tokenizer_folders.cases():
        with tempfile.TemporaryDirectory() as work:
            outcome = answers(tokenizer_folders.make(case, Path(work, "folder")))
        lines.append(json.dumps({"case": case, "answers": outcome}, separators=(",", ":")))
    (FOLDER / "answers.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    names = sorted({name for name in TOKENIZER_MAPPING_NAMES.values() if name})
    (FOLDER / "classes.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
