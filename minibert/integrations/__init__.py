"""Classes that other stacks expect of what makes vectors, ranks or labels, one module a stack: docs/stacks.

Each imports its stack when it is imported itself, and nothing else does.
"""
