"""From rows of numbers to answers: one file a task, each with its part of `Model`."""

#: Other names that people know tasks by.
ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
