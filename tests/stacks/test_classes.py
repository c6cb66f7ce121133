"""The classes that stacks expect: prompts, order, copies, and what is written down and read again."""

from __future__ import annotations

import asyncio
import pickle

import numpy
import pytest

import minibert
from minibert import InputError
from tests.stacks.conftest import need
from tests.tiny import write

pytestmark = pytest.mark.usefixtures("numpy_backend")
TEXTS = ["a great movie", "bad", "hello world"]


def right(embedder, side, texts=TEXTS):
    return [embedder.encode({"query": "query : ", "document": "hello "}[side] + text) for text in texts]


def same(found, expected):
    return numpy.array_equal(numpy.asarray(found, numpy.float32), numpy.asarray(expected))


def test_langchain(embedder, embedder_path, ranker):
    need("langchain_core")
    from langchain_core.documents import Document

    from minibert.integrations.langchain import MinibertEmbeddings, MinibertReranker

    made = MinibertEmbeddings(embedder_path)
    for embed in (made, pickle.loads(pickle.dumps(made)), MinibertEmbeddings(embedder)):
        assert same(embed.embed_documents(TEXTS), right(embedder, "document"))
        assert same(asyncio.run(embed.aembed_documents(TEXTS)), right(embedder, "document"))
        assert same(embed.embed_query("bad"), right(embedder, "query", ["bad"])[0])
        assert same(asyncio.run(embed.aembed_query("bad")), embed.embed_query("bad"))
    assert made.embed_documents([]) == []
    with pytest.raises(InputError):
        made.embed_documents([None])

    documents = [Document(page_content=text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
    expected = [each["corpus_id"] for each in ranker.rank("was it good", TEXTS)]
    made = MinibertReranker(ranker, top_n=2)
    for compressor in (made, pickle.loads(pickle.dumps(made))):
        found = compressor.compress_documents(documents, "was it good")
        assert [each.metadata["place"] for each in found] == expected[:2]
        assert asyncio.run(compressor.acompress_documents(documents, "was it good")) == found
    assert "relevance_score" not in documents[0].metadata
    assert len(MinibertReranker(ranker, top_n=None).compress_documents(documents, "was it good")) == 3
    assert made.compress_documents([], "was it good") == []


def test_llama_index(embedder, embedder_path, ranker, tiny_folder):
    need("llama_index")
    from llama_index.core.schema import NodeWithScore, TextNode

    from minibert.integrations.llama_index import MinibertEmbedding, MinibertRerank

    made = MinibertEmbedding(str(embedder_path))
    for embed in (made, MinibertEmbedding.from_dict(made.to_dict()), pickle.loads(pickle.dumps(made))):
        assert same(embed.get_text_embedding_batch(TEXTS), right(embedder, "document"))
        assert same(asyncio.run(embed.aget_text_embedding_batch(TEXTS)), right(embedder, "document"))
        assert same(embed.get_query_embedding("bad"), right(embedder, "query", ["bad"])[0])
        assert same(asyncio.run(embed.aget_query_embedding("bad")), embed.get_query_embedding("bad"))
        assert same(asyncio.run(embed.aget_text_embedding("bad")), embed.get_text_embedding("bad"))
    cut = MinibertEmbedding.from_dict(MinibertEmbedding(str(embedder_path), truncate_dim=8).to_dict())
    assert len(cut.get_query_embedding("bad")) == 8
    with pytest.raises(minibert.MissingFileError):
        MinibertEmbedding("nothing.safetensors")

    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    expected = [TEXTS[each["corpus_id"]] for each in ranker.rank("was it good", TEXTS)]
    made = MinibertRerank(str(tiny_folder / "regression.safetensors"), top_n=2)
    for rank in (made, MinibertRerank.from_dict(made.to_dict()), pickle.loads(pickle.dumps(made))):
        assert [each.text for each in rank.postprocess_nodes(nodes, query_str="was it good")] == expected[:2]
    assert [each.score for each in nodes] == [0.5] * 3
    with pytest.raises(InputError, match="query"):
        made.postprocess_nodes(nodes)


def test_haystack(embedder, embedder_path, ranker, tiny_folder):
    need("haystack")
    from haystack import Document

    from minibert.integrations.haystack import MinibertDocumentEmbedder, MinibertRanker, MinibertTextEmbedder

    made = MinibertTextEmbedder(embedder_path)
    for each in (made, MinibertTextEmbedder.from_dict(made.to_dict())):
        assert same(each.run("bad")["embedding"], right(embedder, "query", ["bad"])[0])
    documents = [Document(content=text, meta={"name": "hello", "none": None}) for text in TEXTS]
    made = MinibertDocumentEmbedder(str(embedder_path), meta_fields_to_embed=["name", "none"], embedding_separator=" ")
    for each in (made, MinibertDocumentEmbedder.from_dict(made.to_dict())):
        found = each.run(documents)["documents"]
        texts = [f"hello {text}" for text in TEXTS]
        assert same([document.embedding for document in found], right(embedder, "document", texts))
    assert documents[0].embedding is None
    expected = [TEXTS[each["corpus_id"]] for each in ranker.rank("was it good", TEXTS)]
    made = MinibertRanker(str(tiny_folder / "regression.safetensors"), top_k=2)
    for each in (made, MinibertRanker.from_dict(made.to_dict())):
        assert [found.content for found in each.run("was it good", documents)["documents"]] == expected[:2]
        assert len(each.run("was it good", documents, top_k=1)["documents"]) == 1
    assert documents[0].score is None


def test_chroma(embedder, embedder_path, tmp_path):
    need("chromadb")
    import chromadb

    from minibert.integrations.chroma import MinibertEmbeddingFunction

    made = MinibertEmbeddingFunction(embedder_path, truncate_dim=8, query_prompt="hello ")
    again = MinibertEmbeddingFunction.build_from_config(made.get_config())
    for embed in (made, again):
        assert same(embed(TEXTS), embedder.encode([f"hello {text}" for text in TEXTS], truncate_dim=8))
        assert same(embed.embed_query(["bad"]), embedder.encode(["hello bad"], truncate_dim=8))
    assert (made.default_space(), made.is_legacy()) == ("cosine", False)

    client = chromadb.PersistentClient(str(tmp_path))
    plain = MinibertEmbeddingFunction(embedder_path)
    client.create_collection("texts", embedding_function=plain).add(ids=["0", "1", "2"], documents=TEXTS)
    found = client.get_collection("texts")
    stored = found.get(include=["embeddings"])["embeddings"]
    assert numpy.allclose(stored, right(embedder, "document"), atol=1e-6)
    distances = found.query(query_texts=["bad"], n_results=3)["distances"][0]
    scores = embedder.similarity(right(embedder, "query", ["bad"]), right(embedder, "document"))[0]
    assert numpy.allclose(distances, sorted(1 - scores), atol=1e-5)


def test_lancedb(embedder, embedder_path, tmp_path):
    need("lancedb")
    import lancedb
    from lancedb.embeddings import get_registry
    from lancedb.pydantic import LanceModel, Vector

    import minibert.integrations.lancedb  # noqa: F401 - registers it

    embed = get_registry().get("minibert").create(model=str(embedder_path))

    class Row(LanceModel):
        text: str = embed.SourceField()
        vector: Vector(embed.ndims()) = embed.VectorField()

    table = lancedb.connect(tmp_path).create_table("texts", schema=Row)
    table.add([{"text": text} for text in TEXTS])
    again = lancedb.connect(tmp_path).open_table("texts")
    assert same([row["vector"] for row in again.to_arrow().to_pylist()], right(embedder, "document"))
    found = again.search("bad").distance_type("cosine").limit(3).to_list()
    scores = embedder.similarity(right(embedder, "query", ["bad"]), right(embedder, "document"))[0]
    assert numpy.allclose([row["_distance"] for row in found], sorted(1 - scores), atol=1e-5)
    assert embed.generate_embeddings([None, "bad"])[0] is None
    with pytest.raises(InputError):
        embed.compute_source_embeddings_with_retry([1])


def test_spacy(embedder, embedder_path, classifier_path, classifier, tagger, tiny_folder, tmp_path):
    need("spacy")
    import spacy

    def pipeline(path, **config):
        nlp = spacy.blank("en")
        nlp.add_pipe("minibert", config={"model": str(path), **config})
        return nlp

    nlp = pipeline(embedder_path, prompt="hello ")
    docs = list(nlp.pipe(TEXTS))
    assert same([doc.vector for doc in docs], right(embedder, "document"))
    assert same(docs[0][1:].vector, embedder.encode("hello great movie"))
    assert same(docs[0][2].vector, embedder.encode("hello movie"))
    assert docs[0].similarity(docs[1]) == embedder.similarity(docs[0].vector, docs[1].vector)[0, 0]
    assert docs[0].has_vector
    assert docs[0][0].has_vector
    assert same(pickle.loads(pickle.dumps(docs[0])).vector, docs[0].vector)
    long = "bad good " * 30
    assert same(nlp(long).vector, embedder.encode(long, prompt="hello ", windows=True))
    found = [doc.user_data["minibert_vector"] for doc in nlp.pipe(TEXTS[:2], n_process=2)]
    assert same(found, right(embedder, "document")[:2])

    nlp = pipeline(classifier_path)
    expected = {each["label"]: each["score"] for each in classifier.predict("bad", top_k=None)}
    assert nlp("bad").cats == expected
    copied = write(tmp_path / "copied.safetensors", classifier.config)
    moved = pipeline(copied)
    moved.to_disk(tmp_path / "pipeline")
    carried = moved.to_bytes()
    copied.unlink()
    for again in (spacy.load(tmp_path / "pipeline"), pipeline(copied).from_bytes(carried)):
        assert again("bad").cats == expected
        assert again.from_bytes(again.to_bytes())("bad").cats == expected
    with pytest.raises(minibert.MissingFileError):
        pipeline(copied)("bad")

    nlp = pipeline(tiny_folder / "tokens.safetensors", aggregation_strategy="simple")
    for text in ("hello world, a great movie", "hello " * 40):
        ents = nlp(text).ents
        found = tagger.predict(text, aggregation_strategy="simple", stride=3)
        assert {(each["start"], each["entity_group"]) for each in found} >= {(e.start_char, e.label_) for e in ents}
        assert ents
    with pytest.raises(minibert.UnsupportedError):
        pipeline(tiny_folder / "masks.safetensors")("bad")
