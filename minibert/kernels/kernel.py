"""`@kernel`: a numba function with fixed types that compiles into its caller's module, for any target.

numba's own `njit` generates machine code for the host as soon as a function is called by another one, which a build
for another CPU must not do. A kernel is therefore an intrinsic whose code is the compiled body.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from numba import types
from numba.core.compiler import Flags
from numba.core.typing.templates import signature
from numba.extending import intrinsic

int32 = types.int32
int64 = types.int64
float32 = types.float32
void = types.void

_numbers = count()


def kernel(result: types.Type, *arguments: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """Declare a kernel: its result type and the types of its arguments."""
    typed = signature(result, *arguments)

    def decorate(body: Callable[..., Any]) -> Any:
        # numba remembers what it compiled by a body's code alone, whatever its globals: kernels generated from one text
        # (tiles of other shapes or types) would all be the first of them.
        body.__code__ = body.__code__.replace(co_name=f"{body.__name__}_{next(_numbers)}")

        def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            flags = Flags()
            flags.error_model = "numpy"  # no exceptions: a division by zero is a float, not a branch
            compiled = context.compile_subroutine(builder, body, typed, flags=flags)
            _status, value = context.call_internal_no_propagate(builder, compiled.fndesc, typed, values)
            return value

        names = ", ".join(f"a{i}" for i in range(len(arguments)))
        scope: dict[str, Any] = {"returned": (typed, codegen)}
        exec(f"def {body.__name__}(typingctx, {names}): return returned", scope)
        made = intrinsic(scope[body.__name__])
        made.__doc__ = body.__doc__
        return made

    return decorate
