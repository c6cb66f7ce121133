"""From a teacher to the best student within a budget and a time: shapes are proposed, trained a little, and sifted."""
