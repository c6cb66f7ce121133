"""Measurements: speed, quality, ARM without a board, and parity with other libraries. See README.md."""
