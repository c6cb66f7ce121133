"""A service: models behind HTTP, in the dialects of OpenAI, Cohere and text-embeddings-inference."""
