"""Every family and head against what transformers computes (see tests/golden/make_families.py)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import minibert
from minibert.engine import Engine
from minibert.engine.library import can_compile
from minibert.errors import CheckpointError, UnsupportedError
from minibert.format import read_model, write_model
from minibert_converter.checkpoints import read_checkpoint
from minibert_converter.convert import convert
from minibert_converter.export import export
from tests.checkpoints import WORDS, write_json
from tests.converter.networks import quantize
from tests.families import SETUPS, cases, golden, shown_columns, shown_rows, write_family

golden = cache(golden)
CALIBRATION = [" ".join(np.random.RandomState(seed).permutation(WORDS.split())[:30]) for seed in range(8)]
ALL = [(family, task) for family in SETUPS for task in golden()[family]["tasks"]]


def answers(path: Path, family: str, backend: str) -> list[np.ndarray]:
    """The rows of the golden texts, thinned out as those of transformers are."""
    engine = Engine(read_model(path), backend=backend, threads=1)
    texts = cases(SETUPS[family]["config"])
    rows = engine.forward([ids for ids, _types in texts], [types for _ids, types in texts])
    ends = np.cumsum([len(ids) for ids, _types in texts])
    parts = np.split(rows, ends[:-1]) if not engine.pooled else [row[None] for row in rows]
    return [part[shown_rows(len(part))][:, shown_columns(part.shape[1])] for part in parts]


def expected(family: str, task: str) -> list[np.ndarray]:
    return [np.array(rows, np.float32) for rows in golden()[family]["tasks"][task]["outputs"]]


def largest_error(made: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    assert [part.shape for part in made] == [part.shape for part in wanted]
    return max(np.abs(a - b).max() for a, b in zip(made, wanted, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize(("family", "task"), ALL)
def test_float32_answers_are_those_of_transformers(tmp_path, family, task, dtype):
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family], dtype)
    report = convert(folder, tmp_path / "model.safetensors", quantize="none")
    assert report.task == task
    wanted = expected(family, task)
    assert max(np.abs(rows).max() for rows in wanted) > 0.3
    assert largest_error(answers(tmp_path / "model.safetensors", family, "numpy"), wanted) < 2e-5 * scale(wanted)


def scale(rows: list[np.ndarray]) -> float:
    """Large logits have large rounding errors."""
    return max(1.0, *(float(np.abs(part).max()) / 4 for part in rows))


def first_task(family: str, *tasks: str) -> str:
    return next(task for task in (*tasks, "sentence-embedding") if task in golden()[family]["tasks"])


@pytest.mark.parametrize("family", SETUPS)
def test_int8_answers_are_near_those_of_transformers(tmp_path, family):
    """And the kernels' have the bits of NumPy's."""
    task = first_task(family, "token-classification")
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family])
    convert(folder, tmp_path / "model.safetensors", calibrate=CALIBRATION)
    made, wanted = answers(tmp_path / "model.safetensors", family, "numpy"), expected(family, task)
    if can_compile():
        check_kernels(tmp_path / "model.safetensors", family, made)
    # Attention is far sharper in noise than in a trained model, and int8 loses more in it.
    spread = np.concatenate(wanted).std()
    error = np.concatenate(made) - np.concatenate(wanted)
    assert np.sqrt(np.square(error).mean()) < 0.1 * spread


def check_kernels(path: Path, family: str, in_numpy: list[np.ndarray]) -> None:
    for made, expected in zip(answers(path, family, "jit"), in_numpy, strict=True):
        np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("family", SETUPS)
def test_kernels_agree(tmp_path, family):
    """With the other heads. int8: the same bits as NumPy; float32: transformers' answers."""
    if not can_compile():
        pytest.skip("needs numba")
    task = first_task(family, "fill-mask", "text-classification")
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family])
    # To the nearest code, without factors of the inputs: those of the encoder are in the test above.
    network = read_checkpoint(folder, task)
    quantize(network, texts=[], method="nearest")
    write_model(tmp_path / "int8.safetensors", *export(network))
    check_kernels(tmp_path / "int8.safetensors", family, answers(tmp_path / "int8.safetensors", family, "numpy"))
    convert(folder, tmp_path / "float32.safetensors", quantize="none")
    wanted = expected(family, task)
    assert largest_error(answers(tmp_path / "float32.safetensors", family, "jit"), wanted) < 2e-5 * scale(wanted)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("family", ["bert", "albert", "modernbert"])
def test_tied_words_are_stored_once(tmp_path, family, dtype):
    folder = write_family(tmp_path / "checkpoint", family, "fill-mask", golden()[family])
    calibrate = CALIBRATION if dtype == "int8" else None
    quantize = "none" if dtype == "float32" else dtype
    convert(folder, tmp_path / "model.safetensors", quantize=quantize, calibrate=calibrate)
    model_file = read_model(tmp_path / "model.safetensors")
    assert model_file.config.tables["embeddings.word"].kind == f"{dtype}-panels"
    assert model_file.config.aliases["embeddings.word.weight"] == "head.output.weight"
    assert model_file.tensors["embeddings.word.weight"] is model_file.tensors["head.output.weight"]


def test_words_that_are_not_tied_are_stored_apart(tmp_path):
    entry = golden()["bert"]
    folder = write_family(tmp_path / "checkpoint", "bert", "fill-mask", entry)
    weights = load_file(folder / "model.safetensors")
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"] * np.float32(0.5)
    save_file(weights, folder / "model.safetensors")
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    assert read_model(tmp_path / "model.safetensors").config.aliases == {}
    made, wanted = answers(tmp_path / "model.safetensors", "bert", "numpy"), expected("bert", "fill-mask")
    bias = weights["cls.predictions.bias"][shown_columns(203)]
    assert largest_error(made, [(rows - bias) / 2 + bias for rows in wanted]) < 1e-5 * scale(wanted)


def test_shared_layers_are_stored_once(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "albert-groups", "token-classification", golden()["albert-groups"])
    convert(folder, tmp_path / "model.safetensors", calibrate=CALIBRATION)
    model_file = read_model(tmp_path / "model.safetensors")
    targets = [model_file.config.aliases.get(f"layers.{n}.ffn.up.weight") for n in range(5)]
    assert targets == [None, "layers.0.ffn.up.weight", "layers.0.ffn.up.weight", None, "layers.3.ffn.up.weight"]
    assert model_file.tensors["layers.4.ffn.norm.bias"] is model_file.tensors["layers.3.ffn.norm.bias"]


@pytest.mark.parametrize("family", ["xlm-roberta", "mpnet", "modernbert", "distilbert", "albert"])
def test_sentence_transformers_folders(tmp_path, family):
    """Mean pooling, as the golden vectors have it, and vectors of length 1."""
    task = "sentence-embedding"
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family])
    names = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(names)
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 96, "pooling_mode_mean_tokens": True})
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    texts = cases(SETUPS[family]["config"])
    engine = Engine(read_model(tmp_path / "model.safetensors"), backend="numpy")
    rows = engine.forward([ids for ids, _types in texts], [types for _ids, types in texts])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    for row, wanted in zip(rows[:, shown_columns(96)], expected(family, task), strict=True):
        np.testing.assert_allclose(row / row[0], wanted[0] / wanted[0, 0], rtol=1e-4)


def test_pruning_of_families_it_has_not_learned_is_refused(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "modernbert", "fill-mask", golden()["modernbert"])
    with pytest.raises(UnsupportedError, match="modernbert cannot be pruned"):
        convert(folder, tmp_path / "model.safetensors", prune=["4x4:0.5"], calibrate=CALIBRATION)


#: Configs as they lie on the Hub, in the words of the code that the models were first published with.
OLDER_CONFIGS = {
    "nomic": {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
        "rope_parameters": {"rotary_emb_base": 1000, "activation_function": "swiglu", "layer_norm_epsilon": 1e-12},
    },
    "modernbert": {
        "rope_parameters": {
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 160000.0,
            "local_rope_theta": 10000.0,
        }
    },
}


@pytest.mark.parametrize("family", OLDER_CONFIGS)
def test_older_configs_mean_the_same(tmp_path, family):
    task = "fill-mask"
    folder = write_family(tmp_path / "checkpoint", family, task, golden()[family])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, older in OLDER_CONFIGS[family].items():
        value = config.pop(key, None)
        config |= {older: value} if isinstance(older, str) else older
    write_json(folder / "config.json", config)
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    wanted = expected(family, task)
    assert largest_error(answers(tmp_path / "model.safetensors", family, "numpy"), wanted) < 2e-5 * scale(wanted)


def _apart(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """As the code of GTE's checkpoints has it with pack_qkv false."""
    if "qkv_proj" not in name:
        return {name: value}
    return {
        name.replace("qkv_proj", f"{part}_proj"): rows for part, rows in zip("qkv", np.split(value, 3), strict=True)
    }


def _within(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """As transformers has GTE and jina-embeddings-v3 within."""
    for old, new in {
        "encoder.layer.": "layers.",
        "encoder.layers.": "layers.",
        "attention.": "self_attn.",
        "mixer.Wqkv": "self_attn.qkv_proj",
        "mixer.out_proj": "self_attn.o_proj",
        "attn_ln": "post_attention_layernorm",
        "mlp_ln": "post_mlp_layernorm",
        "norm1": "post_attention_layernorm",
        "norm2": "post_mlp_layernorm",
        "emb_ln": "embeddings.LayerNorm",
        "lm_head.norm": "lm_head.layer_norm",
    }.items():
        name = name.replace(old, new)
    if "up_gate" in name:
        return {name.replace("up_gate", part): v for part, v in zip(("up", "gate"), np.split(value, 2), strict=True)}
    return _apart(name, value)


@pytest.mark.parametrize(("family", "change"), [("gte", _apart), ("gte", _within), ("jina-v3", _within)])
def test_other_names_of_the_same_weights(tmp_path, family, change):
    folder = write_family(tmp_path / "checkpoint", family, "fill-mask", golden()[family])
    weights = load_file(folder / "model.safetensors")
    changed = {k: v for name, value in weights.items() for k, v in change(name, value).items()}
    assert changed.keys() != weights.keys()
    save_file(changed, folder / "model.safetensors")
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    made, wanted = answers(tmp_path / "model.safetensors", family, "numpy"), expected(family, "fill-mask")
    assert largest_error(made, wanted) < 2e-5 * scale(wanted)
    del changed[next(name for name in changed if name.endswith("q_proj.weight"))]
    save_file(changed, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: .*(qkv_proj|Wqkv)"):
        convert(folder, tmp_path / "model.safetensors", quantize="none")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_scaling": {"type": "ntk", "factor": 2.0}}, r"rope_scaling is \{'type': 'ntk'"),
        ({"layer_norm_type": "rms_norm"}, "layer_norm_type is 'rms_norm'; only 'layer_norm'"),
        ({"position_embedding_type": "absolute"}, "position_embedding_type"),
        ({"logn_attention_scale": True}, "logn_attention_scale"),
        ({"hidden_act": "silu"}, "hidden_act is 'silu'"),
    ],
)
def test_networks_of_gte_that_are_others(tmp_path, values, message):
    folder = write_family(tmp_path / "checkpoint", "gte-untyped", "fill-mask", golden()["gte-untyped"])
    change_config(folder, values)
    with pytest.raises(UnsupportedError, match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"relative_attention": False}, "relative_attention is False; only True"),
        ({"position_biased_input": True}, "position_biased_input is True; only False"),
        ({"pos_att_type": "c2p"}, "pos_att_type is 'c2p'; only c2p with p2c"),
        ({"pos_att_type": None}, "pos_att_type is None"),
        ({"conv_kernel_size": 3}, "conv_kernel_size is 3; only 0"),
        ({"talking_head": True}, "talking_head is True"),
        ({"embedding_size": 48}, "embedding_size is 48; only 96"),
        ({"attention_head_size": 16}, "attention_head_size is 16; only 32"),
        ({"norm_rel_ebd": "batch_norm"}, "norm_rel_ebd is 'batch_norm'"),
        ({"position_buckets": 65}, "position_buckets is 65; supported are 4 to 64"),
        ({"legacy": False}, "legacy is False; only True"),
    ],
)
def test_networks_of_deberta_that_are_others(tmp_path, values, message):
    folder = write_family(tmp_path / "checkpoint", "deberta-v2", "fill-mask", golden()["deberta-v2"])
    change_config(folder, values)
    with pytest.raises(UnsupportedError, match=message):
        read_checkpoint(folder)


def test_tables_of_distances_are_quantized_with_their_layer(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "deberta", "fill-mask", golden()["deberta"])
    convert(folder, tmp_path / "model.safetensors")
    file, exact = read_model(tmp_path / "model.safetensors"), read_checkpoint(folder).attention_tables
    for name in ("layers.0.attention.position_key", "layers.1.attention.position_query"):
        codes, scale = file.tensors[f"{name}.weight"], file.tensors[f"{name}.scale"]
        assert (codes.dtype, codes.shape, scale.shape) == (np.int8, (128, 3, 32), (128, 3))
        assert np.abs(codes * scale[..., None] - exact[name]).max() <= scale.max() * 0.51
    rows = file.tensors["embeddings.distance_rows"]
    assert rows.tolist() == list(range(1, 128))


def change_config(folder: Path, values: dict[str, object]) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", config | values)


@pytest.mark.parametrize(
    ("family", "code"),
    [
        ("gte", "Alibaba-NLP/new-impl--modeling.New"),
        ("nomic", "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBert"),
    ],
)
def test_code_whose_network_is_known(tmp_path, family, code):
    """It is not run: the table is made for what it computes."""
    folder = write_family(tmp_path / "checkpoint", family, "fill-mask", golden()[family])
    classes = {
        "AutoConfig": "configuration.Config",
        "AutoModel": f"{code}Model",
        "AutoModelForMaskedLM": f"{code}ForMaskedLM",
    }
    values = {"model_type": "new", "pack_qkv": True, "architectures": ["NewForMaskedLM"]} if family == "gte" else {}
    change_config(folder, {**values, "auto_map": classes})
    network = read_checkpoint(folder)
    assert not any("config.json" in note for note in network.notes)
    assert network.architecture.model_type == SETUPS[family]["config"]["model_type"]


@pytest.mark.parametrize("family", ["bert", "gte"])
def test_code_whose_network_is_not_known_is_refused(tmp_path, family):
    folder = write_family(tmp_path / "checkpoint", family, "fill-mask", golden()[family])
    change_config(folder, {"auto_map": {"AutoConfig": "configuration.Config", "AutoModel": "bert_layers.BertModel"}})
    with pytest.raises(
        UnsupportedError,
        match=r"config\.json: auto_map gives AutoModel as 'bert_layers\.BertModel'.*never run.*remove auto_map",
    ):
        read_checkpoint(folder)
    change_config(folder, {"auto_map": {"AutoConfig": "configuration.Config"}})
    read_checkpoint(folder)
    change_config(folder, {"auto_map": ["bert_layers.BertModel"]})
    with pytest.raises(CheckpointError, match=r"auto_map is .*must be an object"):
        read_checkpoint(folder)


@pytest.mark.parametrize("pooling", ["bos", "mean"])
def test_eurobert_by_the_keys_of_its_own_code(tmp_path, pooling):
    folder = write_family(tmp_path / "checkpoint", "eurobert", "text-classification", golden()["eurobert"])
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del values["classifier_pooling"]
    write_json(folder / "config.json", values | {"clf_pooling": pooling})
    assert read_checkpoint(folder).architecture.pooling == {"bos": "cls", "mean": "mean"}[pooling]


def test_a_table_of_tasks_counts_where_config_says_so(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "ernie", "fill-mask", golden()["ernie"])
    with_table = read_checkpoint(folder).tables["embeddings.position"]
    weights = load_file(folder / "model.safetensors")
    table = weights.pop("ernie.embeddings.task_type_embeddings.weight")
    change_config(folder, {"use_task_id": False})
    with pytest.raises(CheckpointError, match=r"no part of the network.*task_type_embeddings"):
        read_checkpoint(folder)
    save_file(weights, folder / "model.safetensors")
    without = read_checkpoint(folder).tables["embeddings.position"]
    assert isinstance(with_table, np.ndarray)
    assert isinstance(without, np.ndarray)
    np.testing.assert_array_equal(with_table, without + table[0])
    change_config(folder, {"use_task_id": True})
    with pytest.raises(CheckpointError, match=r"missing.*task_type_embeddings"):
        read_checkpoint(folder)
    change_config(folder, {"use_task_id": "yes"})
    with pytest.raises(CheckpointError, match="use_task_id is 'yes', but must be true or false"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("xmod", r": its layers have a part.*; supported are albert,"),
        ("esm", ": it multiplies embeddings by a number that goes by how many tokens"),
        ("byt5", "'byt5' is not supported; supported are albert,"),
    ],
)
def test_families_that_are_not_read(tmp_path, model_type, reason):
    write_json(tmp_path / "config.json", {"model_type": model_type})
    with pytest.raises(UnsupportedError, match=reason):
        read_checkpoint(tmp_path)


def test_adapters_beside_a_model_are_refused(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "jina-v3", "sentence-embedding", golden()["jina-v3"])
    read_checkpoint(folder)
    (folder / "retrieval_query").mkdir()
    write_json(folder / "retrieval_query/adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(UnsupportedError, match=r"retrieval_query.adapter_config\.json: .*subfolder='retrieval_query'"):
        read_checkpoint(folder)


def test_dpr_is_its_encoders(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "dpr-question", "sentence-embedding", golden()["dpr-question"])
    assert any("vectors are those of the first token" in note for note in read_checkpoint(folder).notes)
    change_config(folder, {"projection_dim": 24})
    with pytest.raises(UnsupportedError, match="projection_dim is 24; only 0"):
        read_checkpoint(folder)
    change_config(folder, {"projection_dim": 0, "architectures": ["DPRReader"]})
    with pytest.raises(UnsupportedError, match="architecture DPRReader is not supported"):
        read_checkpoint(folder)


def test_an_encoder_without_a_pooler(tmp_path):
    folder = write_family(tmp_path / "checkpoint", "bert", "sentence-embedding", golden()["bert"])
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if not k.startswith("pooler.")}, folder / "model.safetensors")
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    made = answers(tmp_path / "model.safetensors", "bert", "numpy")
    assert largest_error(made, expected("bert", "sentence-embedding")) < 1e-5
    with pytest.raises(CheckpointError, match=r"missing: 'classifier\.weight'"):
        convert(folder, tmp_path / "model.safetensors", quantize="none", task="text-classification")


def test_a_bert_that_reads_pieces_as_xlm_roberta_does(tmp_path):
    """Multilingual MiniLM: BERT's network, SentencePiece's words."""
    folder = write_family(tmp_path / "checkpoint", "bert", "text-classification", golden()["bert"])
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁good", "▁movie", "▁", *"abcdegimov", "<mask>"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    convert(folder, tmp_path / "model.safetensors", quantize="none")
    model = minibert.load(tmp_path / "model.safetensors", backend="numpy")
    rows = model.forward([[0, 5, 6, 2], [0, 5, 2, 2, 6, 2]])
    made = [model.predict("good movie", top_k=None), model.predict(("good", "movie"), top_k=None)]
    for row, answer in zip(rows, made, strict=True):
        scores = np.exp(row) / np.exp(row).sum()
        assert {one["label"]: pytest.approx(one["score"], abs=1e-5) for one in answer} == {
            f"label {number}": score for number, score in enumerate(scores)
        }


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias", "norm_bias", "classifier_bias"])
def test_biases_that_config_and_weights_do_not_agree_on(tmp_path, key):
    """transformers would leave such a bias out, or make one up."""
    folder = write_family(tmp_path, "modernbert-biases", "token-classification", golden()["modernbert-biases"])
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"config\.json: {key} is False, but there is '.*\.bias'"):
        read_checkpoint(folder)


def test_a_window_said_twice_is_said_alike(tmp_path):
    """transformers has sliding_window, to one side, overrule local_attention, to both."""
    entry = golden()["modernbert"]
    folder = write_family(tmp_path / "folder", "modernbert", "sentence-embedding", entry)
    config = json.loads((folder / "config.json").read_text())
    del config["local_attention"]
    write_json(folder / "config.json", config | {"sliding_window": 7})
    assert [layer.window for layer in read_checkpoint(folder).architecture.layers] == [0, 7, 7, 0]
    write_json(folder / "config.json", config | {"sliding_window": 7, "local_attention": 20})
    with pytest.raises(CheckpointError, match="local_attention is 20, but must be 14"):
        read_checkpoint(folder)


def test_words_that_are_not_the_decoder_need_one(tmp_path):
    """transformers would draw a matrix that the file lacks."""
    folder = write_family(tmp_path / "folder", "electra", "fill-mask", golden()["electra"])
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"tie_word_embeddings": False})
    with pytest.raises(CheckpointError, match="generator_lm_head"):
        read_checkpoint(folder)


def test_only_modernbert_has_the_tokenizer_of_its_family_whatever_is_named(tmp_path):
    for family, kept in (("modernbert", True), ("eurobert", False)):
        folder = write_family(tmp_path / family, family, "sentence-embedding", golden()[family])
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LukeTokenizer"})
        if kept:
            assert read_checkpoint(folder)
        else:
            with pytest.raises(UnsupportedError, match="LukeTokenizer"):
                read_checkpoint(folder)
