"""A program that fills a collection of Chroma and asks it once: run by stacks.py, with no more than it needs.

chroma_app.py minibert minilm
chroma_app.py sentence-transformers FOLDER
"""

import resource
import sys

import chromadb

kind, model = sys.argv[1:]
if kind == "minibert":
    from minibert.integrations.chroma import MinibertEmbeddingFunction

    embed = MinibertEmbeddingFunction(model)
else:
    from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction

    embed = SentenceTransformerEmbeddingFunction(model)
texts = [f"Order number {number} was sent on day {number % 30} of the month." for number in range(98)]
texts += ["Refunds take five days.", "The museum is closed on Mondays."]
faq = chromadb.EphemeralClient().create_collection("faq", embedding_function=embed)
faq.add(ids=[str(number) for number in range(len(texts))], documents=texts)
answer = faq.query(query_texts=["when do I get my money back?"], n_results=1)["documents"][0][0]
print(answer, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sep="\t")
