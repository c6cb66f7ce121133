"""Static models: the folders of model2vec and of sentence-transformers, and what each makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import minibert
from minibert.errors import CheckpointError, InputError, UnsupportedError
from minibert.format import read_model
from minibert_converter.checkpoints.estimator import read_linear_classifier
from minibert_converter.convert import convert
from tests.checkpoints import vocabulary, write_json

HERE = Path(__file__).parents[1] / "golden/setfit"
SIZE = 203
#: Long ones, ones of unknown words alone, none at all.
TEXTS = [
    "a great movie",
    "",
    " \t",
    "\u96fb",
    "bad \u96fb\u96fb movie",
    "good " * 40,
    "[UNK] [CLS]",
    "x" * 3000,
    "a b " * 300,
    "not (bad)",
]
MODULES = "sentence_transformers.sentence_transformer.modules."


def tokenizer(kind: str = "wordpiece") -> Tokenizer:
    tokens = vocabulary(SIZE)
    if kind == "unigram":
        made = Tokenizer(models.Unigram([(token, -float(i)) for i, token in enumerate(tokens)], unk_id=1))
    else:
        made = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    made.add_special_tokens(tokens[:5])
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))  # type: ignore[assignment]
    made.enable_padding()
    return made


def write(folder: Path, tensors: dict[str, np.ndarray], kind: str = "wordpiece") -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    tokenizer(kind).save(str(folder / "tokenizer.json"))
    return folder


def rows(count: int = SIZE, seed: int = 0, width: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def of_model2vec(
    folder: Path, *, kind: str = "wordpiece", dtype: str = "float32", shared: bool = False, **config
) -> Path:
    """As `save_pretrained` writes it; with `shared`, tokens share rows and have factors."""
    table = rows(31 if shared else SIZE)
    table = (table * 30).astype(np.int8) if dtype == "int8" else table.astype(dtype)
    tensors = {"embeddings": table}
    if shared:
        random = np.random.default_rng(1)
        tensors |= {"mapping": random.integers(0, 31, SIZE), "weights": random.uniform(0.1, 3, SIZE)}
    write(folder, tensors, kind)
    write_json(folder / "config.json", {"model_type": "model2vec", "architectures": ["StaticModel"], **config})
    return folder


def of_sentence_transformers(folder: Path, *kinds: str, modules: tuple[tuple[str, str], ...] = ()) -> Path:
    modules = modules or (("", "StaticEmbedding"), *((f"{n + 1}_{kind}", kind) for n, kind in enumerate(kinds)))
    entries = [
        {"idx": n, "name": str(n), "path": path, "type": MODULES + kind} for n, (path, kind) in enumerate(modules)
    ]
    home = folder / modules[0][0]
    write(home, {"embedding.weight": rows()})
    write_json(folder / "modules.json", entries)
    return folder


def as_model2vec(folder: Path, texts: list[str], max_length: int | None) -> np.ndarray:
    """What StaticModel.encode answers: its own arithmetic, in NumPy (model2vec 0.10)."""
    from safetensors.numpy import load_file

    tensors, made = load_file(folder / "model.safetensors"), Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    made.no_padding()
    median = int(np.median([len(token) for token in made.get_vocab()]))
    if max_length is not None:
        made.enable_truncation(max_length)
        texts = [text[: max_length * median] for text in texts]
    answers = []
    for text in texts:
        ids = [id for id in made.encode(text, add_special_tokens=False).ids if id != 1]
        table = tensors["embeddings"].astype(np.float64)[tensors["mapping"][ids] if "mapping" in tensors else ids]
        if "weights" in tensors:
            table = table * tensors["weights"][ids][:, None]
        row = table.mean(axis=0) if ids else np.zeros(table.shape[1])
        answers.append(row / (np.linalg.norm(row) + 1e-32) if config.get("normalize") else row)
    return np.array(answers, np.float32)


FOLDERS = {
    "plain": {},
    "normalized": {"normalize": True, "max_length": 7},
    "without a limit": {"max_length": None},
    "unigram": {"kind": "unigram", "normalize": True},
    "shared rows": {"shared": True, "normalize": True},
    "shared rows of int8": {"shared": True, "dtype": "int8"},
    "int8": {"dtype": "int8", "normalize": True, "max_length": 9},
    "float16": {"dtype": "float16"},
}


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
@pytest.mark.parametrize("name", FOLDERS)
def test_vectors_are_those_of_model2vec(name, tmp_path):
    folder = of_model2vec(tmp_path / "folder", **FOLDERS[name])
    limit = FOLDERS[name].get("max_length", 512)
    expected = as_model2vec(folder, TEXTS, limit)
    for quantize, error in (("none", 1e-5), ("int8", 0.02)):
        convert(folder, tmp_path / "made", quantize=quantize)
        model = minibert.load(tmp_path / "made", backend="numpy")
        np.testing.assert_allclose(model.encode(TEXTS), expected, rtol=1e-5, atol=error * np.abs(expected).max())
        np.testing.assert_array_equal(model.encode(TEXTS), [model.encode(text) for text in TEXTS])
        assert model.config.tables["embeddings.word"].kind == (
            "int8" if "int8" in (FOLDERS[name].get("dtype"), quantize) else "float32"
        )
    convert(folder, tmp_path / "made", quantize="none")
    short = minibert.load(tmp_path / "made", backend="numpy").encode(TEXTS, max_length=3)
    np.testing.assert_allclose(short, as_model2vec(folder, TEXTS, 3), rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    try:
        from model2vec import StaticModel
    except ImportError:
        return
    answers = StaticModel.from_pretrained(folder).encode(TEXTS).astype(np.float32)
    np.testing.assert_allclose(
        answers, expected, rtol=1e-5, atol=(1e-2 if name == "float16" else 1e-5) * np.abs(expected).max()
    )


@pytest.mark.filterwarnings("ignore::minibert.TruncationWarning")
@pytest.mark.parametrize("side", [None, "right", "left"])
def test_vectors_are_those_of_sentence_transformers(side, tmp_path):
    """All tokens count, and tokenizer.json says how many."""
    folder = of_sentence_transformers(tmp_path / "folder", "Normalize")
    made = tokenizer()
    if side:
        made.enable_truncation(5, direction=side)
        made.save(str(folder / "tokenizer.json"))
    made.no_padding()
    ids = [one.ids for one in made.encode_batch(TEXTS, add_special_tokens=False)]
    expected = np.array([rows()[each].mean(axis=0) if each else np.zeros(20) for each in ids])
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    convert(folder, tmp_path / "made", quantize="none")
    model = minibert.load(tmp_path / "made", backend="numpy")
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)
    assert not model.encode("").any()
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return
    np.testing.assert_allclose(SentenceTransformer(str(folder), device="cpu").encode(TEXTS), expected, atol=1e-6)


def test_modules_behind_it_and_prompts(tmp_path):
    folder = of_sentence_transformers(
        tmp_path / "folder", modules=(("0_StaticEmbedding", "StaticEmbedding"), ("1_Dense", "Dense"))
    )
    (folder / "1_Dense").mkdir()
    dense = {
        "in_features": 20,
        "out_features": 7,
        "bias": False,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    write_json(folder / "1_Dense/config.json", dense)
    save_file({"linear.weight": rows(7, 2)}, folder / "1_Dense/model.safetensors")
    write_json(
        folder / "config_sentence_transformers.json", {"prompts": {"query": "good "}, "similarity_fn_name": "dot"}
    )
    texts = ["movie", "bad [UNK]"]
    ids = [[*tokenizer().encode("good " + text, add_special_tokens=False).ids] for text in texts]
    expected = np.tanh(np.array([rows()[each].mean(axis=0) for each in ids]) @ rows(7, 2).T)
    for quantize, error in (("none", 1e-5), ("int8", 0.05)):
        convert(folder, tmp_path / "made", quantize=quantize)
        model = minibert.load(tmp_path / "made", backend="numpy")
        np.testing.assert_allclose(model.encode(texts, prompt_name="query"), expected, atol=error)
    assert model.task.similarity == "dot"


@pytest.mark.parametrize("normalized", [False, True])
def test_a_classifier_of_setfit_behind_it(tmp_path, normalized):
    """SetFit's encoder is sentence-transformers', so unknown words count."""
    folder = of_model2vec(tmp_path / "folder", normalize=False)
    save_file({"embeddings": rows(width=96)}, folder / "model.safetensors")
    entry = {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}
    write_json(folder / "modules.json", [entry])
    shutil.copy(HERE / "two.joblib", folder / "model_head.pkl")
    write_json(folder / "config_setfit.json", {"labels": ["no", "yes"], "normalize_embeddings": normalized})
    convert(folder, tmp_path / "made", quantize="none")
    model = minibert.load(tmp_path / "made", backend="numpy")
    assert model.task.kind == "text-classification"
    assert model.config.text.ignored_id == -1
    texts = ["good", "", "bad [UNK]"]
    ids = [tokenizer().encode(text, add_special_tokens=False).ids for text in texts]
    vectors = np.array([rows(width=96)[each].mean(axis=0) if each else np.zeros(96) for each in ids])
    if normalized:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    classifier = read_linear_classifier(folder / "model_head.pkl")
    logits = vectors @ classifier.weight.T + classifier.bias
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    for answer, score in zip(model.predict(texts, top_k=None), scores, strict=True):
        found = {each["label"]: each["score"] for each in answer}
        np.testing.assert_allclose([found["no"], found["yes"]], score, atol=1e-5)


def test_threads_change_no_vector_and_no_message(tmp_path):
    convert(of_model2vec(tmp_path / "folder", max_length=100), tmp_path / "made")
    texts = [*TEXTS, "\ud83d\ude00 movie", "\ud800 bad", ("good", "bad")] * 3  # surrogates, and pairs in a list
    with pytest.warns(minibert.TruncationWarning, match="6 of 39 texts were cut to 100 tokens"):
        alone = minibert.load(tmp_path / "made", threads=1, backend="numpy").encode(texts)
    model = minibert.load(tmp_path / "made", backend="numpy")
    model.pipeline._at_once = True
    with pytest.warns(minibert.TruncationWarning, match="6 of 39 texts were cut to 100 tokens"):
        np.testing.assert_array_equal(model.encode(texts), alone)
    with pytest.raises(InputError, match="text 5 has 3000 characters"):
        model.encode(["good"] * 5 + ["x" * 3000], truncation=False)


def test_words_that_texts_lack_are_left_out(tmp_path):
    """The row of a text without tokens stays the last, and the unknown token is known by its new number."""
    folder = of_model2vec(tmp_path / "folder", normalize=True)
    texts = ["a great movie", "bad \u96fb", ""]
    (tmp_path / "texts.txt").write_text("\n".join(texts[:2]))
    convert(folder, tmp_path / "whole", quantize="none")
    convert(folder, tmp_path / "cut", quantize="none", vocab_from=tmp_path / "texts.txt")
    whole, cut = (minibert.load(tmp_path / name, backend="numpy") for name in ("whole", "cut"))
    assert cut.config.architecture.vocab_size < whole.config.architecture.vocab_size
    assert cut.config.text.empty_id == cut.config.architecture.vocab_size - 1
    np.testing.assert_array_equal(cut.encode(texts), whole.encode(texts))


@pytest.mark.parametrize("form", ["int4", "codebook"])
def test_compact_tables_keep_the_row_of_an_empty_text(form, tmp_path):
    folder = of_model2vec(tmp_path / "folder")
    convert(folder, tmp_path / "made", embeddings=[form])
    model = minibert.load(tmp_path / "made", backend="numpy")
    assert model.config.tables["embeddings.word"].kind == form
    assert not model.encode("").any()
    assert model.encode("a great movie").any()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"prune": ["4x4:0.5"]}, "prune is for layers"),
        ({"share": "2x1"}, "share is for layers"),
        ({"early_exit": []}, "early_exit is for layers"),
        ({"embeddings": ["low-rank:4"]}, "low-rank:4 is for models with layers"),
    ],
)
def test_what_is_done_to_layers_is_refused(options, what, tmp_path):
    with pytest.raises(InputError, match=what):
        convert(of_model2vec(tmp_path / "folder"), tmp_path / "made", **options)


def test_files_say_what_was_left_out(tmp_path):
    folder = of_model2vec(tmp_path / "folder", tokenizer_name="x", sif_coefficient=1e-4, strange=1)
    (folder / "pipeline.skops").write_bytes(b"")
    report = convert(folder, tmp_path / "made")
    notes = " ".join(read_model(tmp_path / "made").config.report["notes"])
    assert "strange" in notes
    assert "the classifier of model2vec" in notes
    assert "sif_coefficient" not in notes
    assert report.file_bytes


def spoil(name: str, folder: Path) -> None:
    tensors = {"embeddings": rows()}
    if name == "rows":
        tensors = {"embeddings": rows(SIZE - 1)}
    elif name == "mapping":
        tensors["mapping"] = np.full(SIZE, SIZE)
    elif name == "types":
        tensors["mapping"] = np.zeros(SIZE, np.float32)
    elif name == "weights":
        tensors["weights"] = np.zeros(SIZE + 1, np.float32)
    elif name == "stranger":
        tensors["other"] = rows()
    elif name == "shape":
        tensors["embeddings"] = rows()[0]
    save_file(tensors, folder / "model.safetensors")
    if name == "tokenizer":
        (folder / "tokenizer.json").unlink()
    if name == "normalize":
        entry = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
        write_json(folder / "modules.json", [entry])
    if name == "length":
        write_json(folder / "config.json", {"model_type": "model2vec", "max_length": "long"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows", "gives a token the id 202, but the table has only 202 rows"),
        ("mapping", "leads to rows that are not there"),
        ("types", "not as whole numbers"),
        ("weights", "'weights' has shape"),
        ("stranger", "1 tensors are no part"),
        ("shape", "not that of a table"),
        ("tokenizer", "no tokenizer.json"),
        ("normalize", "modules.json lacks a module Normalize"),
        ("length", "not a flag and a length"),
    ],
)
def test_broken_folders_are_refused(name, message, tmp_path):
    folder = of_model2vec(tmp_path / "folder", normalize=True)
    spoil(name, folder)
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "made")


def test_other_tasks_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="fill-mask"):
        convert(of_model2vec(tmp_path / "folder"), tmp_path / "made", task="fill-mask")
