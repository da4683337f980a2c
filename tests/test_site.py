"""The site builds without a warning, fetches nothing, and has every public name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from browser import browser as browser

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*rel="?(?:canonical|prev|next))[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|@import\s+["'(u]|url\(["']?(?:https?:)?//|import\(["']https?://""",
)

# Of the reference's many functions, which look the same, the first ones.
FEWER = "document.querySelectorAll('.doc-object').forEach((each, i) => i > 5 && each.remove())"


def _public() -> dict[str, str]:
    """Each public name and the full name of what it is."""
    stub = (ROOT / "src/snipbias/__init__.pyi").read_text(encoding="utf-8")
    return {
        alias.asname or alias.name: f"snipbias.{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(stub))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_public_name_is_in_the_reference():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: ([\w.]+)", page, re.MULTILINE))
    public = _public()
    assert public.pop("__version__")
    assert "sb.__version__" in page
    assert set(public.values()) - shown == set()
    assert shown - set(public.values()) == set()


def test_what_would_be_fetched_is_seen():
    for html in (
        '<script src="https://cdn.example/x.js"></script>',
        '<link href="//fonts.example/css" rel="stylesheet">',
        "<style>a{background:url(https://example.org/x.png)}</style>",
        '<script>import("https://cdn.example/mermaid.mjs")</script>',
    ):
        assert FETCHED.search(html), html
    for html in ('<a href="https://example.org">', '<script src="assets/x.js">', "url(data:x)"):
        assert not FETCHED.search(html), html


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet, under which --strict counts no warning.
    command = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_no_page_fetches_anything(site):
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 20
    for page in pages:
        found = FETCHED.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.relative_to(site)}: {found[0]}"


@pytest.mark.slow
def test_equations_are_shown_and_functions_stand_beside_them(site):
    page = (site / "how-it-works.html").read_text(encoding="utf-8")
    source = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
    assert page.count("<math") == source.count("$$\n") / 2 > 5
    assert "$$" not in page
    for name in re.findall(r"^::: ([\w.]+)", source, re.MULTILINE):
        assert f'id="{name}"' in page


@pytest.mark.slow
def test_files_of_the_repository_that_pages_link_to_are_on_the_site(site):
    assert (site / "files/CONTRIBUTING.html").exists()
    for page in set(site.rglob("*.html")) - {site / "404.html"}:  # whose links are from the root
        for target in re.findall(r'<a\b[^>]*\bhref="([^"#:]+)["#]', page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(site)}: {target}"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_links_can_be_told_from_their_ground(site: Path, browser: Any, scheme: str):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    rules = {"runOnly": ["color-contrast", "link-in-text-block"]}
    context = browser.new_context(color_scheme=scheme)
    for name in ("start", "api", "results"):
        page = context.new_page()
        page.goto((site / f"{name}.html").as_uri())
        page.evaluate(FEWER)
        found = axe.Axe().run(page, options=rules).response["violations"]
        assert {v["id"]: [n["html"] for n in v["nodes"]] for v in found} == {}, name
    context.close()
