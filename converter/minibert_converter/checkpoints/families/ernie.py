"""ERNIE (Sun et al. 2019, arXiv 1904.09223; 2020, arXiv 1907.12412): BERT, from 2.0 on with a table of tasks.

Texts have the first task, as in transformers where nobody says another.
"""

from __future__ import annotations

from dataclasses import replace

from minibert_converter.checkpoints.config_file import Key
from minibert_converter.checkpoints.families.bert import BERT
from minibert_converter.checkpoints.family import task_classes

ERNIE = replace(
    BERT,
    model_type="ernie",
    prefixes=("ernie.",),
    sizes={**BERT.sizes, "task_types": Key("task_type_vocab_size", 3)},
    used_if={"task_types": Key("use_task_id", False)},
    tensors={**BERT.tensors, "embeddings.task_type": "embeddings.task_type_embeddings"},
    architectures=task_classes("Ernie", pretraining=True),
)
