"""A checkpoint with the shape of a known model and random weights: for speed, which does not depend on their values.

    python -m bench.speed.random_checkpoint build/bench/checkpoints/bert-base
    python -m bench.speed.random_checkpoint build/bench/checkpoints/deberta --shape deberta-v3-small

Needs PyTorch and transformers (the extra `train`). The vocabulary is as large as BERT's, and made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


#: Name -> what transformers' classes begin with, and what its config says beside the size of the vocabulary.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    # The newest transformers leaves the kind of positions unsaid, and CTranslate2's converter asks for it.
    "bert-base": ("Bert", {"position_embedding_type": "absolute"}),
    "deberta-v3-small": (
        "DebertaV2",
        {
            "hidden_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "relative_attention": True,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        },
    ),
    "gte-base": (
        "Gte",
        {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 8192,
            "type_vocab_size": 0,
            "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
        },
    ),
}


def write(folder: Path, labels: int, shape: str = "bert-base") -> None:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json."""
    import transformers

    transformers.set_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    name, values = SHAPES[shape]
    config = getattr(transformers, f"{name}Config")(vocab_size=VOCABULARY, num_labels=labels, **values)
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, default=2, metavar="N")
    parser.add_argument("--shape", choices=SHAPES, default="bert-base", help="of which model (default: bert-base)")
    options = parser.parse_args()
    write(options.folder, options.labels, options.shape)


if __name__ == "__main__":
    main()
