"""RoBERTa (Liu et al. 2019, arXiv 1907.11692), XLM-RoBERTa (1911.02116), CamemBERT (1911.03894), data2vec (2202.03555).

They are BERT but for the tokenizer, the heads, and positions that are counted from behind the padding token's id.
"""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import classifier, heads, masked_words, task_classes

ROBERTA = replace(
    BERT,
    model_type="roberta",
    prefixes=("roberta.",),
    renamed={},
    sizes={**BERT.sizes, "vocab_size": Key("vocab_size", 50265)},
    heads=heads(
        text_classification=classifier("classifier.dense", "tanh", "classifier.out_proj"),
        fill_mask=masked_words("lm_head.dense", "gelu", "lm_head.layer_norm", "lm_head.decoder", bias="lm_head.bias"),
    ),
    architectures=task_classes("Roberta"),
    unused=(
        r"embeddings\.(position_ids|token_type_ids)",
        r"(pooler|classifier|qa_outputs|lm_head)\..*",
    ),
    padding_id=Key("pad_token_id", 1),
    tokenizer="RobertaTokenizer",
)

XLM_ROBERTA = replace(
    ROBERTA,
    model_type="xlm-roberta",
    architectures=task_classes("XLMRoberta"),
    tokenizer="XLMRobertaTokenizer",
)

CAMEMBERT = replace(
    ROBERTA,
    model_type="camembert",
    architectures=task_classes("Camembert"),
    tokenizer="CamembertTokenizer",
)

DATA2VEC_TEXT = replace(
    ROBERTA,
    model_type="data2vec-text",
    prefixes=("data2vec_text.",),
    sizes=BERT.sizes,
    architectures=task_classes("Data2VecText"),
)
