"""predict and encode: texts in, lines out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minibert

TEXTS = ["a great movie", "", "not very good"]
STDIN = "".join(f"{text}\n" for text in TEXTS)


def test_predict_gives_a_line_of_json_for_each_text(run, classifier, classifier_path):
    expected = classifier.predict(TEXTS)
    assert run("predict", classifier_path, *TEXTS, "--json").json_lines == expected
    assert run("predict", classifier_path, "--json", stdin=STDIN).json_lines == expected
    assert run("predict", classifier_path, "--json", "--stream", stdin=STDIN).json_lines == expected
    assert run("predict", classifier_path, "--json", stdin=STDIN.replace("\n", "\r\n")).json_lines == expected
    assert run("predict", classifier_path, "--json", stdin=STDIN.rstrip("\n")).json_lines == expected


def test_predict_options(run, classifier, classifier_path):
    outcome = run("predict", classifier_path, *TEXTS, "--json", "--top-k", "all", "--function", "sigmoid")
    assert outcome.json_lines == classifier.predict(TEXTS, top_k=None, function_to_apply="sigmoid")
    outcome = run("predict", classifier_path, *TEXTS, "--json", "--top-k", 2)
    assert outcome.json_lines == classifier.predict(TEXTS, top_k=2)
    outcome = run("predict", classifier_path, "--pair", "--json", stdin="a great\tmovie\nbad\t\n")
    assert outcome.json_lines == classifier.predict([("a great", "movie"), ("bad", "")])


def test_predict_for_people(run, classifier, classifier_path):
    outcome = run("predict", classifier_path, "a great\x1b[31m movie")
    answer = classifier.predict("a great\x1b[31m movie")
    assert outcome.out == f"{answer['label']:8}   {answer['score']:.4f}  a great [31m movie\n"
    assert "\x1b" not in outcome.out
    outcome = run("predict", classifier_path, "bad", "--top-k", "all")
    assert outcome.out.splitlines()[0] == "bad"
    assert len(outcome.out.splitlines()) == 4


def test_options_and_texts_in_any_order(run, classifier, classifier_path):
    expected = classifier.predict(TEXTS)
    assert run("predict", "--json", classifier_path, *TEXTS).json_lines == expected
    assert run("predict", classifier_path, TEXTS[0], "--json", *TEXTS[1:]).json_lines == expected
    assert run("predict", classifier_path, "--json", "--", *TEXTS).json_lines == expected


def test_vectors_of_tokens(run, colbert, tiny_folder, tmp_path):
    path = tiny_folder / "vectors.safetensors"
    for side, encode in (("query", colbert.encode_query), ("document", colbert.encode_document)):
        answers = run("encode", path, *TEXTS, "--side", side).json_lines
        assert [np.float32(answer).tolist() for answer in answers] == [each.tolist() for each in encode(TEXTS)]
    assert "use encode_query or encode_document" in run("encode", path, "bad").err
    assert "--npy writes one matrix" in run("encode", path, "bad", "--npy", tmp_path / "out.npy").err
    assert "no option 'truncate_dim'" in run("encode", path, "bad", "--side", "query", "--truncate-dim", 2).err
    assert "a vector for each" in run("inspect", path).out
    ranked = run("predict", path, *TEXTS, "--query", "is it good?", "--json").json_lines
    assert ranked == [colbert.rank("is it good?", TEXTS, return_documents=True)]


def test_vectors_of_queries(run, embedder, embedder_path):
    (answer,) = run("encode", embedder_path, "bad", "--side", "query").json_lines
    assert np.float32(answer).tolist() == embedder.encode_query("bad").tolist()


def test_nothing_in_nothing_out(run, classifier_path, embedder_path, tmp_path):
    assert run("predict", classifier_path, stdin="").out == ""
    assert run("encode", embedder_path, stdin="").out == ""
    assert run("encode", embedder_path, "--npy", tmp_path / "none.npy", stdin="").code == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 40)


def test_bytes_that_are_no_text(run, classifier, classifier_path):
    outcome = run("predict", classifier_path, "--json", stdin=b"a great\xff movie\n")
    assert outcome.json_lines == [classifier.predict("a great\ufffd movie")]
    outcome = run("predict", classifier_path, "--json", stdin=b"bad \xef\xbf\xbd\nbad\xff\n\xfe\n")
    assert outcome.json_lines == classifier.predict(["bad \ufffd", "bad\ufffd", "\ufffd"])
    message = "warning: line 2 of stdin is no UTF-8; what cannot be read is taken for U+FFFD"
    assert outcome.err == f"minibert: {message}\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_stdin_of_another_encoding(run, classifier_path, encoding):
    outcome = run("predict", classifier_path, "--json", stdin="bad\ngood\n".encode(encoding))
    assert (outcome.code, outcome.out) == (1, "")
    assert "stdin: is no UTF-8 but UTF-16" in outcome.err


def test_lines_of_any_length_and_a_byte_order_mark(run, classifier, classifier_path):
    texts = ["bad", "", "very " * 40_000, "good\0", "\ufeffbad", "a great movie"]
    outcome = run("predict", classifier_path, "--json", stdin="\ufeff" + "\n".join(texts))
    with pytest.warns(minibert.TruncationWarning):
        assert outcome.json_lines == classifier.predict(texts)


def test_a_bad_line_comes_after_the_answers_before_it(run, classifier_path):
    outcome = run("predict", classifier_path, "--pair", "--json", stdin="a\tb\nc d\ne\tf\n")
    assert outcome.code == 1
    assert len(outcome.out.splitlines()) == 1
    assert outcome.err == "minibert: error: text 2 must be a pair with one tab between, got 0 tabs\n"


def test_truncation_is_stated_on_stderr(run, classifier_path):
    outcome = run("predict", classifier_path, "very " * 50, "bad", "--json")
    assert outcome.code == 0
    assert outcome.err == "minibert: warning: 1 of 2 texts was cut to 24 tokens; what came after was not read\n"
    outcome = run("predict", classifier_path, "very " * 50, "--no-truncation")
    assert outcome.code == 1
    assert outcome.err == "minibert: error: text 0 has 52 tokens, more than 24, and truncation is off\n"


def test_encode_prints_vectors_that_come_back_exactly(run, embedder, embedder_path):
    lines = run("encode", embedder_path, *TEXTS).json_lines
    assert (np.array(lines, np.float32) == embedder.encode(TEXTS)).all()
    outcome = run("encode", embedder_path, "--normalize", "--truncate-dim", 8, "--prompt-name", "query", stdin=STDIN)
    expected = embedder.encode(TEXTS, "query", normalize_embeddings=True, truncate_dim=8)
    assert (np.array(outcome.json_lines, np.float32) == expected).all()
    outcome = run("encode", embedder_path, "--precision", "binary", "--json", *TEXTS)
    assert outcome.json_lines == embedder.encode(TEXTS, precision="binary").tolist()


def test_encode_reads_long_texts_in_windows(run, embedder, embedder_path, tiny_folder, tmp_path):
    texts = ["bad", "very good film " * 20]
    outcome = run("encode", embedder_path, "--windows", "--max-length", 12, "--normalize", stdin="\n".join(texts))
    expected = embedder.encode(texts, windows=True, max_length=12, normalize_embeddings=True)
    assert (np.array(outcome.json_lines, np.float32) == expected).all()
    assert outcome.err == ""
    run("encode", embedder_path, *texts, "--windows", "--no-truncation", "--npy", tmp_path / "out.npy")
    assert (np.load(tmp_path / "out.npy") == embedder.encode(texts, windows=True)).all()
    (answer,) = run("encode", embedder_path, texts[1], "--side", "query", "--windows").json_lines
    assert np.float32(answer).tolist() == embedder.encode_query(texts[1], windows=True).tolist()
    colbert = tiny_folder / "vectors.safetensors"
    assert "windows are for models of one" in run("encode", colbert, "bad", "--side", "query", "--windows").err
    masks = tiny_folder / "masks.safetensors"
    assert "--windows is no option of --sparse" in run("encode", masks, "--sparse", "--windows", "a").err


def test_encode_to_a_matrix(run, embedder, embedder_path, tmp_path):
    outcome = run("encode", embedder_path, "--npy", tmp_path / "out.npy", stdin=STDIN)
    assert outcome.out == ""
    assert (np.load(tmp_path / "out.npy") == embedder.encode(TEXTS)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]
    outcome = run("encode", embedder_path, "--npy", tmp_path / "none" / "out.npy", "bad")
    assert outcome.code == 1
    assert "no such folder" in outcome.err


def test_the_wrong_task(run, classifier_path, embedder_path):
    assert "use encode" in run("predict", embedder_path, "bad").err
    assert "use predict" in run("encode", classifier_path, "bad").err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "required"),
        (("nothing",), 2, "there is no command 'nothing'"),
        (("convrt", "x"), 2, "there is no command 'convrt'; did you mean 'convert'?"),
        (("predict", "x", "--nothing"), 2, "unrecognized arguments: --nothing"),
        (("predict", "x", "--topk", "3"), 2, "did you mean '--top-k'?"),
        (("predict", "x", "--task", "fil-mask"), 2, "did you mean 'fill-mask'?"),
        (("help", "predikt"), 2, "did you mean 'predict'?"),
        (("help", "predict"), 0, ""),
        (("help",), 0, ""),
        (("-V",), 0, ""),
        (("predict",), 2, "required: FILE"),
        (("predict", "x", "--top-k", "0"), 2, "at least 1"),
        (("predict", "x", "--threads", "two"), 2, "invalid positive value"),
        (("predict", "none.safetensors", "bad"), 1, "no such file"),
        (("inspect", "none.safetensors"), 1, "no such file"),
        (("--nothing", "predict"), 2, "unrecognized arguments"),
        (("--version",), 0, ""),
        (("--help",), 0, ""),
    ],
)
def test_exit_codes(run, arguments, code, message):
    outcome = run(*arguments)
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_errors_are_one_line(run, tmp_path):
    (tmp_path / "broken\nname").write_bytes(b"12345678{" * 10)
    outcome = run("predict", tmp_path / "broken\nname", "bad")
    assert outcome.code == 1
    assert outcome.err.startswith("minibert: error: ")
    assert outcome.err.count("\n") == 1


# As a process: pipes and signals.

COMMAND = [sys.executable, "-m", "minibert"]
ENVIRONMENT = {**os.environ, "MINIBERT_BACKEND": "numpy"}


def test_a_reader_that_has_seen_enough(classifier_path):
    with subprocess.Popen(
        [*COMMAND, "predict", str(classifier_path), "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"bad\n" * 5000)
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_answers_come_line_by_line_and_ctrl_c_ends(classifier_path):
    with subprocess.Popen(
        [*COMMAND, "predict", str(classifier_path), "--json", "--stream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for _ in range(2):
            process.stdin.write(b"bad\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b'{"label"')
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b"minibert: stopped\n"


def shell(redirection: str, *arguments: object, encoding: str = "utf-8", stdin: str = "") -> tuple[int, bytes, str]:
    """A command with its streams as a shell leaves them: exit code, stdout, stderr."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *map(str, arguments)],
        input=stdin.encode(),
        capture_output=True,
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_streams_that_are_closed(classifier, classifier_path, embedder_path, tmp_path):
    right = [classifier.predict("bad")]
    code, out, err = shell("<&-", "predict", classifier_path, "--json")
    assert (code, out, err) == (
        1,
        b"",
        "minibert: error: stdin is closed: give texts on the command line, or lines on stdin\n",
    )
    code, out, err = shell("<&-", "predict", classifier_path, "bad", "--json")
    assert (code, [json.loads(out)], err) == (0, right, "")
    assert shell(">&-", "predict", classifier_path, "bad") == (
        *(1, b""),
        "minibert: error: stdout: Bad file descriptor\n",
    )
    code, out, err = shell("2>&-", "predict", classifier_path, "bad", "very " * 40, "--json")
    assert (code, [json.loads(line) for line in out.splitlines()][:1], err) == (0, right, "")
    assert shell(">&- 2>&-", "encode", embedder_path, "bad", "--npy", tmp_path / "out.npy") == (0, b"", "")
    assert np.load(tmp_path / "out.npy").shape == (1, 40)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout(classifier_path):
    message = "minibert: error: No space left on device\n"
    assert shell(">/dev/full", "predict", classifier_path, "bad") == (1, b"", f"{message}")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding(tagger, tiny_folder, encoding):
    text = "😀 é 電 \ud800"
    arguments = ("predict", tiny_folder / "tokens.safetensors", "--json", "--aggregation", "simple")
    code, out, _ = shell("", *arguments, encoding=encoding, stdin="😀 é 電")
    assert code == 0
    assert json.loads(out.decode(encoding)) == tagger.predict(text[:-2], aggregation_strategy="simple")


@pytest.mark.skipif(os.name != "posix", reason="select knows pipes on POSIX only")
def test_whoever_waits_for_more_lines_is_told_of_stream(classifier_path):
    with subprocess.Popen(
        [*COMMAND, "predict", str(classifier_path), "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"bad\n")
        process.stdin.flush()
        assert b"--stream gives each by itself" in process.stderr.readline()
        process.stdin.close()
        assert process.stdout.readline().startswith(b'{"label"')
        assert process.stderr.read() == b""
