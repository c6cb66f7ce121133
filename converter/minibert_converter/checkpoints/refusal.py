"""What libraries raise when a file is hostile, as an error that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minibert.errors import CheckpointError, MinibertError


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns whatever a library raises while it reads a file into a CheckpointError.

    zipfile, json and NumPy raise a dozen kinds of exceptions; the tokenizers library raises plain Exception, and where
    it breaks down a PanicException, which is none.
    """
    try:
        yield
    except (MinibertError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError as error:
        raise CheckpointError(f"{path}: there is not enough memory to read it") from error
    except BaseException as error:
        raise CheckpointError(f"{path}: cannot be read ({error!r:.500})") from error
