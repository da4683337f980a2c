"""The notebook runs from top to bottom, and prints what it shows."""

from __future__ import annotations

import re

import nbformat
import pytest

pytest.importorskip("nbclient")

import tour

NUMBER = re.compile(r"[-+]?\d*\.?\d+")


def test_the_notebook_holds_the_outputs_of_one_run():
    shown = nbformat.read(tour.PATH, as_version=4)
    cells = [cell for cell in shown.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for c in cells for o in c.outputs) == 2
    assert tour.PATH.stat().st_size < 150_000
    assert "site-packages" not in tour.PATH.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows():
    shown = tour.texts(nbformat.read(tour.PATH, as_version=4))
    for here, there in zip(tour.texts(tour.executed()), shown, strict=True):
        assert NUMBER.sub("#", here) == NUMBER.sub("#", there)
        numbers = [[float(x) for x in NUMBER.findall(text)] for text in (here, there)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.5)
