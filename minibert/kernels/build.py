"""From the kernels' sources to object code for one instruction set, on any machine.

    python -m minibert.kernels.build avx512vnni kernels.o

numba's front end types and lowers the sources to LLVM IR, without choosing anything for the host or its system; LLVM
then optimizes for the target CPU and emits a relocatable object for a system, with a single entry point,
`minibert_run(job)`. Where there is a linker, the command makes a shared library of it: minibert.kernels.linking.
Assembly (`kernels.s`) serves to look at.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

# Before numba is imported: no optimization for the host in the IR.
os.environ["NUMBA_OPT"] = "0"

import llvmlite.binding as llvm
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from minibert.errors import BackendError
from minibert.kernels import isa
from minibert.kernels.linking import ENTRY_POINT, link
from minibert.kernels.systems import SYSTEMS, machine_of, this_system


@cache
def _front_end() -> str:
    """LLVM IR of the program as a C function called ENTRY_POINT."""
    from minibert.kernels.interpreter import RUN_SIGNATURE, run

    target: Any = cpu_target
    context = target.target_context.with_aot_codegen(ENTRY_POINT)
    flags: Any = Flags()
    flags.no_cpython_wrapper = flags.no_compile = True
    flags.error_model = "numpy"
    with global_compiler_lock:
        compiled = compile_extra(
            target.typing_context, context, run, RUN_SIGNATURE.args, RUN_SIGNATURE.return_type, flags, {}
        )
        compiled.library.finalize()
    wrapper = re.escape(compiled.fndesc.llvm_cfunc_wrapper_name)
    return re.sub(rf'@"?{wrapper}"?(?=\()', f"@{ENTRY_POINT}", compiled.library.get_llvm_str())


def _triple(name: str) -> str:
    """The process's own target; Linux on another architecture if the instruction set is one of that."""
    if isa.TARGETS[name].machine in ("", isa.this_machine()):
        return llvm.get_process_triple()
    return SYSTEMS["linux"].triples[machine_of(name)]


def _target_machine(cpu: str, features: str, triple: str) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small")


def _optimized(source: str, machine: llvm.TargetMachine, triple: str) -> llvm.ModuleRef:
    """The module for the target: everything but the entry point internal, inlined and optimized."""
    if "windows" in triple:  # what code with floats asks for there, in vain
        source += "\n@_fltused = global i32 0\n"
    source = re.sub(r"^target (triple|datalayout) = .*$", "", source, flags=re.M)
    source = re.sub(r'"(target-cpu|target-features|tune-cpu)"="[^"]*"', "", source)
    module = llvm.parse_assembly(source)
    module.triple, module.data_layout = triple, str(machine.target_data)
    for function in module.functions:
        if not function.is_declaration and function.name != ENTRY_POINT:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration and variable.name != "_fltused":
            variable.linkage = "internal"
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    # The kernels are vectors already; unrolling their tiles again would only add code.
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    missing = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    if missing:
        raise BackendError(f"kernels import nothing, but these need {', '.join(missing)}")
    return module


def build(name: str, *, triple: str | None = None, assembly: bool = False) -> bytes:
    """Object code (or assembly text) of the kernels for the instruction set `name`.

    A process can build for one instruction set only.

    Args:
        name: of the instruction set.
        triple: LLVM's name of the system; this one, or Linux on the instruction set's architecture, if None.
        assembly: whether to give its text.

    Raises:
        UnsupportedError: no such instruction set.
        BackendError: the compiled code would need something of the C library.
    """
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    chosen = isa.load(name)
    triple = triple or _triple(name)
    isa.select(name)
    machine = _target_machine(chosen.cpu, chosen.features, triple)
    module = _optimized(_front_end(), machine, triple)
    return machine.emit_assembly(module).encode() if assembly else machine.emit_object(module)


def _best(name: str) -> bytes:
    """A shared library is loaded by the system in 0.2 ms; object code needs llvmlite: 60 ms and 50 MB more."""
    code, own = build(name), isa.this_machine()
    if this_system() != "linux" or not own:
        return code
    try:
        return link(code, "linux", own)
    except BackendError:
        return code


def main() -> None:
    """The command: build for argv[1] into the files argv[2:].

    A name in .s asks for assembly, in .so, .dll or .dylib for a library of Linux, Windows or macOS; any other for the
    best that can be loaded here.
    """
    name, *targets = sys.argv[1:]
    systems = {system.suffix: key for key, system in SYSTEMS.items()}
    for target in map(Path, targets):
        if system := systems.get(target.suffix):
            machine = machine_of(name)
            code = link(build(name, triple=SYSTEMS[system].triples[machine]), system, machine)
        elif target.suffix == ".s":
            code = build(name, assembly=True)
        else:
            code = _best(name)
        target.write_bytes(code)


if __name__ == "__main__":
    main()
