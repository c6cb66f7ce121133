"""Layers that are alike become one matrix with differences: fewer bytes in the file and in memory, the same work."""
