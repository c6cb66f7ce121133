"""examples/bulk: every row once and of the same bits as in one process, whatever is killed; what is refused.

`.ci/bulk` installs all frameworks, and says so by MINIBERT_BULK; elsewhere what is missing is left out.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minibert
from minibert.format.carried import located
from tests.examples.rows import row, run
from tests.tiny import classifier_path, embedder_path, tiny_folder  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/bulk"
NEEDS = {"ray": ("ray",), "spark": ("pyspark",), "dask": ("distributed",)}


def need(*modules: str, whole: bool = False) -> None:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent and not os.environ.get("MINIBERT_BULK"):
        pytest.skip(f"needs {', '.join(absent)}: .ci/bulk installs all of them", allow_module_level=whole)
    assert not absent, f"{', '.join(absent)} is not installed"


need("pyarrow", "minibert_minilm", whole=True)
import pyarrow as pa  # noqa: E402
import pyarrow.dataset  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

sys.path.insert(0, str(EXAMPLE))
import command as bulk  # noqa: E402 - programs, which no environment installs
import parts  # noqa: E402

# Parts alone, of a tiny model, by a job that does one part after another.

TEXTS = ["a great movie", "", 'bad, "very"\nbad', "héllo", None, "not like this", "was it good"]


@pytest.fixture
def start(monkeypatch, embedder_path):  # noqa: F811
    """Runs the command in this process; which parts were done, and how it ended."""
    monkeypatch.setenv("MINIBERT_BACKEND", "numpy")
    monkeypatch.setattr(parts, "_MODELS", {})

    def started(*words, model=embedder_path, only=None):
        did = []

        def run(options, job, missing):
            for part in missing[:only]:
                did.append(part.name)
                yield job.work(job.load(lambda: b""), part)

        words = ["job", *words, "--model", model]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        return did, bulk.main("", run, "--address")

    return started


def write(path: Path, texts: list) -> None:
    """A table with the columns key and text; a .txt file of the texts alone."""
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    keys = [f"k{number}" for number in range(len(texts))]
    if kind == ".parquet":
        pq.write_table(
            pa.table({"key": keys, "other": keys, "text": pa.array(texts, pa.string())}), path, row_group_size=3
        )
        return
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8", newline="") as file:
        rows = list(zip(keys, texts, strict=True))
        if kind == ".csv":
            file.write("\ufeff")
            csv.writer(file).writerows([("key", "text"), *rows])
        elif kind == ".tsv":
            file.writelines("\t".join(row) + "\r\n" for row in [("key", "text"), *rows])
        elif kind == ".jsonl":
            file.writelines(json.dumps({"key": key, "text": text}) + "\n\n" for key, text in rows)
        else:
            file.writelines(f"{text}\n" for text in texts)


def answers(out: Path) -> pa.Table:
    return pyarrow.dataset.dataset(out).to_table()


def vectors_of(table: pa.Table) -> list:
    return [None if row is None else np.array(row, np.float32).tobytes() for row in table["vector"].to_pylist()]


def bits(model, texts) -> list:
    return [None if text is None else model.encode(text).tobytes() for text in texts]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("kind", [".parquet", ".csv", ".tsv", ".jsonl", ".txt", ".csv.gz", ".jsonl.gz"])
def test_every_row_of_every_kind(start, tmp_path, embedder_path, kind, size):  # noqa: F811
    plain = kind.startswith((".csv", ".tsv", ".txt"))
    texts = [text for text in TEXTS if not plain or text is not None]
    if kind in (".tsv", ".txt"):
        texts = [text.replace("\n", " ") for text in texts]
    write(tmp_path / f"texts{kind}", texts)
    key = [] if kind == ".txt" else ["--key", "key"]
    did, status = start(tmp_path / f"texts{kind}", "-o", tmp_path / "out", "--rows", size, *key)
    assert status == 0
    assert len(did) == -(-len(texts) // size)
    found = answers(tmp_path / "out")
    assert vectors_of(found) == bits(minibert.load(embedder_path, backend="numpy"), texts)
    if key:
        assert found["key"].to_pylist() == [f"k{number}" for number in range(len(texts))]
    else:
        assert found["row"].to_pylist() == list(range(len(texts)))
        assert set(found["file"].to_pylist()) == {f"texts{kind}"}


def test_a_folder(start, tmp_path, embedder_path):  # noqa: F811
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    write(folder / "b.tsv", ["bad", "good"])
    write(folder / "deep/a.parquet", ["hello"])
    write(folder / "empty.txt", [])
    (folder / "_SUCCESS").write_text("")
    (folder / "picture.png").write_bytes(b"")
    assert start(folder, "-o", tmp_path / "out") == (
        ["part-00000-000000000000.parquet", "part-00001-000000000000.parquet"],
        0,
    )
    found = answers(tmp_path / "out")
    assert found["file"].to_pylist() == ["b.tsv", "b.tsv", "deep/a.parquet"]
    assert found["row"].to_pylist() == [0, 1, 0]
    assert vectors_of(found) == bits(minibert.load(embedder_path, backend="numpy"), ["bad", "good", "hello"])


def test_labels(start, tmp_path, classifier_path):  # noqa: F811
    write(tmp_path / "texts.jsonl", TEXTS)
    assert start(tmp_path / "texts.jsonl", "-o", tmp_path / "out", "--rows", 3, model=classifier_path)[1] == 0
    model = minibert.load(classifier_path, backend="numpy")
    right = [{"label": None, "score": None} if text is None else model.predict(text) for text in TEXTS]
    assert answers(tmp_path / "out").select(["label", "score"]).to_pylist() == right


def test_a_second_run_does_what_is_missing(start, tmp_path, capsys):
    texts, out = tmp_path / "texts.txt", tmp_path / "out"
    write(texts, ["bad"] * 10)
    did, status = start(texts, "-o", out, "--rows", 2, only=3)
    assert (len(did), status) == (3, 2)
    assert "lacks 2 parts, such as part-00000-000000000006.parquet" in capsys.readouterr().err
    assert not (out / "_SUCCESS").exists()
    before = {path: path.stat().st_ino for path in out.iterdir()}
    did, status = start(texts, "-o", out, "--rows", 2)
    assert (did, status) == (["part-00000-000000000006.parquet", "part-00000-000000000008.parquet"], 0)
    assert {path: path.stat().st_ino for path in before} == before
    assert (out / "_SUCCESS").exists()
    assert start(texts, "-o", out, "--rows", 2) == ([], 0)


def test_what_is_refused(start, tmp_path, capsys, classifier_path, embedder_path):  # noqa: F811
    texts, out = tmp_path / "texts.tsv", tmp_path / "out"
    write(texts, ["bad", "good"])
    assert start(texts, "-o", out)[1] == 0

    def refused(words, *said, **options):
        done = start(*words, **options)
        assert done == ([], 2)
        message = capsys.readouterr().err
        assert all(each in message for each in said), message

    other = tmp_path / "other.safetensors"
    other.write_bytes(Path(located("minilm")).read_bytes())
    refused([texts, "-o", out], "out: holds answers of another job (model ", model=other)
    refused([texts, "-o", out], "model ", "task embed, not predict", model=classifier_path)
    refused([texts, "-o", out, "--rows", 1], "rows 2000, not 1")
    refused([texts, "-o", out, "--key", "key"], "key None, not key")
    write(texts, ["bad", "gone"])
    refused([texts, "-o", out], "(texts ")
    refused([texts, "-o", tmp_path], "is not empty, and no folder of such a job")
    refused([tmp_path, "-o", tmp_path / "new"], "lies in the input")
    refused([texts, "-o", tmp_path / "new", "--text", "body"], "no column 'body'; there are: key, text")
    refused([texts, "-o", tmp_path / "new", "--key", "vector"], "answers have a column of that name")
    refused([texts, "-o", tmp_path / "new", "--task", "predict"], "sentence-embedding, which predict cannot use")
    refused([texts, "-o", tmp_path / "new", "--rows", 0], "at least 1")
    refused([tmp_path / "none.tsv", "-o", tmp_path / "new"], "none.tsv")
    texts.write_text("key\ttext\n1\ta\n2\tb\tc\n")
    refused([texts, "-o", tmp_path / "new"], "texts.tsv, row 1: 3 fields, the header has 2")
    texts.write_bytes(b"key\ttext\n1\t\xff\n")
    refused([texts, "-o", tmp_path / "new"], "texts.tsv, row 0: ", "utf-8")
    texts.write_text("key\ttext\n")
    refused([texts, "-o", tmp_path / "new"], "holds no texts")
    assert not (tmp_path / "new").exists()


def test_a_model_that_a_machine_lacks_comes_along(tmp_path, monkeypatch, embedder_path):  # noqa: F811
    monkeypatch.setattr(parts.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(parts, "_MODELS", {})
    fetched = []

    def fetch():
        fetched.append(1)
        return embedder_path.read_bytes()

    other = tmp_path / "model.safetensors"
    other.write_bytes(b"another file of that name")
    for number in range(2):  # as a second worker of the machine
        job = parts.Job(str(number), "", "embed", None, str(other), parts.digest(embedder_path))
        assert job.load(fetch).encode("bad").tobytes() == minibert.load(embedder_path).encode("bad").tobytes()
    assert len(fetched) == 1


# The frameworks.


@pytest.fixture(scope="module")
def many() -> list[str]:
    with gzip.open(ROOT / "examples/banking77/data/train.tsv.gz", "rt", encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t")[1] for line in file][1:6001]


@pytest.fixture(scope="module")
def right(many) -> bytes:
    return minibert.load("minilm").encode(many).tobytes()


@pytest.fixture
def folder(tmp_path, many) -> Path:
    """Where the README's commands run: texts, and a file of minilm that only this test maps."""
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table({"id": range(len(many)), "text": many}), tmp_path / "texts/part.parquet")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copy(located("minilm"), tmp_path / "model.safetensors")
    return tmp_path


def command(name: str, *words: str) -> list[str]:
    """The README's own, with more options."""
    need(*NEEDS[name])
    if name == "spark" and shutil.which("java") is None:
        pytest.skip("needs java")
    found = re.search(
        rf"^    python (examples/bulk/{name}_job\.py .*)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE
    )
    assert found
    return [sys.executable, *found[1].split(), *words]


def complete(folder: Path, right: bytes) -> None:
    found = answers(folder / "vectors").sort_by("row")
    assert found["row"].to_pylist() == list(range(6000))
    assert found["vector"].combine_chunks().flatten().to_numpy().tobytes() == right
    names = {path.name for path in (folder / "vectors").iterdir()}
    assert all(re.fullmatch(r"_job\.json|_SUCCESS|part-\d{5}-\d{12}\.parquet", name) for name in names), names


def workers(folder: Path) -> list[int]:
    """Processes that have the model's file mapped, but for the one that was started."""
    found = []
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if str(folder / "model.safetensors") in maps.read_text():
                found.append(int(maps.parent.name))
        except OSError:  # ended
            pass
    return found


def at_work(folder: Path, job: subprocess.Popen) -> int:
    """Waits until some parts are done; a worker's number."""
    for _ in range(60_000):
        done = list((folder / "vectors").glob("*.parquet"))
        pids = [pid for pid in workers(folder) if pid != job.pid] if len(done) >= 4 else []
        if pids:
            assert len(done) < 100
            return pids[0]
        assert job.poll() is None, "it ended before anything could be killed"
        time.sleep(0.01)
    raise AssertionError("no parts")


def test_the_row_of_the_examples(tmp_path):
    need(*NEEDS["ray"])
    assert run(row("bulk"), tmp_path).returncode == 0
    with gzip.open(ROOT / "examples/banking77/data/train.tsv.gz", "rt", encoding="utf-8") as file:
        rows = sum(1 for _ in file) - 1
    assert len(answers(tmp_path / "vectors")) == rows


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="finds workers by /proc")
@pytest.mark.parametrize("name", NEEDS)
def test_a_job_survives(name, folder, right):
    """A worker that is killed, then the job itself; what is left is done by the command as README has it."""
    words = command(name, "--workers", "2", "--rows", "50", "--model", str(folder / "model.safetensors"))
    with subprocess.Popen(words, cwd=folder) as job:
        os.kill(at_work(folder, job), signal.SIGKILL)
        assert job.wait() == 0
    complete(folder, right)
    shutil.rmtree(folder / "vectors")

    with subprocess.Popen(words, cwd=folder) as job:
        at_work(folder, job)
        job.kill()
    for _ in range(600):  # workers notice that nobody waits for them
        if not workers(folder):
            break
        time.sleep(0.1)
    before = {path: path.stat().st_ino for path in (folder / "vectors").glob("*.parquet")}
    assert 4 <= len(before) < 120
    subprocess.run(words, cwd=folder, check=True)
    complete(folder, right)
    assert {path: path.stat().st_ino for path in before} == before


@pytest.mark.parametrize("name", NEEDS)
def test_the_command_of_the_page(name, folder, right):
    subprocess.run(command(name), cwd=folder, check=True)
    complete(folder, right)
    refused = subprocess.run(command(name, "--rows", "7"), cwd=folder, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds answers of another job (rows 2000, not 7)" in refused.stderr


SHIPPED = """
import argparse, runpy, sys
from pathlib import Path
sys.path.insert(0, "examples/bulk")
import command, parts
texts, model = str(Path("texts").resolve()), str(Path("model.safetensors").resolve())
job = parts.Job(texts, str(Path("vectors").resolve()), "embed", None, model, "0" * 64)
options = argparse.Namespace(workers=2, address=None, master=None)
command.main = lambda description, run, place: list(run(options, job, command.plan(texts, None, None, 500)[0])) and None
runpy.run_path("examples/bulk/{name}_job.py", run_name="__main__")
"""


@pytest.mark.parametrize("name", ["ray", "spark"])
def test_the_model_comes_along(name, folder, right, tmp_path_factory):
    """To workers whose file, as they are told, is another one."""
    command(name)
    temporary = tmp_path_factory.mktemp("node")
    (folder / "vectors").mkdir()
    started = [sys.executable, "-c", SHIPPED.format(name=name)]
    subprocess.run(started, cwd=folder, env={**os.environ, "TMPDIR": str(temporary)}, check=True)
    complete(folder, right)
    (kept,) = temporary.glob("minibert-*/*")
    assert kept.read_bytes() == (folder / "model.safetensors").read_bytes()
