"""One table of names for each family of checkpoints."""

from __future__ import annotations

from minibert_converter.checkpoints.families.albert import ALBERT
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.families.deberta import DEBERTA, DEBERTA_V2
from minibert_converter.checkpoints.families.distilbert import DISTILBERT
from minibert_converter.checkpoints.families.dpr import DPR
from minibert_converter.checkpoints.families.electra import ELECTRA
from minibert_converter.checkpoints.families.ernie import ERNIE
from minibert_converter.checkpoints.families.eurobert import EUROBERT
from minibert_converter.checkpoints.families.gte import GTE
from minibert_converter.checkpoints.families.jina_embeddings_v2 import JINA_EMBEDDINGS_V2
from minibert_converter.checkpoints.families.jina_embeddings_v3 import JINA_EMBEDDINGS_V3
from minibert_converter.checkpoints.families.megatron_bert import MEGATRON_BERT
from minibert_converter.checkpoints.families.modernbert import MODERNBERT
from minibert_converter.checkpoints.families.mpnet import MPNET
from minibert_converter.checkpoints.families.neobert import NEOBERT
from minibert_converter.checkpoints.families.nomic_bert import NOMIC_BERT
from minibert_converter.checkpoints.families.roberta import CAMEMBERT, DATA2VEC_TEXT, ROBERTA, XLM_ROBERTA
from minibert_converter.checkpoints.families.t5 import MT5, T5
from minibert_converter.checkpoints.family import Family

#: Every family that can be read, by config.json's model_type. A new one is a table like bert.py's and a line here.
FAMILIES: dict[str, Family] = {
    model_type: family
    for family in (
        ALBERT,
        BERT,
        CAMEMBERT,
        DATA2VEC_TEXT,
        DEBERTA,
        DEBERTA_V2,
        DISTILBERT,
        DPR,
        ELECTRA,
        ERNIE,
        EUROBERT,
        GTE,
        JINA_EMBEDDINGS_V3,
        MEGATRON_BERT,
        MODERNBERT,
        MPNET,
        MT5,
        NEOBERT,
        NOMIC_BERT,
        ROBERTA,
        T5,
        XLM_ROBERTA,
    )
    for model_type in (family.model_type, *family.other_types)
}
#: Families whose checkpoints have the model_type of another one.
VARIANTS: tuple[Family, ...] = (JINA_EMBEDDINGS_V2,)
#: Encoders of transformers that are asked for and not read, by model_type, and what they compute that no table can say.
NOT_READ: dict[str, str] = {
    "roberta-prelayernorm": "its first layer reads a LayerNorm of what a LayerNorm gave",
    "xmod": "its layers have a part of their own for each language",
    "mobilebert": "its layers have four feed-forward networks and no LayerNorm",
}
