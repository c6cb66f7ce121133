"""Every form in which the package is installed: what answers, how large it is, and how long a start takes.

    python -m bench.install.forms dist/minibert-*.whl examples.safetensors --fill

Each form is made in a folder of its own, with the real tool and packages from the registry, and run without this
checkout in sight. Sizes are those of all that was installed beside Python itself (of PyInstaller's programs, Python
too). Time runs from the start of the process to its answer to one text; disk caches are warm.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import zipapp
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench import common

#: The program that is packed: what a user's would be.
PROGRAM = """
import json, sys, warnings
warnings.simplefilter("always")
import minibert

def main():
    model = minibert.load(sys.argv[1], threads=1)
    answer = model.predict("where is my new card?")
    print(json.dumps({"backend": model.engine.backend, "isa": model.engine.isa, "label": answer["label"]}), flush=True)

if __name__ == "__main__":
    main()
"""
_MISSING = "{tool} is not installed"
#: What pip leaves in an environment that is no part of the package.
_OF_PIP = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


class Form(NamedTuple):
    """A package that was made.

    Attributes:
        command: what runs the program; the model's file follows.
        environment: all its variables.
        places: files and folders that were installed.
        without: packages in these that do not count.
    """

    command: list[str]
    environment: dict[str, str]
    places: list[Path]
    without: tuple[str, ...] = ()

    def answer(self, model: Path) -> dict[str, str]:
        """What the program prints.

        Raises:
            RuntimeError: it failed, or warned.
        """
        done = self.run(model)
        if done.returncode or done.stderr.strip():
            raise RuntimeError(f"{self.command}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def run(self, model: Path) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return subprocess.run(
            [*self.command, str(model)], env=self.environment, capture_output=True, text=True, cwd="/", check=False
        )

    def seconds(self, model: Path, rounds: int) -> float:
        """The median time to an answer."""
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            self.answer(model)
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])

    def size(self) -> int:
        """Bytes of all files."""
        return sum(
            file.stat().st_size
            for place in self.places
            for file in ([place] if place.is_file() else place.rglob("*"))
            if file.is_file() and not file.is_symlink() and not self._is_left_out(file.relative_to(place).parts)
        )

    def _is_left_out(self, parts: tuple[str, ...]) -> bool:
        return bool(parts) and any(parts[0] == name or parts[0].startswith(f"{name}-") for name in self.without)


class ToolError(Exception):
    """What a form needs is not here."""


def _environment(**more: str) -> dict[str, str]:
    """Nothing of this process's own; and no byte code is written where a form has none."""
    return {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent", **more}


def _run(*command: str | Path, folder: Path | None = None) -> None:
    """Run a tool.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-1500:]}")


def _program(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    return program


def _virtual_environment(folder: Path, *packages: str | Path, python: str = sys.executable) -> tuple[Path, Path]:
    """Python and site-packages of a new environment."""
    _run(python, "-m", "venv", folder)
    own = folder / "bin/python"
    _run(own, "-m", "pip", "install", "-q", *packages)
    (site,) = folder.glob("lib/python*/site-packages")
    return own, site


def _target(wheel: Path, folder: Path, *options: str) -> Path:
    """Everything in one folder."""
    _run(sys.executable, "-m", "pip", "install", "-q", *options, "--target", folder, wheel)
    return folder


def pip(wheel: Path, folder: Path) -> Form:
    """`pip install`, with byte code."""
    own, site = _virtual_environment(folder / "venv", wheel)
    return Form([str(own), str(_program(folder))], _environment(), [site], _OF_PIP)


def target(wheel: Path, folder: Path) -> Form:
    """`pip install --target`."""
    site = _target(wheel, folder / "site")
    return Form([sys.executable, str(_program(folder))], _environment(PYTHONPATH=str(site)), [site])


def lambda_layer(wheel: Path, folder: Path) -> Form:
    """AWS Lambda's layout: a folder `python` without byte code, which nobody may write to."""
    site = _target(wheel, folder / "python", "--no-compile")
    return Form([sys.executable, str(_program(folder))], _environment(PYTHONPATH=str(site)), [site])


def byte_code(wheel: Path, folder: Path) -> Form:
    """Byte code alone: no source of the package is left."""
    site = _target(wheel, folder / "site", "--no-compile")
    for package in ("minibert", "minibert_converter"):
        _run(sys.executable, "-m", "compileall", "-q", "-b", site / package)
        for source in (site / package).rglob("*.py"):
            source.unlink()
    return Form([sys.executable, str(_program(folder))], _environment(PYTHONPATH=str(site)), [site])


def zip_application(wheel: Path, folder: Path) -> Form:
    """A zipapp of program and package; NumPy and the others, which no zip file can hold, in a folder beside it."""
    site = _target(wheel, folder / "site")
    inside = folder / "inside"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(inside)
    for part in ("minibert", "minibert_converter"):
        shutil.rmtree(site / part)
    _program(inside)
    zipapp.create_archive(inside, folder / "program.pyz", main="program:main", compressed=True)
    command = [sys.executable, str(folder / "program.pyz")]
    return Form(command, _environment(PYTHONPATH=str(site)), [site, folder / "program.pyz"])


def frozen(wheel: Path, folder: Path) -> Form:
    """PyInstaller's folder, by the hook that the package brings."""
    own, _site = _virtual_environment(folder / "venv", wheel, "pyinstaller")
    program = _program(folder)
    _run(own, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", "--onedir", program, folder=folder)
    built = folder / "dist/program"
    return Form([str(built / "program")], _environment(), [built])


def slim_container(wheel: Path, folder: Path) -> Form:
    """A file system that nobody writes to, without /proc, /tmp and a home, for a user whom the system does not know."""
    if not shutil.which("bwrap"):
        raise ToolError(_MISSING.format(tool="bubblewrap"))
    site = _target(wheel, folder / "site")
    prefix = Path(sys.base_prefix).resolve()
    binds = [path for path in ("/usr", "/lib", "/lib64", prefix, folder.resolve()) if Path(path).exists()]
    shown = [word for path in binds for word in ("--ro-bind", str(path), str(path))]
    inside = ["--unshare-user", "--uid", "54321", "--gid", "54321", "--remount-ro", "/", "--chdir", "/"]
    box = ["bwrap", *shown, *inside]
    python = str(Path(sys.executable).resolve())
    if subprocess.run([*box, python, "-c", "pass"], capture_output=True, check=False).returncode:
        raise ToolError("bubblewrap may not make a container here")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)}
    return Form([*box, python, str(_program(folder))], environment, [site])


FORMS: Mapping[str, Callable[[Path, Path], Form]] = {
    "pip install": pip,
    "pip install --target": target,
    "AWS Lambda's layout": lambda_layer,
    "byte code alone": byte_code,
    "zipapp": zip_application,
    "PyInstaller": frozen,
    "a container without /proc, /tmp, home": slim_container,
}


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("model", type=Path, help="a classifier, as `minibert convert` writes it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=common.ROOT / "build/forms", help="where forms are made")
    parser.add_argument("--fill", action="store_true", help="write the table into docs/INSTALL.md")
    options = parser.parse_args()
    wheel, model = options.wheel.resolve(), options.model.resolve()
    rows = []
    for name, make in FORMS.items():
        folder = options.folder.resolve() / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        common.note(name)
        try:
            form = make(wheel, folder)
        except ToolError as error:
            common.note(f"skipped: {error}")
            continue
        shown = (folder / "model.safetensors").resolve()  # a container sees nothing else
        shutil.copyfile(model, shown)
        found = form.answer(shown)
        rows.append(
            (
                name,
                f"{found['backend']} ({found['isa']})",
                f"{form.size() / 1e6:.0f} MB",
                f"{form.seconds(shown, options.rounds):.2f} s",
            )
        )
    table = common.table(("installed as", "what answers", "size", "first answer"), rows, words=2)
    machine = common.describe_machine()
    size = f"the wheel itself has {wheel.stat().st_size / 1e6:.1f} MB"
    text = f"{table}\n\n{machine['cpu']}, Python {machine['python']}, {machine['date']}; {size}."
    print(text)
    if options.fill:
        common.fill(common.DOCS / "INSTALL.md", __file__, text)


if __name__ == "__main__":
    main()
