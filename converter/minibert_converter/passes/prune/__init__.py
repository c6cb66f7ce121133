"""Fewer weights: blocks, attention heads, FFN neurons and layers are removed, and sparse checkpoints recognised."""
