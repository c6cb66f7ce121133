"""The passes of a recipe: one folder a technique, each with the options that a recipe gives it."""
