"""The page to try a model: it loads nothing from elsewhere, and asks what the service answers."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from minibert.serve import page

NAMES = ("index.html", "docs.html", "page.js", "docs.js", "page.css")


def test_a_browser_may_load_nothing_from_elsewhere(client):
    for path in page.FILES:
        answer = client.get(path)
        assert answer.status == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_from_elsewhere_or_inline(name):
    text = files(page.__name__).joinpath(name).read_text()
    assert "//" not in re.sub(r"^// .*$", "", text, flags=re.MULTILINE).replace("/https?://", "")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", text)
    if name.endswith(".html"):
        assert not re.search(r"<script(?! src=\"/)|<style| on\w+=| style=", text)
        for path in re.findall(r'(?:src|href)="(/[^"]*)"', text):
            assert path in page.FILES or path == "/openapi.json"


def test_every_id_that_the_script_looks_for_is_in_the_page():
    script, html = (files(page.__name__).joinpath(name).read_text() for name in ("page.js", "index.html"))
    wanted = set(re.findall(r'at\("(\w+)"\)', script))
    assert wanted == set(re.findall(r'\bid="(\w+)"', html))
