"""The compiled kernels: numba functions over raw memory, built for one instruction set at a time.

`minibert.kernels.build` turns these sources into object code (in a process of its own), `minibert.engine.library` loads
that code. A process that serves answers imports only what needs no numba: `isa` (the table of instruction sets),
`opcodes`, `scratch` and `sources`. A kernel takes addresses as int64, allocates nothing and raises nothing; what it is
given has been proven by the reader and the engine.
"""
