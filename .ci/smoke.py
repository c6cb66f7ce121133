"""Answers of the model of the examples, by whatever is installed: `smoke.py MODEL`, a file that minibert wrote."""

import sys

import minibert

assert "site-packages" in minibert.__file__, minibert.__file__
model = minibert.load(sys.argv[1])
answer = model.predict("where is my new card?")
assert answer["label"] == "card_arrival", answer
print(f"{sys.version.split()[0]}, {model.engine.backend}: {answer}")
