"""Pictures for docs: a terminal and a notebook."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

import snipbias as sb
from browser import browser as browser
from browser import keep, run_to_show, screenshot
from snipbias.evaluation.answer import answer

pytestmark = pytest.mark.slow
COMMAND = "snipbias evaluate demo mini:age --edit v1/n3 --edit v1/n30"
# Rich's, but for the typefaces that it would fetch.
FRAME = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
CELLS = {
    'task = sb.task("mini:age")\ntask': lambda task, found: task,
    "sb.compare(lm, task, edit, items=88)": lambda task, found: found,
}
PAGE = """<style>
body { font: 14px sans-serif; margin: 16px; width: 860px }
pre { background: #f5f5f5; padding: 8px; border-left: 3px solid #38f }
table { border-collapse: collapse; font-size: 12px; margin: 8px 0 }
td, th { padding: 3px 8px; text-align: right }
tbody tr:nth-child(odd) { background: #f5f5f5 }
</style>"""


def test_the_terminal(runs: Path) -> None:
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$ {COMMAND}[/]")
    console.print(answer(sb.Comparison.load(run_to_show(runs / "evaluated"))))
    picture = console.export_svg(title="snipbias", theme=MONOKAI, code_format=FRAME)
    assert "src: " not in picture  # nothing is fetched
    keep("terminal.svg", picture.encode())


def test_the_notebook(runs: Path, browser: Any) -> None:
    shown = sb.task("mini:age"), sb.Comparison.load(run_to_show(runs / "evaluated"))
    cells = (f"<pre>{code}</pre>{of(*shown)._repr_html_()}" for code, of in CELLS.items())
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_content(PAGE + "".join(cells))
    screenshot(page, "notebook")
    page.close()
