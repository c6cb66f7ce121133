"""PyInstaller runs this where a program imports minibert.

It finds modules by their import statements: what is imported by name is said here, and what is no module. The compiler
of kernels stays outside: a frozen program never starts one.
"""

from __future__ import annotations

import logging
import os
from glob import glob

import minibert
from minibert.engine.cpu import supported_isas
from minibert.engine.prebuilt import FOLDER, why_none
from minibert.kernels.isa import this_machine
from minibert.kernels.systems import this_system

if problem := why_none(supported_isas()[0]):
    logging.getLogger(__name__).warning("minibert: the program will answer by NumPy, and slowly: %s", problem)
_libraries = glob(os.path.join(FOLDER, f"{this_system()}-{this_machine()}-*"))
datas = [(file, "minibert/kernels/prebuilt") for file in [*_libraries, *glob(os.path.join(FOLDER, "*.json"))]]
hiddenimports = [*sorted(set(minibert._LAZY.values())), "_sha256", "_sha2", "hashlib"]
excludedimports = ["numba", "llvmlite", "minibert_converter"]
