"""A copy of an environment in which onnxruntime believes that the CPU ends at AVX2: to compare AVX2 kernels anywhere.

    python -m bench.speed.hide_avx512 PYTHON FOLDER    # PYTHON of an environment with onnxruntime; FOLDER is made
    MINIBERT_ISA=avx2 python -m bench.speed.compare FILE --threads 1 --peer onnxruntime=FOLDER/bin/python:MODEL

A CPU's features are asked with one instruction, `cpuid`. In the copy each of them, in onnxruntime's own library, is an
undefined instruction instead; a handler of the signal that this raises answers as the CPU would, less AVX-512 and VNNI.
The original is left alone. Needs gcc and objdump, on x86-64 Linux.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench import common

#: Answers in place of cpuid; it is compiled to a library that every Python of the copy loads when it starts.
_HANDLER = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

static void answer(int signal_number, siginfo_t *info, void *state) {
    greg_t *registers = ((ucontext_t *)state)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0x0b) { signal(signal_number, SIG_DFL); return; }
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {
        b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
        c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
        d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
    } else if (leaf == 7) {
        a &= ~(1u << 4 | 1u << 5);
    }
    registers[REG_RAX] = a; registers[REG_RBX] = b; registers[REG_RCX] = c; registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, 0);
}
"""
_CPUID, _UNDEFINED = b"\x0f\xa2", b"\x0f\x0b"


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("python", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    source, folder = arguments.python.parent.parent, arguments.folder
    if folder.exists():
        sys.exit(f"{folder} exists already")
    shutil.copytree(source, folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    library = next(packages.glob("onnxruntime/capi/onnxruntime_pybind11_state*.so"), None)
    if library is None:
        sys.exit(f"{source} has no onnxruntime")
    changed = patch(library)
    handler = packages / "hide_avx512.so"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(handler)], input=_HANDLER, text=True, check=True
    )
    (packages / "hide_avx512.pth").write_text(f"import ctypes; ctypes.CDLL({str(handler.resolve())!r})\n")
    print(f"{changed} cpuid instructions of {library.name} go through {handler}")


def patch(library: Path) -> int:
    """Puts an undefined instruction in place of every cpuid; returns how many there were."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(library)], capture_output=True, text=True, check=True
    ).stdout
    addresses = [int(found, 16) for found in re.findall(r"^\s*([0-9a-f]+):\s+cpuid\b", listing, re.MULTILINE)]
    sections = subprocess.run(["objdump", "-h", str(library)], capture_output=True, text=True, check=True).stdout
    text = re.search(r"\.text\s+([0-9a-f]+)\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", sections)
    if text is None or not addresses:
        sys.exit(f"{library}: found no code that asks for the CPU's features")
    size, start, offset = (int(number, 16) for number in text.groups())
    code = bytearray(library.read_bytes())
    for address in addresses:
        if start <= address < start + size:
            place = address - start + offset
            if code[place : place + 2] != _CPUID:
                sys.exit(f"{library}: no cpuid at {address:#x}")
            code[place : place + 2] = _UNDEFINED
    library.write_bytes(code)
    return len(addresses)


if __name__ == "__main__":
    main()
