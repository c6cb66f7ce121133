"""Configs that are JSON but not a model: wrong types, sizes beyond the limits, parts that contradict one another."""

from __future__ import annotations

import pytest

from tests.format.models import make_config

HUGE = [0, -1, 1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 64) + 1, 10**39]
WRONG = [None, "16", 16.0, True, [16], {"size": 16}]

SIZES = [
    ("architecture", "hidden_size"),
    ("architecture", "head_size"),
    ("architecture", "vocab_size"),
    ("architecture", "max_positions"),
    ("architecture", "layers", 0, "num_heads"),
    ("architecture", "layers", 1, "ffn_size"),
    ("text", "max_length"),
    ("linears", "layers.0.ffn.up", "in_features"),
    ("linears", "layers.0.ffn.up", "out_features"),
    ("tables", "embeddings.word", "rows"),
]


def spoil(config, path, value):
    for key in path[:-1]:
        config = config[key]
    config[path[-1]] = value


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path[-1])
@pytest.mark.parametrize("value", HUGE + WRONG, ids=str)
def test_sizes_out_of_range_or_of_the_wrong_type(forge, path, value):
    spoil(forge.config, path, value)
    forge.refused(f"config.{path[0]}", path[-1])


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (("architecture", "hidden_size"), 16384),
        (("architecture", "head_size"), 256),
        (("architecture", "vocab_size"), 1 << 24),
        (("architecture", "max_positions"), 65536),
        (("architecture", "token_types"), 256),
        (("architecture", "layers", 0, "num_heads"), 1024),
        (("architecture", "layers", 0, "ffn_size"), 65536),
        (("linears", "layers.0.ffn.up", "in_features"), 65536),
        (("linears", "layers.0.ffn.up", "out_features"), 1 << 20),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, tuple) else str(value),
)
def test_one_beyond_each_limit(forge, path, limit):
    """At the limit the key itself is fine (what it contradicts is found later); one beyond is refused by its range."""
    spoil(forge.config, path, limit + 1)
    forge.refused(f"{path[-1]} must be a whole number", str(limit))
    spoil(forge.config, path, limit)
    with pytest.raises(ValueError, match=r"config|layers\.0") as caught:
        forge.read()
    assert "must be a whole number" not in str(caught.value)


def test_an_int32_sum_cannot_overflow_within_the_limits():
    """The proof behind MAX_WIDTH: unsigned activations up to 255, weights down to -128 whatever the file holds."""
    from minibert.format.constants import MAX_ELEMENTS, MAX_WIDTH

    assert MAX_WIDTH * 255 * 128 < 2**31
    assert MAX_ELEMENTS * 4 * 1024 < 2**63


def test_heads_that_are_together_too_wide(forge):
    forge.config["architecture"].update(head_size=250, hidden_size=48)
    forge.config["architecture"]["layers"][1]["num_heads"] = 300
    forge.config["linears"]["layers.0.attention.qkv"].update(out_features=3 * 3 * 256)
    forge.config["linears"]["layers.0.attention.output"].update(in_features=3 * 256, out_features=48)
    forge.config["linears"]["layers.0.ffn.down"].update(out_features=48)
    forge.refused("layers.1", "65536")


def test_too_many_layers(forge):
    forge.config["architecture"]["layers"] = [{"num_heads": 3, "ffn_size": 52}] * 257
    forge.refused("layers", "256")
    forge.config["architecture"]["layers"] = []
    forge.refused("layers")


@pytest.mark.parametrize("value", [0, 0.0, -1e-12, 1.5, "1e-12", None, True, 10**39], ids=str)
def test_epsilon(forge, value):
    forge.config["architecture"]["layer_norm_eps"] = value
    forge.refused("layer_norm_eps")


@pytest.mark.parametrize(
    "path",
    [
        ("architecture", "model_type"),
        ("architecture", "activation"),
        ("architecture", "pooling"),
        ("architecture", "head", 0, "activation"),
        ("task", "kind"),
        ("task", "problem_type"),
        ("task", "similarity"),
        ("linears", "layers.0.ffn.up", "kind"),
        ("tables", "embeddings.word", "kind"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
@pytest.mark.parametrize("value", ["", "GELU", "gpt2", None, 1, ["gelu"], {"gelu": 1}], ids=str)
def test_names_that_this_release_does_not_know(forge, path, value):
    spoil(forge.config, path, value)
    forge.refused(str(path[-1]), "must be one of")


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("architecture",),
        ("architecture", "layers", 0),
        ("architecture", "head", 0),
        ("task",),
        ("text",),
        ("linears", "head.dense"),
        ("tables", "embeddings.word"),
    ],
    ids=lambda path: ".".join(map(str, path)) or "config",
)
def test_unknown_keys_are_refused_for_they_would_mean_something(forge, path):
    part = forge.config
    for key in path:
        part = part[key]
    part["rotation"] = True
    forge.refused("'rotation'", "unknown to this release")


@pytest.mark.parametrize(
    "path",
    [
        ("architecture",),
        ("task",),
        ("text",),
        ("linears",),
        ("tables",),
        ("architecture", "layers"),
        ("architecture", "layers", 0, "num_heads"),
        ("architecture", "hidden_size"),
        ("architecture", "pooling"),
        ("task", "kind"),
        ("linears", "head.dense", "kind"),
        ("linears", "head.dense", "in_features"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_keys_that_are_missing(forge, path):
    part = forge.config
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    forge.refused(str(path[-1]), "missing")


@pytest.mark.parametrize("value", [None, 1, [], "text"], ids=str)
@pytest.mark.parametrize("key", ["aliases", "recipe", "report", "provenance", "linears", "tables"])
def test_maps_that_are_no_maps(forge, key, value):
    forge.config[key] = value
    forge.refused(f"config.{key}", "object")


@pytest.mark.parametrize(
    "name",
    ["", "head", "head\n.x", "dense", "layers.0.ffn.up", "embeddings.word", "head." + "x" * 200, 7, None],
    ids=str,
)
def test_head_names(forge, name):
    forge.config["architecture"]["head"][0]["name"] = name
    forge.refused("config.architecture.head[0].name")


def test_layers_that_contradict_the_linears(forge):
    for key, value in (("num_heads", 2), ("num_heads", 4), ("ffn_size", 51), ("ffn_size", 65)):
        spoiled = forge.copy()
        spoiled.config["architecture"]["layers"][1][key] = value
        spoiled.refused("layers.1.")


def test_a_head_size_that_contradicts_the_linears(forge):
    forge.config["architecture"]["head_size"] = 17
    forge.refused("layers.0.attention.qkv")
    # 12 and 16 are the same once padded: the tensors agree, and the softmax has another scale. Memory is safe.
    forge.config["architecture"]["head_size"] = 16
    assert forge.read().config.architecture.head_size == 16


@pytest.mark.parametrize("labels", [[], ["a", "b"], ["a", "b", "c", "d"]], ids=len)
def test_labels_that_do_not_match_the_outputs(forge, labels):
    forge.config["task"]["labels"] = labels
    forge.refused("config.task.labels", f"{len(labels)} labels", "3 outputs")


@pytest.mark.parametrize("labels", [None, "abc", {"0": "a"}, [1, 2, 3], ["a", "b", None]], ids=str)
def test_labels_that_are_no_strings(forge, labels):
    forge.config["task"]["labels"] = labels
    forge.refused("config.task.labels")


def test_a_classifier_without_a_row_for_each_text(forge):
    forge.config["architecture"]["pooling"] = "none"
    forge.refused("pooling", "text-classification")


def test_a_classifier_without_a_head(embedding_forge):
    embedding_forge.config["task"] = {"kind": "text-classification", "labels": ["a"]}
    embedding_forge.refused("config.task.labels", "no outputs")


def test_an_embedding_model_with_labels(embedding_forge):
    embedding_forge.config["task"]["labels"] = ["a"]
    embedding_forge.refused("labels")


@pytest.mark.parametrize("value", ["passage", 1, ["query"], {"query": ""}], ids=str)
def test_a_default_prompt_that_does_not_exist(embedding_forge, value):
    embedding_forge.config["task"]["default_prompt"] = value
    embedding_forge.refused("default_prompt")


def test_prompts_that_are_no_strings(embedding_forge):
    embedding_forge.config["task"]["prompts"]["query"] = 1
    embedding_forge.refused("prompts['query']")


def test_texts_longer_than_the_positions(forge):
    forge.config["text"]["max_length"] = 18
    forge.refused("max_length", "17 positions")


def test_an_input_factor_on_float_weights(forge):
    forge.config["linears"]["head.output"]["input_factor"] = True
    forge.refused("head.output", "input_factor")


def test_inputs_that_fill_no_group(forge):
    forge.config["linears"]["layers.0.ffn.up"]["in_features"] = 47
    forge.refused("layers.0.ffn.up", "multiple of 16")


@pytest.mark.parametrize(
    ("kind", "size"), [("codebook", 0), ("codebook", 5), ("codebook", 12), ("int8", 4), ("int4", 8), ("float32", 16)]
)
def test_sizes_of_subvectors(forge, kind, size):
    forge.config["tables"]["embeddings.word"].update(kind=kind, subvector_size=size)
    forge.refused("embeddings.word", "subvector_size", str(size))


@pytest.mark.parametrize("size", [-4, 32, True, 4.0, "4", None], ids=str)
def test_sizes_of_subvectors_that_are_no_sizes(forge, size):
    forge.config["tables"]["embeddings.word"].update(kind="codebook", subvector_size=size)
    forge.refused("embeddings.word", "subvector_size", "must be a whole number")


@pytest.mark.parametrize("kind", ["int4", "codebook"])
def test_a_kind_of_table_whose_tensors_are_not_there(forge, kind):
    """Were it believed, the kernel would walk codes of one width in memory of another."""
    forge.config["tables"]["embeddings.word"].update(kind=kind, subvector_size=4 * (kind == "codebook"))
    forge.refused("embeddings.word")


def test_codes_of_another_width(compact_forge):
    compact_forge.config["tables"]["embeddings.word"]["subvector_size"] = 8
    compact_forge.refused("embeddings.word", "calls for")


def test_the_reserved_sparse_kind(forge):
    forge.config["linears"]["layers.0.ffn.up"].update(kind="int8-4x4", blocks=7)
    forge.refused("kind", "layers.0.ffn.up")
    forge.config["linears"]["layers.0.ffn.up"].update(kind="int8")
    forge.refused("blocks", "layers.0.ffn.up")


def test_messages_do_not_flood_the_screen(forge):
    forge.config["x" * 100_000] = 1
    forge.refused("xxx'...")


def test_messages_name_what_a_terminal_would_obey(forge):
    forge.config["\x1b[2Jevil\u202e"] = 1
    forge.refused(r"\x1b[2Jevil\u202e")


def test_the_config_in_these_tests_is_accepted_as_it_is(forge):
    assert forge.read().config == make_config()


@pytest.mark.parametrize("part", [0, -0.5, 1.5, "1", None, True], ids=str)
def test_parts_of_tokens_out_of_range(forge, part):
    forge.config["architecture"]["layers"][0]["keep_tokens"] = part
    forge.refused("config.architecture.layers[0]", "keep_tokens")


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("change", [{"window": 4}, {"rotary_base": 10000.0}, {"rotary": 1}], ids=str)
def test_tokens_pruned_where_attention_goes_by_places(forge, layer, change):
    forge.config["architecture"]["layers"][0]["keep_tokens"] = 0.5
    forge.config["architecture"]["layers"][layer].update(change)
    forge.config["architecture"]["rotary_frequencies"] = [[1.0] * (forge.config["architecture"]["head_size"] // 2)]
    forge.refused("config.architecture.layers[0].keep_tokens", "places of tokens")


@pytest.mark.parametrize("threshold", [0, 1.1, "0.5", None], ids=str)
def test_thresholds_out_of_range(forge, threshold):
    forge.config["architecture"]["exits"] = [{"after": 0, "threshold": threshold}]
    forge.refused("config.architecture.exits[0]", "threshold")


def test_an_exit_without_its_linear(forge):
    forge.config["architecture"]["exits"] = [{"after": 0, "threshold": 0.5}]
    forge.refused("config.linears", "exits.0")


@pytest.mark.parametrize("after", [[1], [0, 0], [1, 0], [7]], ids=str)
def test_exits_in_the_wrong_order_or_after_the_last_layer(forge, after):
    forge.config["architecture"]["exits"] = [{"after": number, "threshold": 0.5} for number in after]
    for number in set(after):
        forge.config["linears"][f"exits.{number}"] = {"kind": "float32", "in_features": 48, "out_features": 3}
    forge.refused("exit")


def test_exits_of_what_is_no_classifier(embedding_forge):
    embedding_forge.config["architecture"]["exits"] = [{"after": 0, "threshold": 0.5}]
    embedding_forge.refused("exits.0")
