"""Compact forms of embedding tables: what they stand for, what they weigh, and that the engine reads them so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minibert.engine import Engine
from minibert.errors import InputError
from minibert.format import read_model, write_model
from minibert_converter.export import export
from minibert_converter.network import CodebookTable, Int4Table, Network, QuantizedTable
from minibert_converter.passes.embeddings.codebook import cluster, codebook_table, nearest
from minibert_converter.passes.embeddings.compress import count_words, parse_form, word_weights
from minibert_converter.passes.embeddings.int4 import int4_table
from minibert_converter.passes.embeddings.low_rank import low_rank
from minibert_converter.passes.embeddings.rotation import turned
from minibert_converter.passes.embeddings.sensitivity import metric_of
from minibert_converter.passes.embeddings.settling import settle
from minibert_converter.passes.embeddings.trial import Trial
from tests.checkpoints import CONFIG
from tests.converter.networks import (
    OTHER_TEXTS,
    TEXTS,
    answers,
    compress_embeddings,
    ids_of,
    noise_weights,
    quantize,
    read_network,
)

WORDS = "embeddings.word"


@pytest.fixture
def network(tmp_path) -> Network:
    return read_network(tmp_path / "checkpoint")


def table_of(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def relative(made: np.ndarray, table: np.ndarray) -> float:
    return float(np.linalg.norm(made - table) / np.linalg.norm(table))


# Four bits.


@pytest.mark.parametrize("columns", [16, 48, 384])
def test_int4_rows_are_within_half_a_step_of_their_group(columns):
    table = table_of(50, columns) * np.exp(np.random.default_rng(1).normal(0, 1, (50, 1))).astype(np.float32)
    small = int4_table(table)
    assert small.codes.min() >= -7
    assert small.codes.max() <= 7
    assert small.multiplier.min() >= 1
    assert small.multiplier.max() <= 18
    made = small.dequantized()
    steps = np.repeat(small.multiplier * small.scale[:, None], 32, axis=1)[:, :columns]
    inside = np.abs(table) <= 7 * steps
    assert (np.abs(made - table)[inside] <= 0.5001 * steps[inside]).all()
    assert inside.mean() > 0.9
    assert relative(made, table) < 0.11


def test_int4_multipliers_follow_the_size_of_groups():
    table = table_of(40, 96)
    table[:, 32:64] *= np.float32(0.1)
    one_step = (
        np.rint(table / np.abs(table).max(axis=1, keepdims=True) * 7) * np.abs(table).max(axis=1, keepdims=True) / 7
    )
    quiet = slice(32, 64)
    assert relative(int4_table(table).dequantized()[:, quiet], table[:, quiet]) < 0.2
    assert relative(one_step[:, quiet], table[:, quiet]) > 0.8


def test_int4_keeps_rows_of_zeros():
    table = table_of(3, 32)
    table[1] = 0
    assert not int4_table(table).dequantized()[1].any()


# Codebooks.


def test_as_many_different_subvectors_as_entries_are_found_again():
    book = np.random.default_rng(0).integers(-127, 128, (12, 256, 4)).astype(np.float32)
    book /= np.linalg.norm(book, axis=2, keepdims=True)
    rows = book[np.arange(12), np.random.default_rng(1).integers(0, 100, (3000, 12))].reshape(3000, 48)
    small = codebook_table(rows, 4, np.ones(3000), np.random.default_rng(0))
    assert relative(small.dequantized(), rows) < 0.15  # k-means may merge a few of the hundred


@pytest.mark.parametrize("size", [4, 8, 16])
def test_codebooks_lose_less_than_random_centres(size):
    table = table_of(2000, 48)
    small = codebook_table(table, size, np.ones(2000), np.random.default_rng(0))
    parts = table.reshape(2000, -1, size)
    chosen = np.random.default_rng(0).choice(2000, 256, replace=False)
    drawn = np.stack([part[chosen][nearest(part, part[chosen])] for part in parts.transpose(1, 0, 2)], axis=1)
    assert relative(small.dequantized(), table) < 0.95 * relative(drawn.reshape(table.shape), table)


def test_scales_are_the_best_for_their_codes():
    table = table_of(300, 16)
    small = codebook_table(table, 8, np.ones(300), np.random.default_rng(0))
    best = ((small.dequantized() - table) ** 2).sum(axis=1)
    for factor in (0.99, 1.01):
        other = replace(small, scale=small.scale * np.float32(factor)).dequantized()
        assert (((other - table) ** 2).sum(axis=1) >= best).all()


def test_rows_with_more_weight_lose_less():
    table = table_of(4000, 16)
    weights = np.where(np.arange(4000) < 200, 100.0, 0.1)
    heavy, even = (
        relative(codebook_table(table, 8, each, np.random.default_rng(0)).dequantized()[:200], table[:200])
        for each in (weights, np.ones(4000))
    )
    assert heavy < 0.6 * even


def test_more_rows_than_are_clustered(monkeypatch):
    monkeypatch.setattr("minibert_converter.passes.embeddings.codebook.MAX_ROWS", 500)
    table = table_of(3000, 16)
    few = codebook_table(table, 4, np.ones(3000), np.random.default_rng(0))
    assert len(few.codes) == 3000
    assert relative(few.dequantized(), table) < 0.5


def test_fewer_points_than_centres():
    points = table_of(5, 4)
    centres = cluster(points, np.ones(5), 256, np.random.default_rng(0))
    assert np.isfinite(centres).all()
    np.testing.assert_allclose(centres[nearest(points, centres)], points, atol=1e-6)


def test_codebook_of_zeros():
    assert (
        not codebook_table(np.zeros((300, 16), np.float32), 4, np.ones(300), np.random.default_rng(0))
        .dequantized()
        .any()
    )


# Codebooks of rows that are turned.


def metric(columns: int, seed: int = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((columns, 2 * columns)) * np.geomspace(3, 0.3, columns)[:, None]
    return noise @ noise.T / columns


def correlated(rows: int, columns: int) -> np.ndarray:
    return (table_of(rows, columns) * np.geomspace(4, 0.2, columns).astype(np.float32)) @ table_of(columns, columns, 1)


@pytest.mark.parametrize(("columns", "width"), [(32, 32), (40, 48)])
def test_turned_rows_come_back_and_their_distances_are_the_metrics(columns, width):
    table, measure = correlated(300, columns), metric(columns)
    rows, projection = turned(table, measure, 8, np.random.default_rng(5).random(300) + 0.1)
    assert rows.shape == (300, width)
    np.testing.assert_allclose(rows @ projection.weight.T + projection.bias, table, atol=2e-3)
    first, second = table[:100] - table[100:200], rows[:100] - rows[100:200]
    np.testing.assert_allclose(np.einsum("ij,jk,ik->i", first, measure, first), (second**2).sum(axis=1), rtol=1e-3)


def test_turned_rows_lose_less_by_their_metric():
    table, measure, weights = correlated(3000, 32), metric(32), np.ones(3000)
    rows, projection = turned(table, measure, 8, weights)
    made = codebook_table(rows, 8, weights, np.random.default_rng(0)).dequantized() @ projection.weight.T
    plain = codebook_table(table, 8, weights, np.random.default_rng(0)).dequantized()
    lost, before = (
        np.einsum("ij,jk,ik->", each - table, measure, each - table) for each in (made + projection.bias, plain)
    )
    assert lost < 0.6 * before


def test_words_near_used_ones_count_more():
    counts = np.zeros(5000)
    counts[:500:2], counts[4000] = 5, 1
    weights = word_weights(counts)
    assert weights[0] > weights[1] > weights[3000] > 0
    assert weights[4001] > weights[3000]


@pytest.fixture
def many_words(tmp_path) -> Network:
    """A network of so many words that the matrix that turns them back pays."""
    config, weights = noise_weights(hidden_size=16, num_attention_heads=2, vocab_size=200)
    return read_network(tmp_path / "many", config, weights)


def test_the_metric_knows_what_answers_depend_on(many_words):
    table = many_words.tables[WORDS]

    def seen() -> np.ndarray:
        texts, random = ids_of(many_words, TEXTS), np.random.default_rng(0)
        return metric_of(Trial(many_words), table, texts, np.ones(200), random)

    before = seen()
    np.testing.assert_allclose(before, before.T)
    assert np.linalg.eigvalsh(before).min() > 0
    assert np.trace(before) == pytest.approx(1.7, rel=1e-3)
    norm = many_words.norms["embeddings.norm"]
    many_words.norms["embeddings.norm"] = replace(
        norm, weight=norm.weight * np.eye(16, dtype=np.float32)[3] * 3 + norm.weight
    )
    assert seen()[3, 3] > 2 * before[3, 3]


def test_settled_words_lose_less(many_words):
    table, weights, random = many_words.tables[WORDS], np.ones(200), np.random.default_rng(0)
    rows, projection = turned(table, np.eye(16), 8, weights)
    made = codebook_table(rows, 8, np.arange(200) < 20, random)  # the others have no entries of their own
    trial = Trial(many_words)
    before, after = trial.frame
    wanted = trial.within(before, after, table)

    def lost() -> np.ndarray:
        back = made.dequantized() @ projection.weight.T + projection.bias
        return ((trial.within(before, after, back) - wanted) ** 2).sum(axis=1)

    at_first = lost()
    settle(trial, table, rows, made, projection, weights, random)
    assert lost().sum() < 0.9 * at_first.sum()


def test_words_are_turned_where_it_pays(many_words, network):
    compress_embeddings(many_words, "codebook:8", texts=TEXTS)
    assert many_words.architecture.word_size == 16
    assert isinstance(many_words.tables[WORDS], CodebookTable)
    compress_embeddings(network, "codebook:8", texts=TEXTS)
    assert network.architecture.word_size == 0
    quantize(many_words, form="int4", texts=TEXTS)
    config, _tensors = export(many_words)
    assert config.linears["embeddings.word_projection"].kind == "int4"


# Few dimensions.


def test_rows_of_a_low_rank_are_found_exactly():
    table = np.pad(table_of(200, 6) @ table_of(6, 40, 1) + table_of(1, 40, 2), ((0, 0), (0, 8)))
    words, projection = low_rank(table, 40, 6, np.random.default_rng(3).random(200) + 0.1)
    assert words.shape == (200, 16)
    assert projection.weight.shape == (40, 16)
    np.testing.assert_allclose(words @ projection.weight.T + projection.bias, table[:, :40], atol=1e-4)


def test_no_other_plane_is_nearer():
    table, weights = table_of(300, 16), np.random.default_rng(1).random(300)
    words, projection = low_rank(table, 16, 5, weights)
    lost = weights @ ((words @ projection.weight.T + projection.bias - table) ** 2).sum(axis=1)
    axes = projection.weight[:, :5]
    for seed in range(20):
        turned, _ = np.linalg.qr(axes + 0.05 * table_of(16, 5, seed))
        mean = projection.bias
        other = (table - mean) @ turned @ turned.T + mean
        assert weights @ ((other - table) ** 2).sum(axis=1) >= lost


# The pass.


@pytest.mark.parametrize("form", ["int8", "int4", "codebook", "codebook:8", "codebook:16", "low-rank:20"])
@pytest.mark.parametrize("quantized", [False, True])
def test_every_form_runs_in_the_engine_as_it_is_in_the_network(network, form, quantized, tmp_path):
    ids = ids_of(network, OTHER_TEXTS)
    tables = compress_embeddings(network, form, texts=TEXTS).details
    if quantized:
        quantize(network, texts=TEXTS)
    exact = Network(**{**vars(network), "tables": {name: _floats(table) for name, table in network.tables.items()}})
    np.testing.assert_allclose(answers(network, ids), answers(exact, ids), atol=0.1 if quantized else 1e-5)
    config, tensors = export(network)
    path = tmp_path / "model.safetensors"
    write_model(path, config, tensors)
    file = read_model(path)
    kind = parse_form(form).kind
    stored = {"low-rank": "int8" if quantized else "float32"}.get(kind, kind)
    assert file.config.tables[WORDS].kind == stored
    if kind != "low-rank":
        size = sum(tensor.nbytes for name, tensor in file.tensors.items() if name.startswith(f"{WORDS}."))
        assert tables[WORDS]["bytes_after"] == size
    np.testing.assert_allclose(
        Engine(file, threads=1).forward(ids), answers(network, ids), atol=1e-5 if quantized else 1e-4
    )


def _floats(table):
    return table if isinstance(table, np.ndarray) else table.dequantized()


def test_the_report_says_what_was_lost(network):
    before = network.tables[WORDS]
    tables = compress_embeddings(network, "int4", texts=TEXTS).details
    made = network.tables[WORDS]
    assert isinstance(made, Int4Table)
    assert isinstance(network.tables["embeddings.position"], Int4Table)
    assert isinstance(network.tables["embeddings.token_type"], np.ndarray)
    words = tables[WORDS]
    assert words["error"] == pytest.approx(relative(made.dequantized(), before), rel=1e-4)
    used = np.concatenate(ids_of(network, TEXTS))
    assert words["error_in_use"] == pytest.approx(relative(made.dequantized()[used], before[used]), rel=1e-4)
    assert words["bytes_before"] == before.nbytes
    assert words["form"] == "int4"
    assert tables["embeddings.position"]["error_in_use"] is None


def test_compact_tables_are_left_alone_by_quantize(network):
    compress_embeddings(network, "codebook", texts=TEXTS)
    before = dict(network.tables)
    quantize(network, texts=TEXTS)
    assert network.tables[WORDS] is before[WORDS]
    assert isinstance(network.tables[WORDS], CodebookTable)
    assert network.tables["embeddings.position"] is before["embeddings.position"]


def test_words_of_a_low_rank_may_be_rounded_further(network):
    compress_embeddings(network, "low-rank:20", texts=TEXTS)
    compress_embeddings(network, "int4", texts=TEXTS)
    assert network.architecture.word_size == 20
    assert isinstance(network.tables[WORDS], Int4Table)
    quantize(network, texts=TEXTS)
    assert answers(network, ids_of(network, OTHER_TEXTS)).shape[0] == len(OTHER_TEXTS)
    with pytest.raises(InputError, match="20 dimensions before"):
        compress_embeddings(network, "low-rank:8", texts=TEXTS)


def test_tables_in_int8_may_become_smaller_still(network):
    compress_embeddings(network, "int8", texts=TEXTS)
    assert isinstance(network.tables[WORDS], QuantizedTable)
    compress_embeddings(network, "codebook:8", texts=TEXTS)
    assert isinstance(network.tables[WORDS], CodebookTable)


def test_the_same_seed_gives_the_same_bytes(network):
    table = dict(network.tables)
    made = []
    for seed in (3, 3, 4):
        network.tables = dict(table)
        compress_embeddings(network, "codebook", texts=TEXTS, seed=seed)
        made.append(network.tables[WORDS])
    for part in ("codes", "codebook", "scale"):
        np.testing.assert_array_equal(getattr(made[0], part), getattr(made[1], part))
    assert not np.array_equal(made[0].codebook, made[2].codebook)


def test_words_are_counted(network):
    counts = count_words(network, TEXTS)
    assert counts.shape == (CONFIG["vocab_size"],)
    assert counts.sum() == sum(map(len, ids_of(network, TEXTS)))


@pytest.mark.parametrize(
    "form",
    [
        "",
        "int2",
        "int4:3",
        "codebook:5",
        "codebook:",
        "low-rank",
        "low-rank:0",
        "low-rank:-8",
        "low-rank:²",
        "9" * 5000,
    ],
)
def test_forms_that_are_none(form):
    with pytest.raises(InputError, match="low-rank:DIMENSIONS"):
        parse_form(form)


def test_a_rank_that_is_no_lower(network):
    with pytest.raises(InputError, match="not fewer dimensions"):
        compress_embeddings(network, f"low-rank:{network.architecture.hidden_size}", texts=TEXTS)


def test_words_that_are_the_decoder_too(network):
    tied = Network(**{**vars(network), "tables": {k: v for k, v in network.tables.items() if k != WORDS}})
    with pytest.raises(InputError, match="decoder"):
        compress_embeddings(tied, "int4", texts=TEXTS)
    assert list(compress_embeddings(tied, "int8", texts=TEXTS).errors) == ["embeddings.position"]
