"""A checkpoint with the shape of BERT-base and random weights: for speed, which does not depend on their values.

    python -m bench.speed.random_checkpoint build/bench/checkpoints/bert-base

Needs PyTorch and transformers (the extra `train`). The vocabulary is as large as BERT's, and made up.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench import common

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 30522
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def words() -> list[str]:
    """Special tokens, single characters so that any text has tokens, and numbers to fill up."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    known = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    filling = (f"##{number}" for number in range(10, VOCABULARY + 10))
    return [*known, *(word for word, _ in zip(filling, range(VOCABULARY - len(known)), strict=False))]


def tokenizer() -> Tokenizer:
    """One that is as large as BERT's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(words())}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return made


def write(folder: Path, labels: int) -> None:
    """Writes config.json, model.safetensors and tokenizer.json."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    # The newest transformers leaves the kind of positions unsaid, and CTranslate2's converter asks for it.
    config = BertConfig(vocab_size=VOCABULARY, num_labels=labels, position_embedding_type="absolute")
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, default=2, metavar="N")
    options = parser.parse_args()
    write(options.folder, options.labels)


if __name__ == "__main__":
    main()
