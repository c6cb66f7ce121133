"""From rows of numbers to answers: one file for each kind of answer, and the figures that judge them."""
