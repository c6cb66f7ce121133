"""Search over a folder of text and Markdown files, by meaning and by words, on this machine alone."""
