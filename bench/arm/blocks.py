"""Cycles of what a program did on an emulated core: how often each block ran x what LLVM's model says that it takes.

A block is straight code up to a jump, however the emulator cut it. Its cycles are those of its steady state, as a loop
has it; code that seldom repeats at once is modelled a little too well. Caches, memory and mispredicted jumps are not
modelled.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: LLVM's model of each core that is emulated; a Cortex-A76 is the core of a Neoverse N1.
MODELS = {"cortex-a53": "cortex-a53", "cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}
_FEATURES = "-mattr=+dotprod,+fullfp16,+lse,+crc,+rcpc,+i8mm"
_BYTES = 4  # of an instruction
_ITERATIONS = 100
_AT_ONCE = 400
#: Stands between blocks as they are disassembled: brk #0xffff, which no program has.
_BREAK = bytes.fromhex("e0ff3fd4")
#: What llvm-mca is not asked about: traps, and registers of the system.
_UNMODELLED = re.compile(r"(svc|hlt|brk|udf|mrs|msr|dc|ic|sys|isb)\b")
_VECTOR = re.compile(r"\b[vq]\d+\b")
#: Calls, returns and jumps to a register, which end a block as a plain jump does.
_FAR_JUMP = re.compile(r"(bl|blr|br|ret)\b")
#: Masks and bits of instructions that may go elsewhere: b, bl; b.cond; cbz, cbnz, tbz, tbnz; br, blr, ret; svc.
_JUMPS = (
    (0x7C000000, 0x14000000),
    (0xFE000000, 0x54000000),
    (0x7C000000, 0x34000000),
    (0xFE000000, 0xD6000000),
    (0xFF000000, 0xD4000000),
)

#: How often each piece of code ran.
Counts = Counter[bytes]


def read_counts(path: Path, thread: int | None = None) -> Counts:
    """Blocks from what the plugin of blocks.c wrote: instructions one after the other that ran equally often.

    Args:
        path: of the file.
        thread: the number of a thread, of which alone it is to be; None for all together.
    """
    ran: Counter[int] = Counter()
    words: dict[int, bytes] = {}
    for line in path.read_text().splitlines():
        numbers, start, code = line.split()
        of_threads = list(map(int, numbers.split(",")))
        count = sum(of_threads) if thread is None else of_threads[thread]
        whole = bytes.fromhex(code)
        for place in range(0, len(whole), _BYTES):
            address = int(start, 16) + place
            ran[address] += count
            words[address] = whole[place : place + _BYTES]
    counts: Counts = Counter()
    block = b""
    for address in sorted(words):
        block += words[address]
        if _jumps(words[address]) or ran[address + _BYTES] != ran[address]:
            counts[block] += ran[address]
            block = b""
    return +counts


def _jumps(instruction: bytes) -> bool:
    (word,) = struct.unpack("<I", instruction)
    return any(word & mask == bits for mask, bits in _JUMPS)


def difference(many: Counts, few: Counts, by: int) -> dict[bytes, float]:
    """How often each block runs in one of the `by` repetitions that one program made more than the other."""
    return {code: (count - few[code]) / by for code, count in many.items() if count > few[code]}


@dataclass(frozen=True)
class Block:
    """A block, and what it costs.

    Attributes:
        code: its bytes.
        runs: how often it ran.
        cycles: of one run.
        assembly: its instructions.
    """

    code: bytes
    runs: float
    cycles: float
    assembly: list[str]

    @property
    def computes(self) -> bool:
        """Whether it works on vectors, as all kernels do, and no thread that waits for others."""
        return any(_VECTOR.search(line) for line in self.assembly)

    @property
    def total(self) -> float:
        """Cycles of all runs."""
        return self.runs * self.cycles


@dataclass(frozen=True)
class Estimate:
    """What a program took on a core.

    Attributes:
        instructions: of all blocks.
        modelled: the part of them that lies in `blocks`.
        blocks: those that were modelled, the most expensive first.
    """

    instructions: float
    modelled: float
    blocks: list[Block]

    @property
    def cycles(self) -> float:
        """Of all blocks, those that were not modelled taken to be like the others."""
        return sum(block.total for block in self.blocks) / self.modelled


@dataclass(frozen=True)
class Llvm:
    """LLVM's tools, 16 or later.

    Attributes:
        mc: the disassembler's name or path.
        mca: that of the machine code analyzer.
    """

    mc: str
    mca: str

    def estimate(self, runs: Mapping[bytes, float], core: str, cover: float) -> Estimate:
        """The cost of blocks on a core.

        Args:
            runs: how often each ran.
            core: one of `MODELS`.
            cover: the part of all instructions that is modelled, the most frequent first.
        """
        total = sum(count * len(code) / _BYTES for code, count in runs.items())
        chosen: list[bytes] = []
        seen = 0.0
        for code in sorted(runs, key=lambda code: -runs[code] * len(code)):
            chosen.append(code)
            seen += runs[code] * len(code) / _BYTES
            if seen >= cover * total:
                break
        blocks: list[Block] = []
        for first in range(0, len(chosen), _AT_ONCE):
            part = chosen[first : first + _AT_ONCE]
            assembly = self._disassemble(part)
            for number, cycles in self._cycles(core, assembly).items():
                blocks.append(Block(part[number], runs[part[number]], cycles, assembly[number]))
        modelled = sum(block.runs * len(block.code) / _BYTES for block in blocks) / total
        return Estimate(total, modelled, sorted(blocks, key=lambda block: -block.total))

    def _disassemble(self, codes: Sequence[bytes]) -> list[list[str]]:
        text = "\n".join(" ".join(f"0x{byte:02x}" for byte in code + _BREAK) for code in codes)
        done = subprocess.run(
            [self.mc, "-disassemble", "-triple=aarch64", "-mattr=+all"],
            input=text, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found: list[list[str]] = [[]]
        for line in map(str.strip, done.stdout.splitlines()):
            if line.startswith("brk") and "0xffff" in line:
                found.append([])
            elif line and not line.startswith("."):
                found[-1].append(line)
        assert len(found) == len(codes) + 1, "the disassembler lost a block"
        return found[:-1]

    def _cycles(self, core: str, assembly: Sequence[list[str]]) -> dict[int, float]:
        """Cycles of one run, by the block's number; without blocks that the model cannot do."""
        text: list[str] = []
        for number, lines in enumerate(assembly):
            kept = ["b #4" if _FAR_JUMP.match(line) else line for line in lines if not _UNMODELLED.match(line)]
            text += [f"# LLVM-MCA-BEGIN {number}", *(kept or ["nop"]), "# LLVM-MCA-END"]
        flags = ["-instruction-info=false", "-resource-pressure=false", "-skip-unsupported-instructions=any"]
        done = subprocess.run(
            [self.mca, "-mtriple=aarch64", f"-mcpu={MODELS[core]}", _FEATURES, f"-iterations={_ITERATIONS}", *flags],
            input="\n".join(text), capture_output=True, text=True, check=False,
        )  # fmt: skip
        found: dict[int, float] = {}
        region = None
        for line in done.stdout.splitlines():
            if begin := re.match(r"\[\d+\] Code Region - (\d+)", line):
                region = int(begin[1])
            elif (cycles := re.match(r"Total Cycles:\s+(\d+)", line)) and region is not None:
                found[region] = int(cycles[1]) / _ITERATIONS
        return found


def build_plugin(folder: Path) -> Path:
    """The plugin that counts, compiled by the system's C compiler."""
    target = folder / "blocks.so"
    source = Path(__file__).with_name("blocks.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(source)], check=True)
    return target


class Functions:
    """Names of the kernels' functions, by their code.

    Args:
        file: object code of the kernels, with its symbols, as `python -m minibert.kernels.build ISA FILE.o` makes it.
    """

    _MANGLED = re.compile(r"_ZN8minibert7kernels(.*?)B\d")

    def __init__(self, file: bytes) -> None:
        start, count, names = (*struct.unpack_from("<Q", file, 0x28), *struct.unpack_from("<HH", file, 0x3C))
        sections = [struct.unpack_from("<IIQQQQIIQQ", file, start + 64 * number) for number in range(count)]

        def name_at(table: int, offset: int) -> str:
            begin = sections[table][4] + offset
            return file[begin : file.index(b"\0", begin)].decode()

        text = next(n for n, section in enumerate(sections) if name_at(names, section[0]) == ".text")
        self._code = file[sections[text][4] :][: sections[text][5]]
        self._symbols: list[tuple[int, int, str]] = []
        for section in sections:
            if section[1] != 2:  # a table of symbols
                continue
            for place in range(section[4], section[4] + section[5], 24):
                name, info, _, where, value, size = struct.unpack_from("<IBBHQQ", file, place)
                if info & 15 == 2 and where == text:  # a function
                    self._symbols.append((value, size, self._short(name_at(section[6], name))))

    def _short(self, name: str) -> str:
        mangled = self._MANGLED.match(name)
        return ".".join(re.findall(r"\d+([a-z_]\w*?)(?=\d|$)", mangled[1])) if mangled else name

    def name(self, code: bytes) -> str:
        """Of the function that has the code; nothing if none has.

        Addresses of others are not yet in object code: any piece of eight instructions will do.
        """
        for first in range(0, max(len(code) - 32, 0) + 1, 32):
            place = self._code.find(code[first : first + 32])
            if place >= 0:
                return next((name for start, size, name in self._symbols if start <= place < start + size), "")
        return ""
