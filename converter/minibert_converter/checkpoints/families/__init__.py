"""One table of names for each family of checkpoints."""

from __future__ import annotations

from ..family import Family
from .albert import ALBERT
from .bert import BERT
from .distilbert import DISTILBERT
from .electra import ELECTRA
from .modernbert import MODERNBERT
from .mpnet import MPNET
from .nomic_bert import NOMIC_BERT
from .roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA

#: Every family that can be read, by config.json's model_type. A new one is a table like bert.py's and a line here.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        ALBERT,
        BERT,
        CAMEMBERT,
        DISTILBERT,
        ELECTRA,
        MODERNBERT,
        MPNET,
        NOMIC_BERT,
        ROBERTA,
        XLM_ROBERTA,
    )
}
