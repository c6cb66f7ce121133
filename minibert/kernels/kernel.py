"""Functions of fixed types for numba: `@kernel` compiles Python, `@intrinsic` emits LLVM IR.

numba's own `njit` generates machine code for the host as soon as a function is called by another one, which a build
for another CPU must not do. So both are what numba calls an intrinsic: code that goes into its caller's module, for any
target. A kernel's code is its compiled body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from itertools import count
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.compiler import Flags
from numba.core.typing.templates import signature
from numba.extending import intrinsic as numba_intrinsic

int32 = types.int32
int64 = types.int64
float32 = types.float32
void = types.void

_numbers = count()


def intrinsic(result: types.Type, *arguments: types.Type) -> Callable[[Callable[..., ir.Value | None]], Any]:
    """An operation on fixed types: the decorated function gets the builder and the LLVM values."""

    def decorate(emit: Callable[..., ir.Value | None]) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
            value = emit(builder, *values)
            return context.get_dummy_value() if value is None else value

        return _of_one_signature(emit, signature(result, *arguments), codegen)

    return decorate


def kernel(result: types.Type, *arguments: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """Declare a kernel: its result type and the types of its arguments."""
    typed = signature(result, *arguments)

    def decorate(body: Callable[..., Any]) -> Any:
        # numba remembers what it compiled by a body's code alone, whatever its globals: kernels generated from one text
        # (tiles of other shapes or types) would all be the first of them.
        body.__code__ = body.__code__.replace(co_name=f"{body.__name__}_{next(_numbers)}")

        def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> Any:
            flags: Any = Flags()
            flags.error_model = "numpy"  # no exceptions: a division by zero is a float, not a branch
            compiled = context.compile_subroutine(builder, body, typed, flags=flags)
            _status, value = context.call_internal_no_propagate(builder, compiled.fndesc, typed, values)
            return value

        return _of_one_signature(body, typed, codegen)

    return decorate


def dispatch(kernels: Mapping[int, Any], *arguments: types.Type) -> Any:
    """A kernel that calls one of some by its number, the last argument; any other number calls the last of them.

    They return nothing. numba has no table of functions: the comparisons are written out.
    """
    names = ", ".join(f"a{number}" for number in range(len(arguments)))
    lines = [f"def chosen({names}, number):"]
    *others, last = kernels
    for number in others:
        lines += [f"    if number == {number}:", f"        return kernel{number}({names})"]
    lines += [f"    return kernel{last}({names})"]
    scope: dict[str, Any] = {f"kernel{number}": each for number, each in kernels.items()}
    exec("\n".join(lines), scope)
    return kernel(void, *arguments, int64)(scope["chosen"])


def _of_one_signature(function: Callable[..., Any], typed: Any, codegen: Callable[..., Any]) -> Any:
    """What numba calls by the name of `function`, with code by `codegen`."""

    def typing(typingctx: Any, *arguments: Any) -> Any:
        return typed, codegen

    typing.__name__, typing.__doc__ = function.__name__, function.__doc__
    # numba asks the function itself how many arguments it takes.
    names = ["typingctx", *(f"a{number}" for number in range(len(typed.args)))]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    typing.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return numba_intrinsic(typing)
