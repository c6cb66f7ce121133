"""The parts of pruning by themselves: requests, blocks and their scores, what goes first, least squares."""

from __future__ import annotations

import numpy as np
import pytest

from minibert.errors import InputError
from minibert_converter.calibration.regression import damping_of
from minibert_converter.passes.prune.blocks import LEAST_OF_SHARE, block_density, cut, select, spread
from minibert_converter.passes.prune.moments import Moments
from minibert_converter.passes.prune.request import parse_request, parse_requests
from minibert_converter.passes.prune.scores import magnitude_scores, second_order_scores
from minibert_converter.passes.prune.structured import (
    Removal,
    allocate,
    removal_by_magnitude,
    removal_by_moments,
    survivors,
)

random = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4x4:0.8", ("blocks", 0.8, 4, 4, 0, ())),
        (" 1X4 : .5", ("blocks", 0.5, 1, 4, 0, ())),
        ("unstructured:0.5", ("blocks", 0.5, 1, 1, 0, ())),
        ("32x32:0.25", ("blocks", 0.25, 32, 32, 0, ())),
        ("heads:0.33", ("heads", 0.33, 1, 1, 0, ())),
        ("ffn:0.5", ("ffn", 0.5, 1, 1, 0, ())),
        ("layers:2", ("layers", 0.0, 1, 1, 2, ())),
        ("layers:0.5", ("layers", 0.5, 1, 1, 0, ())),
        ("layers:3,1,1", ("layers", 0.0, 1, 1, 0, (1, 3))),
        ("layers:0,", ("layers", 0.0, 1, 1, 0, (0,))),
    ],
)
def test_requests(text, expected):
    request = parse_request(text)
    found = (request.kind, request.amount, request.rows, request.columns, request.count, request.numbers)
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4x4", "how much"),
        ("4x4:", "how much"),
        ("", "how much"),
        ("4x4:0", "above 0 and below 1"),
        ("4x4:1", "above 0 and below 1"),
        ("4x4:-0.5", "above 0 and below 1"),
        ("4x4:nan", "above 0 and below 1"),
        ("4x4:half", "above 0 and below 1"),
        ("4x4:80", "write 0.8"),
        ("heads:3", "write 0.03"),
        ("5x4:0.5", "sides of a block"),
        ("4x0:0.5", "sides of a block"),
        ("neurons:0.5", "neurons"),
        ("layers:0", "above 0 and below 1"),
        ("layers:,", "numbers from 0"),
        ("layers:1,two", "numbers from 0"),
        ("layers:1,-1", "numbers from 0"),
        ("layers:\u0662", "above 0 and below 1"),
        (0.5, "0.5"),
    ],
)
def test_requests_that_make_no_sense(text, message):
    with pytest.raises(InputError, match=message):
        parse_request(text)


def test_each_kind_is_asked_for_once():
    assert [request.kind for request in parse_requests(["heads:0.3", "4x4:0.5"])] == ["heads", "blocks"]
    with pytest.raises(InputError, match=r"1x4:0\.2.*4x4:0\.5"):
        parse_requests(["4x4:0.5", "1x4:0.2"])


@pytest.mark.parametrize("shape", [(16, 32), (10, 33), (3, 5)])
@pytest.mark.parametrize("sides", [(4, 4), (1, 4), (4, 1), (16, 1), (32, 32), (1, 1)])
def test_cut_and_spread(shape, sides):
    weight = random.standard_normal(shape)
    blocks = cut(weight, *sides)
    rows, columns = sides
    for down in range(blocks.shape[0]):
        for across in range(blocks.shape[1]):
            part = weight[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]
            np.testing.assert_array_equal(blocks[down, across, : part.shape[0], : part.shape[1]], part)
    assert np.square(blocks).sum() == pytest.approx(np.square(weight).sum())
    one = spread(np.arange(blocks.shape[0] * blocks.shape[1]).reshape(blocks.shape[:2]), *sides, shape)
    assert one.shape == shape
    assert one[-1, -1] == blocks.shape[0] * blocks.shape[1] - 1
    assert one[0, min(columns, shape[1] - 1)] == (1 if columns < shape[1] else 0)


def test_density_leaves_padding_out():
    weight, real = np.zeros((8, 16)), np.zeros((8, 16), bool)
    real[:, :10] = True
    weight[0, 0] = weight[7, 9] = 1
    assert block_density(weight, real) == pytest.approx(2 / 6)
    assert block_density(weight, real, 8, 16) == 1
    assert block_density(weight * 0, real) == 0


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (1, 4), (8, 1), (1, 1), (32, 32)])
def test_second_order_scores_are_losses_after_the_best_fit_in_the_best_order(rows, columns):
    """A slow twin that fits what is left anew for every block that might go next."""
    out, inputs, tokens = 40, 36, 60
    weight = random.standard_normal((out, inputs)).astype(np.float32)
    x = random.standard_normal((tokens, inputs)) @ random.standard_normal((inputs, inputs)) + 0.5
    g = random.standard_normal((tokens, out))
    H, G = x.T @ x / tokens, g.T @ g / tokens
    corners = np.stack([G[i : i + rows, i : i + rows] for i in range(0, out - rows + 1, rows)])
    if out % rows:
        corners = np.concatenate([corners, np.zeros((1, rows, rows))])
        corners[-1, : out % rows, : out % rows] = G[-(out % rows) :, -(out % rows) :]
    scores = second_order_scores(weight, H, corners, columns)
    assert scores.shape == (-(-out // rows), -(-inputs // columns))
    H += 0.01 * np.diag(H).mean() * np.eye(inputs)
    for down in {0, scores.shape[0] // 2, scores.shape[0] - 1}:
        band = slice(down * rows, (down + 1) * rows)
        gone, loss, highest, left = np.zeros(inputs, bool), 0.0, 0.0, list(range(scores.shape[1]))
        while left:
            also = {j: gone | (np.arange(inputs) // columns == j) for j in left}
            losses = {
                j: loss_after(weight[band].astype(float), H, G[band, band], np.flatnonzero(~mask))
                for j, mask in also.items()
            }
            best = min(left, key=losses.__getitem__)
            highest = max(highest, losses[best] - loss)
            assert scores[down, best] == pytest.approx(highest, rel=5e-3)
            gone, loss = also[best], losses[best]
            left.remove(best)


def test_long_rows_are_gone_through_in_parts(monkeypatch):
    """Inputs of another part stay where they are."""
    monkeypatch.setattr("minibert_converter.passes.prune.scores._INPUTS", 16)
    monkeypatch.setattr("minibert_converter.passes.prune.scores.damping_of", lambda moments: damping_of(moments, 1e-9))
    weight = random.standard_normal((100, 40)).astype(np.float32)
    x, g = random.standard_normal((100, 40)), random.standard_normal((50, 4))
    H, G = x.T @ x / 100 + np.eye(40), np.stack([g.T @ g / 50] * 25)
    whole = second_order_scores(weight, H, G, 4)
    for blocks in (slice(0, 4), slice(4, 8), slice(8, 10)):
        inputs = slice(4 * blocks.start, 4 * blocks.stop)
        alone = second_order_scores(weight[:, inputs], H[inputs, inputs], G, 4)
        np.testing.assert_allclose(whole[:, blocks], alone, rtol=1e-3)


def test_moments_about_the_mean():
    x, dy = random.standard_normal((50, 6)).astype(np.float32) + 3, np.ones((50, 2), np.float32)
    moments = Moments(1, 4)
    moments.add(x, dy)
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(moments.covariances[0], (centred.T @ centred / 50)[:4, :4], rtol=1e-3, atol=1e-4)
    assert moments.covariances.shape == (2, 4, 4)
    assert not moments.covariances[1, 2:].any()


def test_select_per_matrix_removes_the_lowest():
    scores = {"a": random.random((6, 5)), "b": random.random((4, 4)) * 100}
    real = {name: np.ones(values.shape, bool) for name, values in scores.items()}
    kept = select(scores, real, 0.5, "matrix")
    assert kept["a"].sum() == 15
    assert kept["b"].sum() == 8
    for name, mask in kept.items():
        assert scores[name][mask].min() > scores[name][~mask].max()


def test_select_global_leaves_every_matrix_something():
    scores = {"a": random.random((20, 20)), "b": random.random((20, 20)) + 1}
    real = {name: np.ones((20, 20), bool) for name in scores}
    kept = select(scores, real, 0.5, "global")
    assert sum(mask.sum() for mask in kept.values()) == 400
    assert kept["a"].sum() == round(0.5 * LEAST_OF_SHARE * 400)
    assert scores["a"][kept["a"]].min() > scores["a"][~kept["a"]].max()


def test_select_counts_no_padding_and_takes_zeros_first():
    scores = {"a": np.arange(16.0).reshape(4, 4) + 1}
    real = {"a": np.ones((4, 4), bool)}
    real["a"][:, 3] = False
    scores["a"][1:3, :3] = 0
    for budget in ("matrix", "global"):
        kept = select(scores, real, 0.5, budget)["a"]
        np.testing.assert_array_equal(kept[1:3], False)
        assert not kept[:, 3].any()
        assert kept.sum() == 6
    assert select(scores, real, 0.999, "matrix")["a"].sum() == 1


def test_magnitude_scores():
    weight = random.standard_normal((8, 8)).astype(np.float32)
    np.testing.assert_allclose(magnitude_scores(weight, 4, 4)[1, 0], np.square(weight[4:, :4]).sum(), rtol=1e-6)


def loss_after(weight, H, G, kept):
    """What is left after the best fit of the columns that are kept."""
    fitted = weight @ H[:, kept] @ np.linalg.inv(H[np.ix_(kept, kept)])
    lost = weight.copy()
    lost[:, kept] -= fitted
    return np.trace(G @ lost @ H @ lost.T) / 2


@pytest.mark.parametrize(("width", "step"), [(1, 1), (1, 4), (3, 1)])
def test_losses_of_removal_are_those_after_the_best_fit(width, step):
    units = 18 // width
    x = random.standard_normal((200, 18)) @ random.standard_normal((18, 18))
    g = random.standard_normal((100, 7))
    weight = random.standard_normal((7, 18)).astype(np.float32)
    H, G = x.T @ x / 200, g.T @ g / 100
    removal = removal_by_moments(weight, H, G, np.arange(18).reshape(units, width), step)
    H = H + 0.01 * np.diag(H).mean() * np.eye(18)
    assert (np.diff(removal.losses) > 0).all()
    assert removal.sizes.sum() == units - step
    for steps in range(1, len(removal.groups) + 1):
        kept = survivors(removal, units, steps)
        columns = np.arange(18).reshape(units, width)[kept].ravel()
        assert removal.losses[steps - 1] == pytest.approx(loss_after(weight.astype(float), H, G, columns), rel=1e-4)
    if step == 1:  # the first to go is the cheapest of all
        each = [np.delete(np.arange(18).reshape(units, width), unit, axis=0).ravel() for unit in range(units)]
        best = min(range(units), key=lambda unit: loss_after(weight.astype(float), H, G, each[unit]))
        assert removal.groups[0].tolist() == [best]


def test_a_copied_column_goes_first_and_costs_nothing():
    x = random.standard_normal((500, 8))
    x[:, 5] = x[:, 2]
    weight = random.standard_normal((4, 8)).astype(np.float32) * 100
    removal = removal_by_moments(weight, x.T @ x / 500, np.eye(4), np.arange(8)[:, None], 1)
    assert removal.groups[0][0] in (2, 5)
    assert removal.losses[0] < 0.2 * removal.losses[1]


def test_removal_by_magnitude():
    removal = removal_by_magnitude(np.array([5.0, 1, 4, 2, 3]), 2)
    assert [group.tolist() for group in removal.groups] == [[1], [3, 4]]
    assert removal.losses.tolist() == [1, 6]
    assert survivors(removal, 5, 1).tolist() == [0, 2, 3, 4]


def test_allocation_is_the_best_of_all():
    removals = []
    for _ in range(3):
        losses = np.cumsum(random.random(9))
        removals.append(Removal(tuple(np.array([i]) for i in range(9)), losses, np.ones(9, int)))
    taken = allocate(removals, [10, 10, 10], 0.4, "global")
    assert sum(taken) == 12
    most = int((1 - LEAST_OF_SHARE * 0.6) * 10)

    def loss(steps):
        return sum(removal.losses[count - 1] if count else 0 for removal, count in zip(removals, steps, strict=True))

    every = [(a, b, 12 - a - b) for a in range(most + 1) for b in range(most + 1) if 0 <= 12 - a - b <= most]
    assert loss(taken) == pytest.approx(min(map(loss, every)))
    assert allocate(removals, [10, 10, 10], 0.4, "matrix") == [4, 4, 4]
    assert allocate(removals, [10, 10, 10], 0.99, "global") == [9, 9, 9]
    assert allocate(removals, [10, 10, 10], 0.99, "matrix") == [9, 9, 9]


def test_allocation_of_panels_with_a_remainder():
    """100 neurons: 4 go first, then 16 at a time."""
    removal = removal_by_magnitude(np.arange(100.0), 16)
    assert removal.sizes.tolist() == [4, 16, 16, 16, 16, 16]
    for budget in ("global", "matrix"):
        steps = allocate([removal, removal], [100, 100], 0.5, budget)
        left = [len(survivors(removal, 100, count)) for count in steps]
        assert sum(left) in (96, 100 - 4)
        assert all(size % 16 == 0 for size in left)
