"""How good a model's answers are on data whose answers are known: one file for each kind of answer."""

from minibert.evaluate.labels import evaluate, evaluate_zero_shot
from minibert.evaluate.ranking import evaluate_ranking
from minibert.evaluate.tokens import evaluate_answers, evaluate_entities, evaluate_masks

__all__ = [
    "evaluate",
    "evaluate_answers",
    "evaluate_entities",
    "evaluate_masks",
    "evaluate_ranking",
    "evaluate_zero_shot",
]
