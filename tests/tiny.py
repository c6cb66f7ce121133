"""Tiny models with random weights and real tokenizers, written once a session: what tests of the API run on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from minibert.format import (
    Architecture,
    Config,
    HeadLayer,
    Layer,
    Linear,
    Table,
    Task,
    TextConfig,
    expected_tensors,
    pack_int8,
    pack_tokenizer,
    padded,
    write_model,
)
from minibert.format.schema import Side

WORDS = "a great movie plot the was good bad is it and actor film hello world not very i like this one query : -"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.,!?'"]
VOCABULARY += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
VOCABULARY += sorted(set(WORDS.split()) - set(VOCABULARY))
MAX_LENGTH = 24
ENTITIES = ("O", "B-person", "I-person", "B-place", "I-place")


def tokenizer_json() -> str:
    """A BERT tokenizer over VOCABULARY: lower case, pairs, and padding and truncation set as in the wild."""
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(VOCABULARY[:5])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    return tokenizer.to_str()


def classifier_config(labels=("negative", "neutral", "positive"), problem_type="single_label") -> Config:
    """Hidden 40 (of 48), 3 heads of 12, FFN 52, 2 layers, a BERT pooler."""
    hidden_size, head_size, ffn_size, heads = 40, 12, 52, 3
    hidden, attention, ffn = padded(hidden_size), heads * padded(head_size), padded(ffn_size)
    linears = {}
    for number in range(2):
        linears[f"layers.{number}.attention.qkv"] = Linear("int8", hidden, 3 * attention)
        linears[f"layers.{number}.attention.output"] = Linear("int8", attention, hidden_size)
        linears[f"layers.{number}.ffn.up"] = Linear("int8", hidden, ffn_size)
        linears[f"layers.{number}.ffn.down"] = Linear("int8", ffn, hidden_size)
    linears["head.dense"] = Linear("int8", hidden, hidden_size)
    linears["head.output"] = Linear("int8", hidden, len(labels))
    return Config(
        Architecture(
            model_type="bert",
            hidden_size=hidden_size,
            head_size=head_size,
            vocab_size=len(VOCABULARY),
            max_positions=32,
            token_types=2,
            layer_norm_eps=1e-12,
            activation="gelu",
            layers=(Layer(heads, ffn_size),) * 2,
            pooling="cls",
            head=(HeadLayer("head.dense", "tanh"), HeadLayer("head.output")),
        ),
        Task("text-classification", tuple(labels), problem_type),
        TextConfig(MAX_LENGTH),
        linears,
        {
            "embeddings.word": Table("int8", len(VOCABULARY)),
            "embeddings.position": Table("int8", 32),
            "embeddings.token_type": Table("float32", 2),
        },
        recipe={"dtype": "int8"},
        provenance={"source": "random numbers"},
    )


def embedding_config(**task) -> Config:
    config = classifier_config()
    linears = {name: linear for name, linear in config.linears.items() if name.startswith("layers.")}
    prompts = {"query": "query : ", "passage": "hello "}
    return replace(
        config,
        architecture=replace(config.architecture, pooling="mean", head=(), normalize=False),
        linears=linears,
        task=Task("sentence-embedding", prompts=prompts, **task),
    )


def token_config(kind: str, labels=()) -> Config:
    """A model that answers for each token."""
    config = classifier_config()
    outputs = {"question-answering": 2, "fill-mask": len(VOCABULARY), "multi-vector": 12}.get(kind, len(labels))
    linears = {name: linear for name, linear in config.linears.items() if name.startswith("layers.")}
    linears["head.output"] = Linear("int8", padded(config.architecture.hidden_size), outputs)
    return replace(
        config,
        architecture=replace(config.architecture, pooling="none", head=(HeadLayer("head.output"),)),
        linears=linears,
        task=_multi_vector() if kind == "multi-vector" else Task(kind, tuple(labels)),
    )


def _multi_vector() -> Task:
    """Queries of ten tokens, documents without full stops."""
    mask, stop = VOCABULARY.index("[MASK]"), VOCABULARY.index(".")
    query, document = Side(10, prefix=5, fill_to=10, fill_token=mask), Side(16, skip=(stop,))
    return Task("multi-vector", similarity="maxsim", query=query, document=document)


def random_tensors(config: Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights with which the texts matter: norms about 1, int8 weights of about a unit's scale, padding of zeros."""
    random = np.random.default_rng(seed)
    hidden_size = config.architecture.hidden_size
    tensors = {}
    for name, spec in expected_tensors(config).items():
        if spec.dtype == "F32":
            tensors[name] = (random.standard_normal(spec.shape) * 0.5).astype(np.float32)
        elif spec.dtype == "I8":
            tensors[name] = random.integers(-127, 128, spec.shape, dtype=np.int8)
    for name in list(tensors):
        if ".norm." in name:
            tensors[name][hidden_size:] = 0
            if name.endswith("weight"):
                tensors[name][:hidden_size] = 1
        elif name.startswith("embeddings.") and name.endswith("weight"):
            tensors[name][:, hidden_size:] = 0
        elif name.startswith("embeddings.") and name.endswith("scale"):
            tensors[name][:] = 0.01
    for name, linear in config.linears.items():
        weight = random.integers(-127, 128, (linear.out_features, linear.in_features), dtype=np.int8)
        inputs, outputs = _real(config, name)
        weight[:, ~inputs] = 0
        weight[~outputs] = 0
        rows = padded(linear.out_features)
        tensors[f"{name}.weight"] = pack_int8(weight)
        tensors[f"{name}.weight_sum"] = np.zeros(rows, np.int32)
        tensors[f"{name}.weight_sum"][: linear.out_features] = weight.sum(axis=1, dtype=np.int32)
        tensors[f"{name}.scale"] = np.full(rows, 0.02 / np.sqrt(linear.in_features), np.float32)
        tensors[f"{name}.bias"] *= np.pad(outputs, (0, rows - linear.out_features))
    tensors["tokenizer.json"] = pack_tokenizer(tokenizer_json())
    return tensors


def _real(config: Config, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which inputs and which of the out_features of a linear mean something; the others are padding, and zero."""
    a, linear = config.architecture, config.linears[name]
    head = np.arange(padded(a.head_size)) < a.head_size
    inputs = np.arange(linear.in_features) < a.hidden_size
    outputs = np.ones(linear.out_features, bool)
    if name.endswith("attention.qkv"):
        outputs = np.tile(head, linear.out_features // len(head))
    elif name.endswith("attention.output"):
        inputs = np.tile(head, linear.in_features // len(head))
    elif name.endswith("ffn.down"):
        inputs = np.arange(linear.in_features) < a.layers[0].ffn_size
    return inputs, outputs


def write(path: Path, config: Config, seed: int = 0) -> Path:
    write_model(path, config, random_tensors(config, seed))
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write(folder / "classifier.safetensors", classifier_config())
    write(folder / "multi.safetensors", classifier_config(problem_type="multi_label"))
    write(folder / "regression.safetensors", classifier_config(("score",), "regression"))
    write(folder / "embedder.safetensors", embedding_config())
    write(folder / "prompted.safetensors", embedding_config(default_prompt="passage", similarity="dot"))
    write(folder / "inference.safetensors", classifier_config(("entailment", "neutral", "contradiction")))
    write(folder / "tokens.safetensors", token_config("token-classification", ENTITIES))
    write(folder / "questions.safetensors", token_config("question-answering"))
    write(folder / "vectors.safetensors", token_config("multi-vector"))
    write(folder / "masks.safetensors", token_config("fill-mask"))
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


@pytest.fixture(scope="session")
def classifier_path(tiny_folder) -> Path:
    return tiny_folder / "classifier.safetensors"


@pytest.fixture(scope="session")
def embedder_path(tiny_folder) -> Path:
    return tiny_folder / "embedder.safetensors"


def _model(path: Path):
    import minibert

    # NumPy: what the API does with rows doesn't depend on how they are made.
    return minibert.load(path, backend="numpy")


@pytest.fixture(scope="session")
def classifier(classifier_path):
    return _model(classifier_path)


@pytest.fixture(scope="session")
def embedder(embedder_path):
    return _model(embedder_path)


@pytest.fixture(scope="session")
def tagger(tiny_folder):
    return _model(tiny_folder / "tokens.safetensors")


@pytest.fixture(scope="session")
def answerer(tiny_folder):
    return _model(tiny_folder / "questions.safetensors")


@pytest.fixture(scope="session")
def filler(tiny_folder):
    return _model(tiny_folder / "masks.safetensors")


@pytest.fixture(scope="session")
def colbert(tiny_folder):
    return _model(tiny_folder / "vectors.safetensors")


@pytest.fixture(scope="session")
def inference(tiny_folder):
    return _model(tiny_folder / "inference.safetensors")


@pytest.fixture(scope="session")
def ranker(tiny_folder):
    return _model(tiny_folder / "regression.safetensors")
