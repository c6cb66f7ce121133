"""Reading and writing the one file that holds a model."""
