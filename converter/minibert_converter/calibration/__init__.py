"""Texts like those to come: reading them, running a network on them, fitting matrices to what they read."""
