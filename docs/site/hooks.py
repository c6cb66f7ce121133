"""The site's pages are the repository's own: each keeps its path in it, so that links lead where they lead there.

Only its address is shorter (docs/TASKS.md is tasks/). A link to what is no page, such as a file of code, leads into the
repository, if its address is known: see `repository_of` in hatch_build.py.
"""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from hatch_build import repository_of  # noqa: E402 - it lies at the root

#: Every page, and what pages show.
PAGES = ("*.md", "docs/**/*.md", "bench/*.md", "examples/**/README.md", "packages/*/*.md")
SHOWN = ("docs/**/*.svg", "docs/**/*.css")
log = logging.getLogger("mkdocs.hooks.minibert")


def found(*patterns: str) -> list[str]:
    """Files from the root, a pattern's in order; README.md comes before its like, and before folders."""
    return [path.relative_to(ROOT).as_posix() for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def address(source: str) -> str:
    """Where a page or picture is written: docs/RASPBERRY_PI.md at raspberry_pi/index.html, README.md at index.html."""
    path = source.removeprefix("docs/").removeprefix("site/")
    if not path.endswith(".md"):
        return path
    folder, name = posixpath.split(path[:-3].lower())
    return posixpath.join(folder, "" if name == "readme" else name, "index.html")


def on_config(config: MkDocsConfig) -> None:
    """Patterns of the nav become the pages that they find."""
    for chapter in config.nav or []:
        for title, pages in chapter.items():
            if isinstance(pages, list):
                chapter[title] = [page for entry in pages for page in (found(entry) if "*" in entry else [entry])]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The repository's pages instead of the folder's, and the theme's own files."""
    made = [File.generated(config, source, abs_src_path=str(ROOT / source)) for source in found(*PAGES, *SHOWN)]
    for file in made:
        file.dest_uri = address(file.src_uri)
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *made])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to what is no page of the site lead into the repository; to what is nowhere, they are warned of."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # a column with one entry
    folder, repository = posixpath.dirname(page.file.src_uri), repository_of(ROOT)

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if files.get_file_from_path(path):
            return match[0]
        if not (ROOT / path).exists():
            log.warning("%s links to %s, which is not there", page.file.src_uri, target)
        return f"[{text}]({repository}/blob/HEAD/{path})" if repository else text

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, markdown)
