"""Distillation: the torch student is the engine's network, learns, prunes, goes on where it was stopped."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import minibert  # noqa: E402
from minibert.cli.main import main  # noqa: E402
from minibert.errors import InputError, UnsupportedError  # noqa: E402
from minibert.format import read_model  # noqa: E402
from minibert.reference import Reference  # noqa: E402
from minibert.reference.functions import quantize as reference_codes  # noqa: E402
from minibert.reference.linear import integer_product  # noqa: E402
from minibert.text.library_tokenizer import LibraryTokenizer  # noqa: E402
from minibert.text.tokenizer import TextSettings  # noqa: E402
from minibert_converter.calibration.tokens import tokenizer_of  # noqa: E402
from minibert_converter.distill.batches import Batch, plan_epoch  # noqa: E402
from minibert_converter.distill.dataset import NO_LABEL, Examples, make_dataset  # noqa: E402
from minibert_converter.distill.distill import Watcher, answer_ahead, distill  # noqa: E402
from minibert_converter.distill.fake_quantization import linear_int8, row_codes, weight_codes  # noqa: E402
from minibert_converter.distill.losses import relations  # noqa: E402
from minibert_converter.distill.sharing import share_layers  # noqa: E402
from minibert_converter.distill.student import TorchNetwork  # noqa: E402
from minibert_converter.distill.training import Training  # noqa: E402
from minibert_converter.distill.variation import neighbours, varied, with_copies  # noqa: E402
from minibert_converter.export import export  # noqa: E402
from minibert_converter.passes.distillation import Distill, Loss  # noqa: E402
from minibert_converter.passes.quantize.rounding import round_to_nearest  # noqa: E402
from minibert_converter.recipe import Recipe  # noqa: E402
from tests.checkpoints import CONFIG, bert_weights, write_checkpoint  # noqa: E402
from tests.converter.networks import (  # noqa: E402
    MANY_TEXTS,
    answers,
    compress_embeddings,
    ids_of,
    noise_weights,
    prune,
    quantize,
    read_network,
    some_ids,
)

SHORT = MANY_TEXTS[:48]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    assert not torch.are_deterministic_algorithms_enabled()  # a training puts things back
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "checkpoint")


def packed(ids) -> Batch:
    return Batch.of(ids, [[0] * len(one) for one in ids], "cpu")


def forward(module: TorchNetwork, ids) -> np.ndarray:
    with torch.no_grad():
        return module(packed(ids)).output.numpy()


def recipe(*, ahead=(), **keys) -> Recipe:
    distilling = {"distill": 2, "batch_size": 8, "learning_rate": 1e-3, **keys}
    return Recipe.from_json({"pass": [*ahead, distilling]})


# The same network.


def test_float_answers_are_those_of_the_engine(tmp_path):
    network = read_network(tmp_path / "plain")
    ids = some_ids()
    np.testing.assert_allclose(forward(TorchNetwork(network), ids), answers(network, ids), atol=2e-5)


@pytest.mark.parametrize("shape", ["structured", "shared", "narrow tables"])
def test_float_answers_of_other_shapes(tmp_path, shape):
    config, weights = noise_weights()
    network = read_network(tmp_path / "made", config, weights)
    if shape == "structured":
        prune(network, ["heads:0.3", "ffn:0.4"], texts=MANY_TEXTS)
    elif shape == "shared":
        share_layers(network, "1x2")
        assert set(network.aliases) == {f"layers.1.{part}" for part in ("attention.qkv", "attention.output")} | {
            "layers.1.ffn.up",
            "layers.1.ffn.down",
        }
    else:
        network.architecture = replace(network.architecture, embedding_size=32)
        network.tables = {name: np.ascontiguousarray(table[:, :32]) for name, table in network.tables.items()}
        norm = network.norms["embeddings.norm"]
        network.norms["embeddings.norm"] = replace(norm, weight=norm.weight[:32], bias=norm.bias[:32])
        noise = np.random.RandomState(0).standard_normal((96, 32)).astype(np.float32)
        network.linears["embeddings.projection"] = replace(
            network.linears["layers.0.ffn.down"], weight=noise, bias=np.zeros(96, np.float32)
        )
    ids = some_ids()
    np.testing.assert_allclose(forward(TorchNetwork(network), ids), answers(network, ids), atol=5e-5)


def test_a_written_back_network_is_the_same(tmp_path):
    network = read_network(tmp_path / "plain")
    again = TorchNetwork(network).write_to(network)
    for name, linear in network.linears.items():
        np.testing.assert_array_equal(again.linears[name].weight, linear.weight)
        np.testing.assert_array_equal(again.linears[name].bias, linear.bias)
    for name, table in network.tables.items():
        np.testing.assert_array_equal(again.tables[name], table)
    for name, norm in network.norms.items():
        np.testing.assert_array_equal(again.norms[name].weight, norm.weight)


def test_embeddings_of_sentences(tmp_path):
    """Mean pooling and unit length; pairs are taken apart, and scores of pairs are no labels of sentences."""
    config = {**CONFIG, "architectures": ["BertModel"]}
    network = read_network(tmp_path / "plain", config, bert_weights(config, None), "sentence-embedding")
    network.architecture = replace(network.architecture, pooling="mean", normalize=True)
    ids = some_ids()
    np.testing.assert_allclose(forward(TorchNetwork(network), ids), answers(network, ids), atol=2e-5)
    dataset = make_dataset(Examples([("a good movie", "the bank"), ("the bank", "no")], ["4", "1"]), network, network)
    assert len(dataset.ids) == 3
    assert dataset.labels is None


# The same integers.


def test_integers_of_a_matmul_are_those_of_the_engine():
    random = np.random.default_rng(3)
    x = random.standard_normal((20, 96)).astype(np.float32) * random.lognormal(0, 1, 96).astype(np.float32)
    x[4], x[5:10] = 0, np.round(4 * x[5:10]) / 2  # halves of a step, if its size is a power of two
    x[10:15] = np.abs(x[10:15])
    weight, bias = random.standard_normal((50, 96)).astype(np.float32), random.standard_normal(50).astype(np.float32)
    weight[7] = 0
    codes, steps, zeros = reference_codes(x, None)
    codes -= zeros[:, None]
    own, own_steps = row_codes(torch.tensor(x))
    np.testing.assert_array_equal(own.numpy(), codes)
    np.testing.assert_array_equal(own_steps.numpy()[:, 0], steps)
    weights, scales = round_to_nearest(weight)
    own_weights, own_scales = weight_codes(torch.tensor(weight))
    np.testing.assert_array_equal(own_weights.numpy(), weights)
    np.testing.assert_array_equal(own_scales.numpy()[:, 0], scales)
    sums = (own @ own_weights.T).numpy()
    np.testing.assert_array_equal(sums, integer_product(codes, weights))
    expected = (integer_product(codes, weights).astype(np.float32) * steps[:, None]) * scales + bias
    got = linear_int8(torch.tensor(x), torch.tensor(weight), torch.tensor(bias))
    np.testing.assert_array_equal(got.numpy(), expected)


def test_rounding_is_the_identity_for_gradients():
    x = torch.randn(6, 32, requires_grad=True)
    weight = torch.randn(10, 32, requires_grad=True)
    target = torch.randn(6, 10)
    (linear_int8(x, weight, torch.zeros(10)) * target).sum().backward()
    codes, scales = weight_codes(weight.detach())
    torch.testing.assert_close(x.grad, target @ (codes * scales))
    codes, scales = row_codes(x.detach())
    torch.testing.assert_close(weight.grad, target.T @ (codes * scales))


def test_int8_answers_are_those_of_the_engine(tmp_path):
    network = read_network(tmp_path / "plain")
    ids = some_ids([2, 3, 4] * 16)
    module = TorchNetwork(network)
    plain = forward(module, ids)
    module.int8 = True
    own = forward(module, ids)
    quantized = module.write_to(network)
    quantize(quantized, method="nearest")
    engine = Reference(*export(quantized)).forward(ids)
    # Float32 sums in another order now and then fall on the other side of a half: then one code differs, else nothing.
    # The layers of a random network make much of a code; without one that differs, nothing is left but the sums.
    assert np.square(own - engine).mean() < 0.5 * np.square(engine - plain).mean()
    same = np.abs(own - engine).max(axis=1) < 1e-5
    assert same.sum() >= 8
    assert (np.abs(plain - engine).max(axis=1) < 1e-3).sum() == 0


# Batches and losses.


def test_packing_and_back():
    batch = packed([[5, 6, 7], [8], [9, 10]])
    rows = torch.arange(6.0)[:, None] + 1
    rectangle = batch.spread(rows)
    assert rectangle[..., 0].tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    assert torch.equal(batch.gather(rectangle), rows)
    assert batch.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert batch.pool(rows, "cls")[:, 0].tolist() == [1, 4, 5]
    assert batch.pool(rows, "last")[:, 0].tolist() == [3, 4, 6]
    assert batch.pool(rows, "mean")[:, 0].tolist() == [2, 4, 5.5]
    assert batch.pool(-rows, "max")[:, 0].tolist() == [-1, -4, -5]
    assert batch.pool(rows, "weighted_mean")[:, 0].tolist() == pytest.approx([14 / 6, 4, 17 / 3])
    assert batch.pool(rows, "mean_sqrt_length")[:, 0].tolist() == pytest.approx([6 / 3**0.5, 4, 11 / 2**0.5])


def test_an_epoch_reads_every_text_once():
    lengths = np.random.default_rng(0).integers(1, 60, 1000).tolist()
    batches = plan_epoch(lengths, 16, seed=4)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert [len(one) for one in batches].count(16) >= 61
    spread = np.mean([np.ptp([lengths[i] for i in one]) for one in batches])
    assert spread < 8
    assert [one.tolist() for one in plan_epoch(lengths, 16, seed=4)] == [one.tolist() for one in batches]
    assert [one.tolist() for one in plan_epoch(lengths, 16, seed=5)] != [one.tolist() for one in batches]


def test_relations_compare_models_of_different_width():
    batch = packed([[1] * 5, [1] * 3])
    wide, narrow = torch.randn(3, 8, 48), torch.randn(3, 8, 24)
    assert relations(wide, wide, batch, 4).item() == pytest.approx(0, abs=1e-6)
    assert relations(narrow, wide, batch, 4).item() > 0.01
    # By hand, for one text, one head and queries alone.
    one = packed([[1] * 4])
    a, b = torch.randn(1, 4, 6), torch.randn(1, 4, 6)
    p, q = ((x[0] @ x[0].T / 6**0.5).softmax(-1) for x in (b, a))
    assert relations(a, b, one, 1).item() == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-4)


def test_labels_of_tokens_stand_where_words_begin(tmp_path):
    config = {**CONFIG, "architectures": ["BertForTokenClassification"]}
    config["id2label"] = {"0": "O", "1": "B-x", "2": "I-x"}
    weights = noise_weights()[1]
    network = read_network(tmp_path / "tags", config, {k: v for k, v in weights.items() if "pooler" not in k})
    examples = Examples(["the qq movie"], [("O", "B-x", "I-x")])
    dataset = make_dataset(examples, network, network)
    assert dataset.labels[0].tolist() == [NO_LABEL, 0, 1, NO_LABEL, 2, NO_LABEL]
    with pytest.raises(InputError, match="'B-y' is no label"):
        make_dataset(Examples(["the"], [("B-y",)]), network, network)


def test_a_smaller_vocabulary_spells_what_it_has_no_word_for(tmp_path):
    teacher = read_network(tmp_path / "teacher")
    student = read_network(tmp_path / "student", *noise_weights(vocab_size=150))
    dataset = make_dataset(Examples(["the good movie", "the use", "the bank"]), student, teacher)
    names = [LibraryTokenizer(one.tokenizer_json, TextSettings(48)) for one in (student, teacher)]
    own, others = (
        [[name.token(i) for i in row] for row in ids]
        for name, ids in zip(names, (dataset.ids, dataset.teacher_ids), strict=True)
    )
    assert others == [["[CLS]", "the", *rest, "[SEP]"] for rest in (["good", "movie"], ["use"], ["bank"])]
    assert own == [others[0], ["[CLS]", "the", "u", "##s", "##e", "[SEP]"], others[2]]
    assert dataset.aligned.tolist() == [True, False, True]


def test_tags_are_learned_from_texts_that_both_cut_alone(tmp_path):
    config = {**CONFIG, "architectures": ["BertForTokenClassification"]}
    config["id2label"] = {"0": "O", "1": "B-x", "2": "I-x"}
    weights = {name: each for name, each in noise_weights()[1].items() if "pooler" not in name}
    teacher = read_network(tmp_path / "teacher", config, weights)
    fewer = noise_weights(vocab_size=150)[1]
    student = read_network(
        tmp_path / "student",
        {**config, "vocab_size": 150},
        {name: each for name, each in fewer.items() if "pooler" not in name},
    )
    dataset = make_dataset(Examples(["the good movie", "the use"], [("O", "O", "B-x"), None]), student, teacher)
    assert dataset.usable.tolist() == [0]
    assert dataset.labels[0].tolist() == [NO_LABEL, 0, 0, 1, NO_LABEL]
    assert set(dataset.labels[1].tolist()) == {NO_LABEL}
    training = Training(teacher, student, (0, 1), dataset, Distill(distill=3, batch_size=1))
    assert (training.texts, training.steps) == (1, 3)
    with pytest.raises(InputError, match="at least one text"):
        make_dataset(Examples(["the use"]), student, teacher)


def test_hidden_states_of_a_text_that_is_spelled_are_not_compared(tmp_path):
    """Losses of a batch are those of its shared texts, and of the outputs of all."""
    teacher = read_network(tmp_path / "teacher")
    student = read_network(tmp_path / "student", *noise_weights(vocab_size=150))
    losses = {}
    for name, texts in (("shared", ["the good movie"]), ("both", ["the good movie", "the use"]), ("none", ["the use"])):
        dataset = make_dataset(Examples(texts), student, teacher)
        for part in ("hidden", "relations"):
            settings = Distill(distill=1, loss=Loss(logits=0, **{part: 1.0}))
            training = Training(teacher, student, (0, 1), dataset, settings)
            losses[name, part] = training._learn(np.arange(len(texts)), False) if name != "none" else 0.0
            if name == "none":
                with pytest.raises(RuntimeError, match="does not require grad"):  # there is nothing to learn from
                    training._learn(np.arange(1), False)
    for part in ("hidden", "relations"):
        assert losses["both", part] == pytest.approx(losses["shared", part], rel=1e-4) != 0


# Varied copies.


def test_copies_are_varied_and_have_no_labels(tmp_path):
    network = read_network(tmp_path / "teacher")
    examples = Examples(list(SHORT), ["0"] * len(SHORT))
    more = with_copies(examples, 2, network, seed=1)
    assert len(more.texts) == len(more.labels) == 3 * len(SHORT)
    assert list(more.texts[: len(SHORT)]) == list(SHORT)
    assert list(more.labels[len(SHORT) :]) == [None] * 2 * len(SHORT)
    assert sum(copy != text for copy, text in zip(more.texts[len(SHORT) :], SHORT * 2, strict=True)) > len(SHORT)
    assert all(copy.strip() for copy in more.texts)
    assert with_copies(examples, 2, network, seed=1) == more
    assert with_copies(examples, 0, network, seed=1) is examples
    dataset = make_dataset(more, network, network)
    assert [row.item() for row in dataset.labels] == [0] * len(SHORT) + [NO_LABEL] * 2 * len(SHORT)


def test_neighbours_are_words_of_like_vectors(tmp_path):
    network = read_network(tmp_path / "teacher")
    words = ["the", "good", "movie", "bank", "house", "river"]
    table = network.tables["embeddings.word"] = network.tables["embeddings.word"].copy()
    ids = {word: tokenizer_of(network).content(word).ids[0] for word in words}
    table[ids["movie"]] = 2 * table[ids["river"]]
    near = neighbours(network, [*words, "unheard-of"])
    assert set(near) == set(words)
    assert near["movie"][0] == "river"
    assert all(word not in others for word, others in near.items())


def test_a_text_without_words_stays():
    assert varied("?!", random.Random(0), {}, ["any"]) == "?!"
    assert varied("", random.Random(0), {}, []) == ""


def test_what_the_teacher_answered_ahead_is_not_asked_again(folder, tmp_path):
    cache, stages = tmp_path / "answers", []
    answer_ahead(folder, Examples(SHORT), 1, cache, seed=5, threads=1)
    asked = Recipe.from_json({**recipe(copies=1, loss={"hidden": 1.0}).to_json(), "seed": 5})
    watcher = Watcher(stage=lambda stage, done, total: stages.append(stage))
    distill(folder, Examples(SHORT), tmp_path / "student", asked, cache=cache, threads=1, watcher=watcher)
    assert "running the teacher" not in stages
    other = Recipe.from_json({**asked.to_json(), "seed": 6})  # other copies
    distill(folder, Examples(SHORT), tmp_path / "other", other, cache=cache, threads=1, watcher=watcher)
    assert "running the teacher" in stages


def test_as_many_passes_as_a_time_allows(folder, tmp_path):
    out = tmp_path / "student.safetensors"
    report, _ = distill(folder, Examples(SHORT), out, recipe(), seconds=1.0, threads=1)
    (said,) = [one for one in read_model(out).config.recipe["pass"] if "distill" in one]
    assert said["distill"] != 2
    steps = report.passes[0].outcome.details["steps"]
    assert steps == max(round(said["distill"] * len(SHORT) / 8), 1)
    # The recipe that the file has makes the same file.
    again = tmp_path / "again.safetensors"
    distill(folder, Examples(SHORT), again, Recipe.from_json(dict(read_model(out).config.recipe)), threads=1)
    assert again.read_bytes() == out.read_bytes()


# Training.


def test_a_student_with_half_of_its_blocks_learns_its_teachers_answers(folder, tmp_path):
    teacher = minibert.load(_convert(folder, tmp_path))
    asked = recipe(
        distill=12,
        learning_rate=3e-3,
        loss={"logits": 1.0, "hidden": 1.0},
        blocks={"sparsity": 0.5, "every": 2},
        int8_from=0.5,
    )
    lines = []
    watcher = Watcher(moment=lambda now: lines.append(now))
    report, _ = distill(folder, Examples(MANY_TEXTS), tmp_path / "student", asked, threads=1, watcher=watcher)
    assert lines[-1].step == lines[-1].steps == 12 * 15
    assert lines[-1].density == pytest.approx(0.5, abs=0.01)
    student = minibert.load(tmp_path / "student")
    ids = ids_of(read_network(tmp_path / "again"), MANY_TEXTS)
    wanted, got = teacher.forward(ids), student.forward(ids)
    # The same blocks taken out in one shot, by magnitude, and nothing learned.
    crude = read_network(tmp_path / "crude")
    prune(crude, ["4x4:0.5"], method="magnitude", texts=MANY_TEXTS)
    quantize(crude, texts=MANY_TEXTS)
    assert np.square(got - wanted).mean() < 0.5 * np.square(Reference(*export(crude)).forward(ids) - wanted).mean()
    linears = read_model(tmp_path / "student").config.linears
    blocks = [one for name, one in linears.items() if name.startswith("layers.")]
    assert all(one.kind == "int8-4x4" for one in blocks if one.density < 0.6)
    assert sum(one.blocks for one in blocks) / sum(one.all_blocks for one in blocks) < 0.55
    assert report.passes[0].outcome.details["steps"] == 12 * 15
    assert read_model(tmp_path / "student").config.recipe["pass"][0]["blocks"] == {"sparsity": 0.5, "every": 2}


def test_a_killed_training_goes_on_to_the_same_bytes(folder, tmp_path):
    asked = recipe(blocks={"sparsity": 0.5, "every": 2, "score": "movement"}, loss={"hidden": 1.0, "logits": 1.0})
    distill(folder, Examples(SHORT), tmp_path / "whole", asked, threads=1)

    class Killed(BaseException):
        pass

    def kill(now):
        if now.step == 7:
            raise Killed

    def often(self):
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minibert_converter.distill.snapshot.Snapshot.due", often)
        with pytest.raises(Killed):
            distill(folder, Examples(SHORT), tmp_path / "killed", asked, threads=1, watcher=Watcher(moment=kill))
    assert (tmp_path / "killed.training").exists()
    assert not (tmp_path / "killed").exists()
    with pytest.raises(InputError, match="had another recipe, teacher or texts"):
        distill(folder, Examples(MANY_TEXTS), tmp_path / "killed", asked, threads=1)
    first = []
    watcher = Watcher(moment=lambda now: first.append(now.step))
    distill(folder, Examples(SHORT), tmp_path / "killed", asked, threads=1, watcher=watcher)
    assert first[0] == 7
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not (tmp_path / "killed.training").exists()


def test_a_part_of_an_epoch(folder, tmp_path):
    steps = []
    watcher = Watcher(moment=lambda now: steps.append(now.step))
    distill(folder, Examples(SHORT), tmp_path / "out", recipe(distill=1.5), threads=1, watcher=watcher)
    assert steps == list(range(1, 10))


def test_a_broken_state_is_named(folder, tmp_path):
    (tmp_path / "out.training").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"out\.training: is no state"):
        distill(folder, Examples(SHORT), tmp_path / "out", recipe(), threads=1)
    distill(folder, Examples(SHORT), tmp_path / "out", recipe(distill=1), threads=1, fresh=True)


def test_kept_answers_of_the_teacher_serve_other_runs(folder, tmp_path):
    stages = []
    watcher = Watcher(stage=lambda stage, done, total: stages.append(stage))
    asked = recipe(distill=1, loss={"hidden": 1.0, "relations": 1.0, "relation_heads": 3})
    for name in ("one", "two"):
        stages.clear()
        distill(folder, Examples(SHORT), tmp_path / name, asked, threads=1, cache=tmp_path / "kept", watcher=watcher)
        assert ("running the teacher" in stages) == (name == "one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_student_of_another_folder(folder, tmp_path):
    """Narrower and deeper than its teacher: hidden states are compared through matrices that are learned along."""
    config = {**CONFIG, "hidden_size": 48, "num_hidden_layers": 3}
    weights = bert_weights(config)
    other = write_checkpoint(tmp_path / "other", config, weights)
    asked = recipe(distill=1, loss={"hidden": 1.0, "relations": 1.0, "relation_heads": 3}, int8_from=1.0)
    losses = []
    watcher = Watcher(moment=lambda now: losses.append(now.loss))
    distill(folder, Examples(SHORT), tmp_path / "out", asked, student=other, threads=1, watcher=watcher)
    config = read_model(tmp_path / "out").config
    assert config.architecture.hidden_size == 48
    assert {one.kind for one in config.linears.values()} == {"float32"}
    assert np.isfinite(losses).all()


def test_passes_behind_the_training(folder, tmp_path):
    """Tables can be stored in less than int8 afterwards, and were not rounded twice."""
    asked = Recipe.from_json({"pass": [{"distill": 1}, {"embeddings": "int4"}, {"quantize": "int8"}]})
    distill(folder, Examples(SHORT), tmp_path / "out", asked, threads=1)
    tables = read_model(tmp_path / "out").config.tables
    assert tables["embeddings.word"].kind.startswith("int4")
    turned = Recipe.from_json({"pass": [{"embeddings": "int4"}, {"distill": 1}]})
    with pytest.raises(UnsupportedError, match="behind the pass distill"):
        distill(folder, Examples(SHORT), tmp_path / "out", turned, threads=1)


def test_narrow_tables_are_trained(folder, tmp_path):
    asked = Recipe.from_json({"pass": [{"embeddings": "low-rank:32"}, {"distill": 1}]})
    distill(folder, Examples(SHORT), tmp_path / "out", asked, threads=1)
    assert read_model(tmp_path / "out").config.architecture.word_size == 32
    network = read_network(tmp_path / "again")
    compress_embeddings(network, "low-rank:32")
    ids = some_ids()
    np.testing.assert_allclose(forward(TorchNetwork(network), ids), answers(network, ids), atol=2e-5)


def test_layers_that_share_are_stored_once(folder, tmp_path):
    distill(folder, Examples(SHORT), tmp_path / "tied", recipe(distill=1, tied_layers="1x2"), threads=1)
    config = read_model(tmp_path / "tied").config
    assert config.aliases["layers.1.ffn.up.weight"] == "layers.0.ffn.up.weight"
    assert "layers.1.ffn.norm.weight" not in config.aliases
    minibert.load(tmp_path / "tied").predict("a good movie")
    with pytest.raises(InputError, match="2 x 3 layers are not the 2"):
        distill(folder, Examples(SHORT), tmp_path / "out", recipe(tied_layers="2x3"), threads=1)


def test_the_command(folder, tmp_path, capsys):
    labels = ["good", "bad", "so-so", "good"] * 12
    rows = "".join(f"{label}\t{text}\n" for label, text in zip(labels, SHORT, strict=True))
    (tmp_path / "train.tsv").write_text("label\tsentence\n" + rows, encoding="utf-8")
    (tmp_path / "r.toml").write_text(
        "[[pass]]\nprune = 'ffn:0.5'\n\n[[pass]]\ndistill = 2\nloss = { labels = 1.0 }\n", encoding="utf-8"
    )
    words = ["distill", "--teacher", folder, "--recipe", tmp_path / "r.toml", "--data", tmp_path / "train.tsv"]
    words += ["--eval", tmp_path / "train.tsv", "-o", tmp_path / "model", "--json"]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert 0 < report["score"]["accuracy"] <= 1
    assert "step 4 of 4: loss" in said.err
    assert "after 1 epoch: accuracy" in said.err
    assert [next(iter(each["pass"])) for each in report["passes"]] == ["prune", "distill"]
    words[words.index("--recipe") + 1] = tmp_path / "none.toml"
    assert main([*(str(word) for word in words), "--force"]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_convert_refuses_a_recipe_that_trains(folder, tmp_path):
    from minibert_converter.convert import convert

    with pytest.raises(InputError, match="minibert distill"):
        convert(folder, tmp_path / "out", recipe=recipe())


def _convert(folder, tmp_path):
    from minibert_converter.convert import convert

    convert(folder, tmp_path / "teacher", quantize="none")
    return tmp_path / "teacher"
