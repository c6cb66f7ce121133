"""From what a user passes to token ids: inputs (what is one text?), tokenizer (ids, cut to size), packing (batches)."""
