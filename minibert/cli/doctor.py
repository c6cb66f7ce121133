"""Show what this machine is, which kernels answer on it and why, and what is missing for better ones."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import warnings
from contextlib import suppress
from typing import Any

from minibert import __version__
from minibert.cli import console
from minibert.errors import BackendError, BackendWarning, MinibertError

HELP = "show the CPU, the kernels in use and the versions"
EXAMPLES = ("doctor",)

_PACKAGES = ("numpy", "safetensors", "tokenizers", "numba", "llvmlite")
_SWITCHES = ("MINIBERT_BACKEND", "MINIBERT_ISA", "MINIBERT_CACHE", "MINIBERT_SPARSE")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Look, load the kernels, and say what was found; 1 if nothing can answer as things are set."""
    found = examine()
    if arguments.json:
        console.say_json(found, indent=2)
        return 1 if found["error"] else 0
    rows = [
        ("cpu", found["cpu"]),
        ("features", " ".join(found["features"]) or "unknown"),
        ("instruction sets", ", ".join(found["instruction_sets"])),
        ("carried kernels", "; ".join(filter(None, [", ".join(found["prebuilt"]) or "none", found["not_prebuilt"]]))),
        ("backend", found["backend"] or "none"),
        ("kernels in use", found["kernels"] or ("NumPy" if found["backend"] == "numpy" else "none")),
        ("threads", str(found["threads"])),
        ("cache", found["cache"] + ("" if found["cached"] else " (nothing there yet)")),
        ("system", found["system"]),
        ("python", found["python"]),
        *((name, version or "not installed") for name, version in found["versions"].items()),
        *((name, value) for name, value in found["environment"].items()),
    ]
    for name, value in rows:
        console.say(f"{name:<17} {value}")
    for line in advice(found):
        console.say(line)
    return 1 if found["error"] else 0


def examine() -> dict[str, Any]:
    """Everything that `doctor` shows, as JSON has it."""
    from minibert.engine import cpu
    from minibert.engine.backends import choose_backend, why_numpy
    from minibert.engine.cache import cache_folder
    from minibert.engine.library import chosen_isa, kernels
    from minibert.engine.prebuilt import prebuilt_isas, why_none
    from minibert.engine.processors import default_threads

    backend = loaded = error = not_carried = why = None
    try:
        not_carried = why_none(chosen_isa()) or None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BackendWarning)  # it is said below, with the rest
            backend = choose_backend()
        why = why_numpy() if backend == "numpy" else None
        try:
            loaded = None if backend == "numpy" else kernels(prebuilt=backend == "prebuilt").isa
        except BackendError as problem:
            if "MINIBERT_BACKEND" in os.environ:
                raise
            backend, why = "numpy", str(problem)
    except (MinibertError, OSError) as problem:
        error = str(problem)
    folder, kept = cache_folder(), []
    with suppress(OSError):  # a home that is another's
        kept = sorted(name for name in os.listdir(folder) if name.startswith("kernels-") and name.endswith(".o"))
    return {
        "cpu": cpu.cpu_name(),
        "features": sorted(cpu.relevant_features()),
        "instruction_sets": cpu.supported_isas(),
        "prebuilt": prebuilt_isas(),
        "not_prebuilt": not_carried,
        "backend": backend,
        "kernels": loaded,
        "why_numpy": why,
        "error": error,
        "threads": 1 if backend == "numpy" else default_threads(),
        "cache": str(folder),
        "cached": kept,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {sys.maxsize.bit_length() + 1}-bit",
        "python": platform.python_version(),
        "versions": {"minibert": __version__, **{name: _version(name) for name in _PACKAGES}},
        "environment": {name: os.environ[name] for name in _SWITCHES if name in os.environ},
    }


def advice(found: dict[str, Any]) -> list[str]:
    """What could be better, and how; nothing where all is well."""
    lines = []
    if found["error"]:
        lines.append(f"problem: {found['error']}")
    elif found["why_numpy"] and "MINIBERT_BACKEND" not in found["environment"]:
        lines.append(f"advice: NumPy answers, correctly but many times slower than kernels would: {found['why_numpy']}")
    elif found["backend"] == "jit" and not found["cached"]:
        lines.append("advice: no cache can be written, so every process compiles the kernels anew; set MINIBERT_CACHE")
    return lines


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
