"""Build function.zip for AWS Lambda: handler.py, minibert with its kernels, NumPy, and one model.

    python build.py                                    # minilm, for x86_64
    python build.py --model intents.safetensors --arch arm64 --python 3.13

The zip works on any system, for Linux: of NumPy the wheel of the architecture is taken. minibert is built out of this
checkout (minutes, for the kernels), or is --wheel FILE.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import minibert

HERE, ROOT = Path(__file__).resolve().parent, Path(__file__).resolve().parents[2]
#: Bytes that Lambda takes: of the zip in an upload (more by way of S3), and of what it holds.
MAX_ZIP, MAX_UNPACKED = 50_000_000, 250_000_000
#: What answering does not import where the tokenizer is in the file's tables.
UNUSED = ("numpy/**/tests", "numpy/f2py", "numpy/_core/include", "minibert_converter", "minibert/serve", "bin")
PLATFORMS = {"x86_64": "x86_64", "arm64": "aarch64"}


def pip(*words: str | Path) -> None:
    """Run pip; its own words say what went wrong."""
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=False)
    if done.returncode:
        sys.exit(f"build.py: pip {words[0]} failed")


def collect(folder: Path, arguments: argparse.Namespace) -> None:
    """Everything that the zip holds, in a folder."""
    model = minibert.load(arguments.model)
    packages = ["numpy"] if model.config.text.tables else ["numpy", "tokenizers"]
    wheel = arguments.wheel
    if wheel is None:
        pip("wheel", "-q", "--no-deps", "--wheel-dir", folder.parent, ROOT)
        (wheel,) = folder.parent.glob("minibert-*.whl")
    pip("install", "-q", "--no-deps", "--no-compile", "--target", folder, wheel)
    libc = [f"manylinux{each}_{PLATFORMS[arguments.arch]}" for each in ("2014", "_2_27", "_2_28")]
    given = [word for each in libc for word in ("--platform", each)]
    given += ["--only-binary", ":all:", "--python-version", arguments.python, "--implementation", "cp"]
    pip("install", "-q", "--no-compile", "--upgrade", "--target", folder, *given, *packages)
    for pattern in UNUSED:
        for each in folder.glob(pattern):
            shutil.rmtree(each)
    for library in folder.glob("minibert/kernels/prebuilt/*-*"):
        if not library.name.startswith(f"linux-{PLATFORMS[arguments.arch]}-"):
            library.unlink()
    shutil.copyfile(HERE / "handler.py", folder / "handler.py")
    shutil.copyfile(model.path, folder / model.path.name)


def main() -> int:
    """Build it, and say how large it is and what comes next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="a model file (default: minilm)")
    parser.add_argument("--arch", choices=PLATFORMS, default="x86_64", help="of the function (default: x86_64)")
    own = ".".join(map(str, sys.version_info[:2]))
    parser.add_argument("--python", default=own, help=f"of the function (default: this one, {own})")
    parser.add_argument("--wheel", type=Path, help="of minibert, instead of this checkout")
    parser.add_argument("-o", "--output", type=Path, default=Path("function.zip"))
    arguments = parser.parse_args()
    if arguments.wheel and not arguments.wheel.is_file():
        parser.error(f"{arguments.wheel}: no such file")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "function")
        collect(folder, arguments)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in files)
        with zipfile.ZipFile(arguments.output, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(folder))
    packed = arguments.output.stat().st_size
    print(f"{arguments.output}: {packed / 1e6:.1f} MB, {size / 1e6:.1f} MB unpacked")
    if size > MAX_UNPACKED:
        sys.exit("build.py: Lambda takes 250 MB unpacked: take a smaller model (docs/COMPRESSION.md)")
    print(f"aws lambda create-function --function-name minibert --runtime python{arguments.python} --handler")
    print(f"  handler.handler --architectures {arguments.arch} --memory-size 1024 --timeout 15 --role ROLE")
    print(f"  --zip-file fileb://{arguments.output}" + (" (too large: by way of S3)" if packed > MAX_ZIP else ""))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (minibert.MinibertError, OSError) as error:
        sys.exit(f"build.py: {error}")
