"""Small checkpoints with random weights and trained vocabularies, saved by transformers and sentence-transformers.

Weights are larger than those that training begins with, so that answers differ from text to text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ENTITIES = ("O", "B-person", "I-person", "B-place", "I-place")
RELATIONS = ("contradiction", "neutral", "entailment")
_SIZES = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 100}
_ROLES = ("unk_token", "pad_token", "cls_token", "sep_token", "mask_token")


def words(texts: Sequence[str]) -> Any:
    """BERT's tokenizer, uncased; of the rarer characters it has none."""
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    made.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=1203, limit_alphabet=220, special_tokens=special)
    )
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    roles: dict[str, Any] = dict(zip(_ROLES, special, strict=True))
    roles["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **roles)


def byte_pairs(texts: Sequence[str]) -> Any:
    """RoBERTa's tokenizer: byte-level BPE."""
    special = ["<unk>", "<pad>", "<s>", "</s>", "<mask>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1203, special_tokens=special, initial_alphabet=alphabet)
    )
    made.post_processor = processors.RobertaProcessing(("</s>", 3), ("<s>", 2), add_prefix_space=False)
    roles: dict[str, Any] = dict(zip(_ROLES, special, strict=True))
    roles["mask_token"] = transformers.AddedToken("<mask>", lstrip=True, special=True)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **roles)


def model(head: str, tokenizer: Any, labels: Sequence[str] = ()) -> Any:
    """BERT or RoBERTa, as `head`, the class in transformers, begins."""
    roberta = head.startswith("Roberta")
    config = transformers.AutoConfig.for_model(
        "roberta" if roberta else "bert",
        vocab_size=len(tokenizer),
        max_position_embeddings=514 if roberta else 512,
        type_vocab_size=1 if roberta else 2,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)) or {0: "LABEL_0", 1: "LABEL_1"},
        label2id={label: place for place, label in enumerate(labels)} or {"LABEL_0": 0, "LABEL_1": 1},
        **_SIZES,
    )
    made = getattr(transformers, head)(config)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.dim() == 2:
                head_of_task = name.startswith(("classifier", "qa_outputs"))
                weight.normal_(std=0.6 if "embeddings" in name else 0.4 if head_of_task else 1.5 / 96**0.5)
            elif "bias" in name:
                weight.normal_(std=0.1)
    return made.eval()


#: name -> tokenizer, class in transformers, labels
PIPELINES = {
    "ner": (words, "BertForTokenClassification", ENTITIES),
    "ner-bytes": (byte_pairs, "RobertaForTokenClassification", ENTITIES),
    "masks": (words, "BertForMaskedLM", ()),
    "masks-bytes": (byte_pairs, "RobertaForMaskedLM", ()),
    "nli": (words, "BertForSequenceClassification", RELATIONS),
    "labels": (words, "BertForSequenceClassification", ("bad", "so-so", "good")),
    "questions": (words, "BertForQuestionAnswering", ()),
    "questions-bytes": (byte_pairs, "RobertaForQuestionAnswering", ()),
    "encoder": (words, "BertModel", ()),
}


def write(folder: Path, name: str, texts: Sequence[str]) -> Path:
    """The checkpoint of one of PIPELINES, vocabulary trained on `texts`."""
    torch.manual_seed(0)
    make_tokenizer, head, labels = PIPELINES[name]
    tokenizer = make_tokenizer(texts)
    model(head, tokenizer, labels).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name


def write_sentence_models(folder: Path, texts: Sequence[str]) -> dict[str, Path]:
    """Folders of a SentenceTransformer with every kind of module and prompts, a SparseEncoder and CrossEncoders."""
    from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
    from sentence_transformers.sentence_transformer import modules

    tokenizer = words(texts)
    heads = {
        "encoder": ("BertModel", ()),
        "masks": ("BertForMaskedLM", ()),
        "ranker": ("BertForSequenceClassification", ("LABEL_0",)),
        "relations": ("BertForSequenceClassification", RELATIONS),
    }
    for name, (head, labels) in heads.items():
        torch.manual_seed(0)
        model(head, tokenizer, labels).save_pretrained(folder / "plain" / name)
        tokenizer.save_pretrained(folder / "plain" / name)
    made = {}
    for pooling in ("mean", "cls", "max", "lasttoken"):
        torch.manual_seed(1)
        parts = [modules.Transformer(str(folder / "plain/encoder")), modules.Pooling(96, pooling)]
        parts += [modules.Dense(96, 40, activation_function=torch.nn.Tanh())]
        parts += [modules.Dense(40, 24, bias=False, activation_function=torch.nn.Identity()), modules.Normalize()]
        prompts = {"query": "search for: ", "document": "text: "}
        made[pooling] = SentenceTransformer(modules=parts, prompts=prompts, device="cpu")
    made["sparse"] = SparseEncoder(str(folder / "plain/masks"), device="cpu")
    made["ranker"] = CrossEncoder(str(folder / "plain/ranker"), device="cpu")
    made["relations"] = CrossEncoder(str(folder / "plain/relations"), device="cpu")
    for name, each in made.items():
        each.save_pretrained(str(folder / name))
    return {name: folder / name for name in made}
