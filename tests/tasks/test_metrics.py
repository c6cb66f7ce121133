from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.evaluate import metrics

scipy_stats = pytest.importorskip("scipy.stats")


def test_accuracy_and_macro_f1_by_hand():
    truth, answers = ["a", "a", "b", "c"], ["a", "b", "b", "d"]
    assert metrics.accuracy(truth, answers) == 0.5
    # a: one hit, true twice, answered once: 2/3. b: one hit, once, twice: 2/3. c and d: 0.
    assert metrics.macro_f1(truth, answers) == pytest.approx((2 / 3 + 2 / 3) / 4)


def test_multi_label_by_hand():
    truth, answers = [{"a", "b"}, {"a"}, set()], [{"a"}, {"a", "c"}, set()]
    assert metrics.micro_f1(truth, answers) == pytest.approx(2 * 2 / (3 + 3))
    assert metrics.multi_label_macro_f1(truth, answers) == pytest.approx((1 + 0 + 0) / 3)
    assert metrics.micro_f1([set()], [set()]) == 0


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30))
def test_correlations_are_scipys_with_ties_too(pairs):
    x, y = np.array(pairs, float).T
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(metrics.spearman(x, y))
        assert math.isnan(metrics.pearson(x, y))
    else:
        assert metrics.pearson(x, y) == pytest.approx(scipy_stats.pearsonr(x, y).statistic, abs=1e-9)
        assert metrics.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-9)


def test_rankings_by_hand():
    assert metrics.ndcg(np.array([3.0, 2, 1]), 10) == pytest.approx(1)
    # Gains 0, 1, 3 at ranks 1, 2, 3; the best order has 3 and 1 at ranks 1 and 2.
    wanted = (1 / math.log2(3) + 3 / math.log2(4)) / (3 + 1 / math.log2(3))
    assert metrics.ndcg(np.array([0.0, 1, 3]), 10) == pytest.approx(wanted)
    # Of two relevant documents only one can be among the first one.
    assert metrics.ndcg(np.array([0.0, 1, 1]), 1) == 0
    assert metrics.ndcg(np.array([1.0, 0, 1]), 1) == 1
    assert metrics.reciprocal_rank(np.array([0.0, 0, 2, 1])) == pytest.approx(1 / 3)
    assert metrics.reciprocal_rank(np.zeros(3)) == 0
