"""Dylibs as macOS wants them: their load commands, as otool -l shows them."""

from __future__ import annotations

import struct

import pytest

pytestmark = pytest.mark.slow
_ID_DYLIB, _LOAD_DYLIB, _SYMTAB, _BUILD_VERSION, _CODE_SIGNATURE, _SEGMENT = 0xD, 0xC, 0x2, 0x32, 0x1D, 0x19
_DYLD_INFO_ONLY, _EXPORTS_TRIE = 0x80000022, 0x80000033
_X86_64, _ARM64 = 0x01000007, 0x0100000C


def commands(content: bytes) -> tuple[tuple[int, ...], list[tuple[int, bytes]]]:
    """The header of a 64-bit Mach-O file, and its load commands."""
    header = struct.unpack_from("<IIIIIIII", content)
    place, found = 32, []
    for _ in range(header[4]):
        kind, size = struct.unpack_from("<II", content, place)
        found.append((kind, content[place : place + size]))
        place += size
    assert place == 32 + header[5]
    return header, found


@pytest.mark.parametrize(("isa", "machine", "oldest"), [("avx2", _X86_64, (10, 15)), ("neon-i8mm", _ARM64, (11, 0))])
def test_a_dylib_is_what_macos_loads(library, isa, machine, oldest):
    content = library(isa, "macos").read_bytes()
    (magic, cpu, _subtype, kind, *_), found = commands(content)
    assert (magic, cpu, kind) == (0xFEEDFACF, machine, 6)  # 64 bits; a dylib
    kinds = [command for command, _ in found]
    by_kind = dict(found)
    assert _ID_DYLIB in kinds
    (needed,) = [body for command, body in found if command == _LOAD_DYLIB]
    assert needed[24:].rstrip(b"\0") == b"/usr/lib/libSystem.B.dylib"
    platform, minimum = struct.unpack_from("<II", by_kind[_BUILD_VERSION], 8)
    assert (platform, minimum >> 16, minimum >> 8 & 0xFF) == (1, *oldest)  # macOS
    assert {_DYLD_INFO_ONLY, _EXPORTS_TRIE} & set(kinds)
    symbols, count, strings, _size = struct.unpack_from("<IIII", by_kind[_SYMTAB], 8)
    names = {}
    for number in range(count):
        name, sort, *_rest = struct.unpack_from("<IBBHQ", content, symbols + 16 * number)
        start = strings + name
        names[content[start : content.index(b"\0", start)]] = sort
    exported = {name for name, sort in names.items() if sort & 0x01 and sort & 0x0E}
    undefined = {name for name, sort in names.items() if sort & 0x01 and not sort & 0x0E}
    assert exported == {b"_minibert_run"}
    assert undefined <= {b"dyld_stub_binder"}
    segments = {
        body[8:24].rstrip(b"\0"): struct.unpack_from("<II", body, 56) for kind, body in found if kind == _SEGMENT
    }
    assert segments[b"__TEXT"] == (5, 5)  # read and run, never written
    # An ARM runs no page without a signature, at least one of its own.
    assert (_CODE_SIGNATURE in kinds) or machine == _X86_64
    assert len(content) < 300_000
