"""all-MiniLM-L6-v2 as a file of minibert, minilm.safetensors, beside this module: `minibert.load("minilm")`."""
