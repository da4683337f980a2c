"""What the site does to its pages beside rendering them: equations, and files of the repository.

The pages are Markdown that reads well in the repository, too. So equations are written as LaTeX
between double dollars, which code hosts show, and become MathML here, which browsers show without
a script; and a link out of docs/ becomes one to a copy of that file on the site.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FILES = "files"  # where copies of the repository's files are on the site
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")  # those that have a place in the navigation

EQUATION = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"^<!-- (not run: .+?) -->$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
SCRIPT = re.compile(r"<script[^>]*>(?:(?!</script>).)*</script>", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository that the pages link to, and those such files link to."""
    waiting = [*PAGES]
    for file in files.documentation_pages():
        if file.src_uri.endswith(".md"):
            waiting += _outside(file.content_string, f"docs/{file.src_uri}")
    while waiting:
        path = waiting.pop()
        if files.get_file_from_path(_on_site(path)) is not None:
            continue
        files.append(File.generated(config, _on_site(path), abs_src_path=os.fspath(ROOT / path)))
        if path.endswith(".md"):
            waiting += _outside((ROOT / path).read_text(encoding="utf-8"), path)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Equations as MathML, why a block is not run, and links to where the site has their target."""
    here = page.file.src_uri
    source = here.removeprefix(f"{FILES}/") if here.startswith(f"{FILES}/") else f"docs/{here}"

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if "://" in target or not (path := _resolved(target, source)):
            return match[0]
        return f"]({posixpath.relpath(_on_site(path), posixpath.dirname(here) or '.')}{anchor})"

    parts = FENCE.split(markdown)  # text and fenced code in turns
    for i in range(0, len(parts), 2):
        text = EQUATION.sub(lambda match: convert(match[1], display="block"), parts[i])
        text = NOT_RUN.sub(r'<p class="not-run">\1</p>\n', text)
        parts[i] = LINK.sub(link, text)
    return "".join(parts)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Of notebooks: links to pages, and no scripts from elsewhere, which none of ours needs."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    output = re.sub(r'href="([\w-]+)\.md(#[^"]*)?"', r'href="\1.html\2"', output)
    return SCRIPT.sub(lambda match: "" if "https://" in match[0] else match[0], output)


def _outside(markdown: str, source: str) -> list[str]:
    """The repository's files outside docs/ that a page links to."""
    text = "".join(FENCE.split(markdown)[::2])
    found = (_resolved(match[1], source) for match in LINK.finditer(text))
    return [path for path in found if path and not path.startswith("docs/")]


def _resolved(target: str, source: str) -> str | None:
    """A link's target as a path in the repository, or None where it is no file of it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return path if (ROOT / path).is_file() else None


def _on_site(path: str) -> str:
    """Where the site has a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == "README.md":
        return "index.md"
    return str(PurePosixPath(FILES, path))
