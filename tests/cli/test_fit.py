from __future__ import annotations

import minibert

TEXTS = ["a great movie", "good", "i like this", "great actor", "bad", "it was bad", "a bad plot", "not good"]
TABLE = "text\tlabel\n" + "".join(f"{text}\t{'-+'[place < 4]}\n" for place, text in enumerate(TEXTS))


def test_fit_writes_a_classifier(run, embedder_path, tmp_path):
    (tmp_path / "examples.tsv").write_text(TABLE)
    out = tmp_path / "classifier.safetensors"
    done = run("fit", embedder_path, tmp_path / "examples.tsv", "-o", out, "--C", "1000", "--folds", "2", "--json")
    assert done.code == 0, done.err
    assert done.json["examples"] == 8
    assert done.json["folds"] == 2
    assert done.json["bytes"] == out.stat().st_size
    assert (
        run("predict", out, "bad", "--json").json["label"]
        == minibert.load(out, backend="numpy").predict("bad")["label"]
    )
    again = ("fit", embedder_path, tmp_path / "examples.tsv", "-o", out, "--other-below", "0.99", "--other", "?")
    assert "--force" in run(*again).err
    people = run(*again, "--force")
    assert people.out.splitlines()[0].split() == ["examples", "8"]
    assert minibert.load(out).task.other == "?"
    assert "converged" not in people.out
    assert "converged" in run(*again, "--force", "--C", "1e-29").out
    assert "fit" in run("inspect", out).out


def test_columns_are_found_or_named(run, embedder_path, tmp_path):
    table = tmp_path / "examples.csv"
    table.write_text(TABLE.replace("\t", ",").replace("text,label", "what,kind"))
    out = tmp_path / "classifier.safetensors"
    missing = run("fit", embedder_path, table, "-o", out)
    assert missing.code == 1
    assert "--text" in missing.err
    assert not out.exists()
    assert run("fit", embedder_path, table, "-o", out, "--text", "what", "--label", "kind").code == 0
    wrong = run("fit", embedder_path, table, "-o", table, "--text", "what", "--label", "kind")
    assert wrong.code == 1
    assert table.read_text().startswith("what")
    model = tmp_path / "model.safetensors"
    model.write_bytes(embedder_path.read_bytes())
    own = run("fit", model, table, "-o", model, "--force", "--text", "what", "--label", "kind")
    assert own.code == 1
    assert minibert.load(model).task.kind == "sentence-embedding"
    assert "exists; to replace it give --force" in run("fit", embedder_path, table, "-o", out).err
    assert "--other-below" in run("fit", embedder_path, table, "-o", out, "--other", "x").err
