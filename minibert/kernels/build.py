"""From the kernels' sources to object code for one instruction set, on any machine.

    python -m minibert.kernels.build avx512vnni kernels.o

numba's front end types and lowers the sources to LLVM IR, without choosing anything for the host; LLVM then optimizes
for the target CPU and emits a relocatable object with a single entry point, `minibert_run(job)`. Where the system has a
linker, the command makes a shared object of it. Assembly (`kernels.s`) serves to look at.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
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

ENTRY_POINT = "minibert_run"

#: All that the kernels may ask of the C library.
_ALLOWED = re.compile(r"llvm\..*|memcpy|memset|memmove|usleep|syscall|pthread_(create|join|sigmask)")


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


def _triple(machine: str) -> str:
    """The process's own target; Linux on another architecture if the instruction set is one of that."""
    own = llvm.get_process_triple()
    if machine in ("", isa.this_machine()):
        return own
    return f"{machine}-unknown-linux-gnu"


def _target_machine(cpu: str, features: str, triple: str) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small")


def _optimized(source: str, machine: llvm.TargetMachine, triple: str) -> llvm.ModuleRef:
    """The module for the target: everything but the entry point internal, inlined and optimized."""
    source = re.sub(r"^target (triple|datalayout) = .*$", "", source, flags=re.M)
    source = re.sub(r'"(target-cpu|target-features|tune-cpu)"="[^"]*"', "", source)
    module = llvm.parse_assembly(source)
    module.triple, module.data_layout = triple, str(machine.target_data)
    for function in module.functions:
        if not function.is_declaration and function.name != ENTRY_POINT:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    # The kernels are vectors already; unrolling their tiles again would only add code.
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    missing = [f.name for f in module.functions if f.is_declaration and not _ALLOWED.fullmatch(f.name)]
    if missing:
        raise BackendError(f"the kernels need functions that a device does not have: {', '.join(missing)}")
    return module


def build(name: str, *, triple: str | None = None, assembly: bool = False) -> bytes:
    """Object code (or assembly text) of the kernels for the instruction set `name`.

    A process can build for one instruction set only.

    Raises:
        UnsupportedError: no such instruction set.
        BackendError: the compiled code would need more than the C library's memory functions.
    """
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    chosen = isa.load(name)
    triple = triple or _triple(isa.TARGETS[name].machine)
    isa.select(name, triple)
    machine = _target_machine(chosen.cpu, chosen.features, triple)
    module = _optimized(_front_end(), machine, triple)
    return machine.emit_assembly(module).encode() if assembly else machine.emit_object(module)


def _linker(machine: str) -> list[str] | None:
    """A command that links for Linux on an architecture (this one if empty), if there is any."""
    if sys.platform == "linux" and machine in ("", isa.this_machine()) and shutil.which("ld"):
        return ["ld"]
    if shutil.which("ld.lld"):
        return ["ld.lld"]
    return [sys.executable, "-m", "ziglang", "ld.lld"] if importlib.util.find_spec("ziglang") else None


def link(code: bytes, machine: str = "") -> bytes:
    """A shared object for Linux made of object code.

    Raises:
        BackendError: there is no linker for the architecture, or it failed.
    """
    linker = _linker(machine)
    if linker is None:
        raise BackendError(f"no linker for {machine or 'this machine'}: install lld (or: pip install ziglang)")
    with tempfile.TemporaryDirectory(prefix="minibert-") as folder:
        source, target = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
        source.write_bytes(code)
        command = [*linker, "-shared", "-s", "-z", "noexecstack", "-z", "now", "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not target.exists():
            raise BackendError(f"linking the kernels failed: {done.stderr.strip()[-200:]}")
        return target.read_bytes()


def _linked_if_possible(code: bytes) -> bytes:
    """A shared object is loaded by the system in 0.2 ms; object code needs llvmlite: 60 ms and 50 MB more."""
    if sys.platform != "linux":
        return code
    try:
        return link(code)
    except BackendError:
        return code


def main() -> None:
    """The command: build for argv[1] into the file argv[2].

    A name in .s asks for assembly, in .so for a shared object; any other for the best that can be loaded here.
    """
    name, target = sys.argv[1], Path(sys.argv[2])
    code = build(name, assembly=target.suffix == ".s")
    if target.suffix == ".so":
        code = link(code, isa.current_target().machine)
    elif target.suffix != ".s":
        code = _linked_if_possible(code)
    target.write_bytes(code)


if __name__ == "__main__":
    main()
