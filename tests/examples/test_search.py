"""examples/search: chunks, the index and what it withstands, rankings, the command line, the service, and its page."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

import minibert
from tests.tiny import tiny_folder  # noqa: F401 - a fixture

EXAMPLE = Path(__file__).parents[2] / "examples/search"
sys.path.insert(0, str(EXAMPLE))

from localsearch import files, indexing, ranker  # noqa: E402 - a program, which no environment installs
from localsearch.app import serve_at  # noqa: E402
from localsearch.chunks import TOKENS, chunks_of  # noqa: E402
from localsearch.ranker import Ranker, expression, fused, words_of  # noqa: E402
from localsearch.store import Document, FileState, SearchError, Store, identity, quantized  # noqa: E402

NOTES = {
    "money.md": (
        "# Shop\n\n## Refunds\n\nRefunds take five days. The amount goes back to your card.\n\n"
        "## Delivery\n\nA van comes.\n"
    ),
    "museum.txt": "The museum is closed on Mondays.\n\nChildren pay nothing.\n",
    "deep/er/cats.txt": "Cats sleep for most of the day. A kitten sleeps even more.\n",
}


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("minibert_minilm", reason="needs packages/minilm")
    return minibert.load("minilm", threads=1)


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    for name, text in NOTES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def opened(notes, model):
    """An index of the notes in a folder beside them, open for writing, and up to date."""
    store = Store(notes.parent / "index.db", notes, identity(model), write=True)
    indexing.update(store, model, notes)
    yield store
    store.close()


def reading(opened, notes, model) -> Ranker:
    return Ranker(Store(opened.path, notes, identity(model)), model)


# Chunks.


def test_headings_of_markdown(model):
    text = (
        "---\ntitle: x\n---\nBefore.\n\n# One #\n\nA.\n\n### Deep\n\nB.\n\n```\n# no heading\n```\n\n## Two\n\nC.\n\n"
        "Under\n=====\n\nD.\n\n---\n\n#hashtag\n"
    )
    found = [(chunk.heading, chunk.text) for chunk in chunks_of(text, "x.md", model)]
    assert found == [
        ("", "Before."),
        ("One", "A."),
        ("One \u203a Deep", "B.\n\n```\n# no heading\n```"),
        ("One \u203a Two", "C."),
        ("Under", "D.\n\n---\n\n#hashtag"),
    ]
    for chunk in chunks_of(text, "x.md", model):
        assert text[chunk.start :].startswith(chunk.text)
        assert chunk.line == text[: chunk.start].count("\n") + 1
    assert [chunk.heading for chunk in chunks_of("# One\n\nA.", "x.txt", model)] == [""]


@pytest.mark.parametrize(
    "part", ["A sentence of seven words stands here. ", "word ", "x", "字", "\n\nA paragraph.", "é\n"]
)
def test_a_long_text_is_cut_and_nothing_is_left_out(model, part):
    text = part * (9000 // len(part))
    made = list(chunks_of(f"# Title\n\n{text}", "x.md", model))
    assert len(made) > 1
    assert all(model.token_count(chunk.read) <= TOKENS for chunk in made)
    covered = len("# Title\n")
    whole = f"# Title\n\n{text}"
    for chunk in made:
        assert not whole[covered : chunk.start].strip()  # nothing but white space between two chunks
        assert chunk.start + len(chunk.text) > covered
        covered = chunk.start + len(chunk.text)
    assert not whole[covered:].strip()


def test_chunks_end_with_paragraphs_or_overlap_by_a_sentence(model):
    paragraph = "The cat sleeps in the sun. " * 10
    made = list(chunks_of(f"{paragraph.strip()}\n\n" * 6, "x.txt", model))
    assert all(
        chunk.text.endswith("sun.") and len(chunk.text) % (len(paragraph) + 1) == len(paragraph) - 1 for chunk in made
    )
    first, second, *_ = chunks_of("The cat sleeps in the sun. " * 100, "x.txt", model)
    assert first.text.endswith("sun.")
    assert second.text.startswith("The cat")
    assert second.start < len(first.text)


@pytest.mark.parametrize("text", ["", " \n\n\t", "# Only a title\n", "---\n---\n", "```\nnever closed"])
def test_texts_without_much(model, text):
    assert len(list(chunks_of(text, "x.md", model))) == ("closed" in text)


# Rankings.


def test_reciprocal_rank_fusion():
    assert fused([1, 2], [2, 3], k=60) == pytest.approx({2: 1 / 62 + 1 / 61, 1: 1 / 61, 3: 1 / 62})
    assert list(fused([1, 2], [2, 3])) == [2, 1, 3]
    assert fused([], []) == {}


def test_similarities_are_cosines():
    random = np.random.default_rng(0)
    rows, query = random.standard_normal((1300, 24), np.float32), random.standard_normal(24, np.float32)
    found = ranker.Vectors(np.arange(1300), quantized(rows)).similarities(query)
    exact = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    assert np.abs(found - exact).max() < 0.01
    assert ranker.Vectors(np.zeros(0, np.int64), np.zeros((0, 0), np.int8)).similarities(query).shape == (0,)
    assert not quantized(np.zeros((1, 4), np.float32)).any()


def test_both_rankings_find(opened, notes, model):
    answers = reading(opened, notes, model)
    hit = answers.search("when do I get my money back?")[0]
    assert (hit.path, hit.heading, hit.line, hit.by_meaning) == ("money.md", "Shop \u203a Refunds", 5, 1)
    assert hit.similarity is not None
    word = answers.search("kittens", mode="words")
    assert [(each.path, each.snippet) for each in word] == [
        ("deep/er/cats.txt", "Cats sleep for most of the day. A \x02kitten\x03 sleeps even more.")
    ]
    assert word[0].similarity is None
    assert len(answers.search("animals", limit=2, mode="dense")) == 2
    assert answers.search("animals", mode="words") == []
    heading = answers.search("delivery", mode="words")[0]  # a word of the heading alone
    assert heading.snippet == "A van comes."


SYNTAX = ('"', "'", "NEAR(", "a AND", "* - ^", "words:x", "heading : x", "x OR", "(((")


@pytest.mark.parametrize("query", [*SYNTAX, "\0", "_", "__ a_b", "\ud800", "%", "🙂", "字", "a" * 9999, "x y " * 999])
def test_no_query_is_syntax(opened, notes, model, query):
    answers = reading(opened, notes, model)
    for mode in ranker.MODES:
        answers.search(query, mode=mode)
    assert answers.search("") == answers.search(" \n") == []


def test_words_that_all_have_are_passed_over_unless_alone(tmp_path, model):
    for number in range(ranker.DEPTH + 10):
        (tmp_path / f"{number}.txt").write_text(f"common word {number}")
    (tmp_path / "rare.txt").write_text("an uncommon one")
    store = Store(tmp_path / "x.db", tmp_path, identity(model), write=True)
    indexing.update(store, model, tmp_path)
    answers = Ranker(store, model)
    assert len(answers.search("common", 100, "words")) == ranker.DEPTH
    assert [hit.path for hit in answers.search("common uncommon", 100, "words")] == ["rare.txt"]
    assert expression(words_of("Foo foo-bar_baz")) == '"foo" OR "bar" OR "baz"'


def test_a_reranker_has_the_last_word(opened, notes, model, tiny_folder):  # noqa: F811
    plain = reading(opened, notes, model)
    judge = minibert.load(tiny_folder / "regression.safetensors", threads=1)
    answers = Ranker(plain.store, model, judge)
    found = answers.search("good", limit=2)
    everything = {hit.text: hit for hit in plain.search("good", limit=100)}
    expected = judge.rank("good", list(everything), top_k=2, return_documents=True)
    assert [(hit.text, hit.score) for hit in found] == [(each["text"], each["score"]) for each in expected]


# The index.


def test_only_what_changed_is_read_again(opened, notes, model, monkeypatch):
    read = []
    monkeypatch.setattr(
        indexing, "chunks_of", lambda text, name, model: read.append(name) or chunks_of(text, name, model)
    )

    def update() -> tuple[int, int, list[str]]:
        read.clear()
        changes = indexing.update(opened, model, notes)
        return changes.indexed, changes.removed, sorted(read)

    assert update() == (0, 0, [])
    os.utime(notes / "museum.txt", (1, 1))
    assert update() == (0, 0, [])  # its bytes are the same
    assert opened.states()["museum.txt"].mtime == 10**9
    (notes / "museum.txt").write_text("The museum is open again.")
    (notes / "new.md").write_text("# New\n\nzebra")
    assert update() == (2, 0, ["museum.txt", "new.md"])
    (notes / "new.md").rename(notes / "moved.md")
    shutil.rmtree(notes / "deep")
    assert update() == (1, 2, ["moved.md"])
    answers = reading(opened, notes, model)
    assert [hit.path for hit in answers.search("zebra", mode="words")] == ["moved.md"]
    assert answers.search("kitten Mondays", mode="words") == []
    assert opened.counts() == (3, 4)
    # What FTS5 keeps of its own fits the chunks.
    with sqlite3.connect(opened.path) as database:
        database.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")


def test_an_open_ranker_sees_changes(opened, notes, model):
    answers = reading(opened, notes, model)
    assert "zebra.txt" not in {hit.path for hit in answers.search("striped horse")}
    (notes / "zebra.txt").write_text("A zebra is a striped horse.")
    indexing.update(opened, model, notes)
    assert answers.search("striped horse")[0].path == "zebra.txt"


def test_what_is_no_text_is_left_out(opened, notes, model):
    (notes / "binary.txt").write_bytes(b"a\0b")
    with (notes / "huge.txt").open("wb") as file:
        file.truncate(files.MAX_BYTES + 1)
    (notes / "latin.txt").write_bytes("Z\xfcrich caf\xe9".encode("latin-1"))
    (notes / "wide.txt").write_text("Größenwahn", encoding="utf-16")
    (notes / "empty.txt").touch()
    (notes / "control.txt").write_text("be\x02fore\x03\rnext")
    (notes / ".hidden.txt").write_text("secret")
    (notes / "image.png").write_text("secret")
    (notes / "loop").symlink_to(notes, target_is_directory=True)
    (notes / "self.txt").symlink_to("self.txt")
    (notes / "link.txt").symlink_to(notes / "museum.txt")
    os.mkfifo(notes / "pipe.txt")
    (notes / os.fsdecode(b"\xff.txt")).write_text("secret")
    assert indexing.update(opened, model, notes).indexed == 6
    assert opened.problems() == [("binary.txt", "binary"), ("huge.txt", "larger than 4 MiB")]
    answers = reading(opened, notes, model)
    for word, path in (("Zürich", "latin.txt"), ("größenwahn", "wide.txt"), ("next", "control.txt")):
        assert [hit.path for hit in answers.search(word, mode="words")] == [path]
    assert answers.search("next", mode="words")[0].text == "be fore \nnext"  # no marks but those of FTS5
    assert answers.search("secret", mode="words") == []
    assert indexing.update(opened, model, notes).indexed == 0


def test_files_that_vanish_or_become_something_else(opened, notes, model, monkeypatch):
    (notes / "vanishes.txt").write_text("x")
    (notes / "pipe.txt").write_text("x")
    found = files.scan(notes)
    (notes / "vanishes.txt").unlink()
    (notes / "pipe.txt").unlink()
    os.mkfifo(notes / "pipe.txt")
    monkeypatch.setattr(files, "scan", lambda root: found)
    assert not indexing.update(opened, model, notes)
    assert opened.counts()[0] == 3


def test_a_folder_that_cannot_be_read_loses_nothing(opened, notes, model, monkeypatch):
    scan = os.scandir

    def refused(path):
        if str(path).rstrip("/").endswith("deep"):
            raise PermissionError(13, "no", str(path))
        return scan(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refused)
        assert not indexing.update(opened, model, notes)
    notes.rename(notes.parent / "elsewhere")
    with pytest.raises(SearchError, match="no such folder"):
        indexing.update(opened, model, notes)
    assert opened.counts()[0] == 3


def test_an_interrupted_update_goes_on(notes, model, monkeypatch):
    monkeypatch.setattr(indexing, "TOGETHER", 1)  # a transaction for each file
    store = Store(notes.parent / "x.db", notes, identity(model), write=True)

    def interrupt(changes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        indexing.update(store, model, notes, interrupt)
    assert store.counts()[0] == 1

    stop = threading.Event()
    indexing.update(store, model, notes, lambda _: stop.set(), stop)
    assert store.counts()[0] == 2
    spoilt = Document("x", FileState(0, 0), [], np.zeros((1, 4), np.int8))  # a vector of no chunk
    with pytest.raises(ValueError, match="zip"):
        store.replace([spoilt], ["money.md", "museum.txt"])
    assert store.counts()[0] == 2
    assert indexing.update(store, model, notes).indexed == 1


def test_two_at_once_share_the_work(notes, model):
    for number in range(40):
        (notes / f"{number}.txt").write_text(f"text {number}")
    path, failed = notes.parent / "x.db", []

    def work() -> None:
        try:
            indexing.update(Store(path, notes, identity(model), write=True), model, notes)
        except BaseException as error:
            failed.append(error)

    both = [threading.Thread(target=work) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert not failed
    assert Store(path, notes, identity(model)).counts() == (43, 44)


def test_another_ones_index_is_refused_by_name(opened, notes, model):
    name = identity(model)
    with pytest.raises(SearchError, match=rf"by the model {name}, not other 1: index --rebuild"):
        Store(opened.path, notes, "other 1")
    with pytest.raises(SearchError, match="by the folder notes, not notes/deep: index --rebuild"):
        Store(opened.path, notes / "deep", name, write=True)
    Store(opened.path, notes, "other 1", write=True, rebuild=True).close()
    assert Store(opened.path, notes, "other 1").counts() == (0, 0)
    with sqlite3.connect(opened.path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(SearchError, match="made by version 99 of this program, which is 1: index --rebuild"):
        Store(opened.path, notes, "other 1")
    Store(opened.path, notes, name, write=True, rebuild=True).close()


def test_an_index_that_is_made_anew_while_it_is_open(opened, notes, model):
    answers = reading(opened, notes, model)
    assert answers.search("refund")
    Store(opened.path, notes, "other 1", write=True, rebuild=True).close()
    for work in (lambda: answers.search("refund"), lambda: indexing.update(opened, model, notes)):
        with pytest.raises(SearchError, match="by the model other 1, not"):
            work()


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_is_no_index_is_never_changed(notes, rebuild):
    path = notes.parent / "x.db"
    with pytest.raises(SearchError, match="no index yet"):
        Store(path, notes, "m 1")
    path.touch()
    with pytest.raises(SearchError, match="no index yet"):
        Store(path, notes, "m 1")
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE files (x)")
    before = path.read_bytes()
    with pytest.raises(SearchError, match="database of another program"):
        Store(path, notes, "m 1", write=True, rebuild=rebuild)
    assert path.read_bytes() == before
    path.write_text("a text, and a long one" * 100)
    with pytest.raises(SearchError, match="not a database: --db FILE"):
        Store(path, notes, "m 1", write=True, rebuild=rebuild)
    with pytest.raises(SearchError, match="unable to open database file: --db FILE"):
        Store(notes / "no/such/folder.db", notes, "m 1", write=True, rebuild=rebuild)


def test_an_index_that_cannot_be_written_can_be_read(opened, notes, model):
    opened.close()
    answers = reading(opened, notes, model)
    assert answers.search("refund")
    with pytest.raises(SearchError, match="readonly database: --db FILE"):
        answers.store.replace([], ["museum.txt"])


def test_a_moved_folder_takes_its_index_along(notes, model):
    Store(notes / ".search.db", notes, identity(model), write=True).close()
    moved = notes.rename(notes.parent / "moved")
    assert Store(moved / ".search.db", moved, identity(model)).counts() == (0, 0)


def test_watching(opened, notes, model):
    stop, heard, known = threading.Event(), [], threading.Semaphore(0)

    def report(outcome) -> None:
        if outcome:
            heard.append(str(outcome))
            known.release()

    watching = threading.Thread(target=indexing.watch, args=(opened, model, notes, 0.01, stop, report))
    watching.start()
    try:
        (notes / "new.txt").write_text("new")
        assert known.acquire(timeout=60)
        elsewhere = notes.rename(notes.parent / "elsewhere")
        assert known.acquire(timeout=60)
        elsewhere.rename(notes)
        (notes / "new.txt").unlink()
        while not heard[-1].endswith("1 removed"):
            assert known.acquire(timeout=60)
    finally:
        stop.set()
        watching.join()
    assert heard[0] == "1 indexed, 0 removed"
    assert any("no such folder" in line for line in heard)


# The command line.


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "search.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_commands(notes, model):
    (notes / "binary.txt").write_bytes(b"\0")
    assert "no index yet" in run("query", notes, "x", code=1).stderr
    told = run("index", notes).stderr.splitlines()
    assert told[-2] == "binary.txt: left out: binary"
    assert told[-1].endswith("4 indexed, 0 removed; 3 files in 4 chunks")
    assert run("query", notes, "money", "back").stdout.splitlines()[0].endswith("money.md:5  Shop \u203a Refunds")
    (line,) = run("query", notes, "kittens", "--json", "--mode", "words").stdout.splitlines()
    assert json.loads(line)["snippet"] == "Cats sleep for most of the day. A kitten sleeps even more."
    assert run("query", notes, "").stderr == "nothing found\n"
    assert "no such folder" in run("index", notes / "none", code=1).stderr
    assert "none.safetensors" in run("index", notes, "--model", "none.safetensors", code=1).stderr


def test_a_killed_index_goes_on(notes, model):
    for number in range(600):
        (notes / f"{number}.txt").write_text(f"This is the text of number {number}. " * 20)
    command = [sys.executable, str(EXAMPLE / "search.py"), "index", str(notes)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # a transaction is done
        process.kill()
    files_then, _ = Store(notes / ".search.db", notes, identity(model)).counts()
    assert 0 < files_then < 603
    assert run("index", notes).stderr.endswith("603 files in 604 chunks\n")


# The service.


@pytest.fixture
def service(opened, notes, model):
    """A port at which the notes are served."""
    server = serve_at("127.0.0.1", 0, reading(opened, notes, model), notes, lambda: "3 files <b>")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode()


def test_pages(service, notes):
    status, headers, text = ask(service, f"/?q={quote('refunds <script>')}")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "<mark>Refunds</mark> take five days." in text
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "3 files &lt;b&gt;" in text
    assert "Nothing found" in ask(service, "/?q=animals&mode=words")[2]
    assert ask(service, "/?q=%00%ff&mode=none&limit=x")[0] == ask(service, "/?limit=99999999999")[0] == 200
    assert ask(service, "/", "HEAD")[2] == ""
    assert ask(service, "/page.css")[0] == ask(service, "/page.js")[0] == 200
    found = json.loads(ask(service, "/api/search?q=refunds&limit=1")[2])["hits"]
    assert [hit["path"] for hit in found] == ["money.md"]
    (link,) = re.findall(r'href="(/file[^"]+)#hit"', ask(service, "/?q=refunds&limit=1")[2])
    assert "<mark id=hit class=hit>Refunds take" in ask(service, link.replace("&amp;", "&"))[2]


ELSEWHERE = [f"/file?path={path}" for path in ("money.md&start=1", "../index.db&start=0", "%2Fetc%2Fpasswd&start=0")]


@pytest.mark.parametrize("path", ["/x", "//[", "/page", "/../search.py", "/page/index.html", "/file", *ELSEWHERE])
def test_nothing_else_is_served(service, path):
    assert ask(service, path)[0] == 404


def test_a_file_that_is_gone_is_not_shown(service, notes):
    (notes / "museum.txt").unlink()
    assert ask(service, "/file?path=museum.txt&start=0")[0] == 404


def test_an_index_that_cannot_be_read_is_said_on_the_page(service, opened):
    with sqlite3.connect(opened.path) as database:
        database.execute("DROP TABLE words")
    status, _, text = ask(service, "/?q=refunds")
    assert status == 503
    assert "no such table: words" in text


def test_only_own_names(service):
    assert ask(service, "/", Host="example.com")[0] == 421
    assert ask(service, "/", Host=f"localhost:{service}")[0] == ask(service, "/", Host="[::1]:80")[0] == 200


def test_the_page_loads_nothing_from_elsewhere():
    for page in (EXAMPLE / "localsearch/page").iterdir():
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"https?:|innerHTML|eval\(|<style| style=| on\w+=", text)


@pytest.fixture(scope="module")
def readme_service(tmp_path_factory):
    """The address of what README's one command starts; installed it is already, and its port may be taken."""
    pytest.importorskip("minibert_minilm", reason="needs packages/minilm")
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(.+)\n```", text)
    install, command = block.split(" && ")
    assert install.startswith("pip install ")
    database = tmp_path_factory.mktemp("search") / "docs.db"
    command = [sys.executable, *command.split()[1:], "--port", "0", "--db", str(database)]
    with subprocess.Popen(command, cwd=EXAMPLE.parents[1], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        address = next(line for line in lines if line.startswith("http")).split()[0]
        assert any(line.endswith("0 removed\n") for line in lines)  # all of docs/ is in
        yield address
        process.terminate()
        assert "stopped" in process.stderr.read()


def test_the_command_of_the_readme(readme_service):
    port = int(readme_service.rstrip("/").rpartition(":")[2])
    found = json.loads(ask(port, "/api/search?q=" + quote("run it on a Raspberry Pi"))[2])["hits"]
    assert any(hit["path"] == "RASPBERRY_PI.md" for hit in found)


# The page in a browser.

#: Relative luminance and contrast as WCAG 2 has them, of every element with text of its own on what lies behind it.
CONTRASTS = """
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parts = css => css.match(/[\\d.]+/g).map(Number);
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility()) continue;
  let behind = element, back;
  do { back = parts(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
  while (behind && back.length === 4 && back[3] === 0);
  const [a, b] = [light(parts(getComputedStyle(element).color)), light(back)].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), element.tagName + "." + element.className]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run"),
        *("disable-component-update", "disable-sync", f"user-data-dir={tmp_path_factory.mktemp('chromium')}"),
    ):
        options.add_argument(f"--{switch}")
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


def until(check, what: str):
    """What a check gives once it gives something."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(browser, readme_service, width, scheme):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(readme_service)

    def focused():
        return browser.switch_to.active_element

    def sound() -> None:
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        contrasts = browser.execute_script(CONTRASTS)
        assert contrasts
        assert min(contrasts)[0] >= 4.5, min(contrasts)

    sound()
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 384) == (scheme == "dark")
    assert focused().accessible_name == "Query"
    focused().send_keys("quantize")  # while one types
    articles = until(lambda: browser.find_elements("css selector", "article"), "results")
    assert len(articles) == 10
    assert browser.find_elements("css selector", "article mark")
    assert "results in" in browser.find_element("id", "found").text
    until(lambda: "q=quantize" in browser.current_url, "the address")
    sound()

    down, up, enter = "\ue015", "\ue013", "\ue007"
    focused().send_keys(down)
    focused().send_keys(down)
    assert focused() == browser.find_elements("css selector", "article h2 a")[1]
    focused().send_keys(up)
    focused().send_keys("/")
    assert focused().get_attribute("id") == "q"

    # Who gets the address sees the same, and without a script, too.
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(browser.current_url)
    assert len(browser.find_elements("css selector", "article")) == 10
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.find_element("css selector", "article h2 a").send_keys(enter)
    until(lambda: browser.find_elements("css selector", "#hit"), "the file")
    sound()
