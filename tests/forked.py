"""A piece of a test in a forked process, with limits that only a process of its own can have."""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Callable


def forked(work: Callable[[], object], *, memory: int = 0, cpu: int = 60, file_size: int = -1) -> str:
    """What `work` returned, or "Kind: message" of what it raised; an assertion if it did neither.

    Args:
        work: what to do.
        memory: bytes of address space beyond what there is now; 0 for no limit.
        cpu: seconds of a CPU.
        file_size: bytes of any file that is written; negative for no limit.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        # A module that is first imported at a limit of a file's size would leave half of its code in __pycache__.
        sys.dont_write_bytecode = True
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
            if memory:
                with open("/proc/self/statm", encoding="ascii") as file:
                    now = int(file.read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
            if file_size >= 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
            try:
                said = str(work())
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writer, said.encode("utf-8", "replace")[:4000])
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"ended by {status}"
    return said
