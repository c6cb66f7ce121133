"""DPR (Karpukhin et al. 2020, arXiv 2004.04906): a BERT for questions and one for passages, whose [CLS] is the vector.

Each is a checkpoint of its own. The reader, which scores passages and spans in them at once, is not read.
"""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import Head

DPR = replace(
    BERT,
    model_type="dpr",
    prefixes=("question_encoder.bert_model.", "ctx_encoder.bert_model."),
    must_be={**BERT.must_be, "projection_dim": 0},
    heads={"sentence-embedding": Head("cls")},
    architectures={"DPRQuestionEncoder": "sentence-embedding", "DPRContextEncoder": "sentence-embedding"},
    unused=(r"embeddings\.(position_ids|token_type_ids)", r"pooler\..*"),
    tokenizer="DPRQuestionEncoderTokenizer",
)
