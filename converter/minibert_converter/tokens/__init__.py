"""tokenizer.json becomes tables that run where they lie (`minibert.format.token_tables`)."""
