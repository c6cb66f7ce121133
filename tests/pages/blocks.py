"""What there is to run in the pages: each block of Python, each command; and which of these no test runs, and why.

python -m tests.pages.blocks     # how many of each
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ("*.md", "docs/*.md", "docs/stacks/*.md", "bench/*.md", "examples/**/README.md", "packages/*/*.md")

#: Languages of fenced blocks that are only looked at: what is printed, a drawing, a file's content.
SHOWN = ("text", "json", "console")
#: How a command begins, and an indented line of Python; other indented blocks are drawings, formulas and lists.
COMMAND = re.compile(r"(minibert|pip|python3?|pytest|curl|echo|printf|sudo|[A-Z_]+=\S+) ")
PYTHON = re.compile(r"(import|from) \w|(minibert|model)\.")

INSTALLS = "installs packages; that the extras exist is tested"
DOWNLOADS = "downloads a checkpoint"
HOURS = "takes hours, or measures, or trains a teacher"
TESTS = "runs these tests"
BOARD = "needs a Raspberry Pi, or the emulation of one"
ENDLESS = "goes on until it is ended; tests/examples runs it"
SYNOPSIS = "says how a command is called"

#: Pages whose steps another file of tests runs, by how these begin; it names the page.
ELSEWHERE = {
    "docs/FORMAT.md": {
        "import json": "tests/format/test_format_docs.py",
        "with ": "tests/format/test_format_docs.py",
        "codes = ": "tests/format/test_format_docs.py",
    },
    "docs/SERVE.md": {"curl localhost:8080/": "tests/serve/test_docs.py"},
    "examples/bulk/README.md": {"python examples/bulk/": "tests/examples/test_bulk.py"},
}

#: Steps that are not run, by how they begin; a new page or step that is neither run nor named here fails.
LEFT_OUT = {
    "README.md": {"minibert convert BAAI/": DOWNLOADS, "pytest": TESTS},
    "CONTRIBUTING.md": {"pytest": TESTS},
    "docs/BENCHMARKS.md": {"python -m bench.": HOURS},
    "docs/CHECKPOINTS.md": {"python -m bench.": HOURS},
    "docs/CLI.md": {"minibert convert BAAI/": DOWNLOADS, "minibert shrink": HOURS},
    "docs/DISTILLATION.md": {"python -m bench.": HOURS, "minibert shrink": HOURS},
    "docs/RASPBERRY_PI.md": {"MINIBERT_ARM=": BOARD},
    "docs/SECURITY.md": {"python -m tests.format.fuzz --rounds 100000": HOURS, "pytest": TESTS},
    "docs/TASKS.md": {"python -m bench.": HOURS},
    "bench/README.md": {"python -m bench.": HOURS, "python -m minibert.kernels.prebuild": HOURS},
    "examples/bulk/README.md": {"python -m bench.": HOURS},
    "examples/banking77/README.md": {"python examples/banking77/": HOURS, "minibert distill": HOURS},
    "examples/banking77/model/README.md": {"python examples/banking77/": HOURS},
    "examples/distill/README.md": {"minibert distill": HOURS},
    "examples/search/README.md": {"python examples/search/search.py watch": ENDLESS, "python -m bench.": HOURS},
    "packages/minilm/README.md": {"minibert convert all-MiniLM-L6-v2": DOWNLOADS},
}


class Step(NamedTuple):
    """A block of Python, or one command.

    Attributes:
        page: where it stands, from the root.
        line: the number of its block's first line.
        kind: "python" or "sh"; "toml" is the recipe that the page's commands read.
        text: what is run.
    """

    page: str
    line: int
    kind: str
    text: str

    @property
    def reason(self) -> str:
        """Why nothing runs it; empty if something does."""
        if self.kind == "sh":
            if "[OPTIONS]" in self.text:
                return SYNOPSIS
            if re.match(r"(sudo apt|pip|python3 -m venv) ", self.text):
                return INSTALLS
        return named(LEFT_OUT, self)

    @property
    def elsewhere(self) -> str:
        """The file of tests that runs it, if not this folder's."""
        if self.page.startswith("docs/stacks/"):
            return "tests/stacks/test_pages.py"
        return named(ELSEWHERE, self)


def named(table: dict[str, dict[str, str]], step: Step) -> str:
    """What a table says of a step."""
    return next((said for start, said in table.get(step.page, {}).items() if step.text.startswith(start)), "")


def pages() -> list[str]:
    """Every page, from the root."""
    return [path.relative_to(ROOT).as_posix() for pattern in PAGES for path in sorted(ROOT.glob(pattern))]


def blocks(page: str) -> Iterator[tuple[int, str, str]]:
    """Line, language and text of every block; an indented one has the language "sh", "python" or ""."""
    lines = [*(ROOT / page).read_text(encoding="utf-8").splitlines(), ""]
    number = 0
    while number < len(lines):
        first = number
        if fence := re.match(r"```(\w*)$", lines[first]):
            number = lines.index("```", first + 1)
            yield first + 1, fence[1], "\n".join(lines[first + 1 : number])
        elif lines[first].startswith("    ") and (first == 0 or not lines[first - 1].strip()):
            while lines[number].startswith("    ") or (
                not lines[number] and lines[number + 1 :][:1] and lines[number + 1].startswith("    ")
            ):
                number += 1
            text = "\n".join(line[4:] for line in lines[first:number])
            yield first + 1, "sh" if COMMAND.match(text) else "python" if PYTHON.match(text) else "", text
        number += 1


def steps(page: str) -> list[Step]:
    """What there is to run in a page, in order."""
    found = []
    for line, kind, text in blocks(page):
        if kind in ("python", "toml"):
            found.append(Step(page, line, kind, text))
        elif kind == "sh":
            commands = re.sub(r"\\\n\s*", "", text).splitlines()
            found += [Step(page, line, kind, command) for command in commands if command.strip()]
        elif kind and kind not in SHOWN:
            raise ValueError(f"{page}:{line}: nothing says what to do with a block of {kind}")
    return found


def main() -> None:
    every = [step for page in pages() for step in steps(page)]
    run = Counter(step.elsewhere or "tests/pages" for step in every if not step.reason)
    out = Counter(step.reason for step in every if step.reason)
    print(f"{len(every)} blocks of Python, recipes and commands in {len(pages())} pages; {run.total()} are run:")
    print("".join(f"{count:5} {name}\n" for name, count in run.most_common()), end="")
    print(f"{out.total()} are not:")
    print("".join(f"{count:5} {name}\n" for name, count in out.most_common()), end="")


if __name__ == "__main__":
    main()
