"""Write an experiment's plots: one HTML page, and SVG and PNG where plotly can export them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from snipbias.base.files import atomic_file
from snipbias.base.words import one_line
from snipbias.experiment.results import Results
from snipbias.report.reproduced import plots_of

PAGE = "plots.html"
MISSING = "plots    none: pip install 'snipbias[report]' and run the same command again"


def write_plots(results: Results, folder: Path) -> tuple[str, ...]:
    """Write `plots.html`, which loads nothing, and each plot as SVG and PNG.

    Returns:
        Notes on what could not be drawn: images take plotly's own exporter, the package kaleido,
        and a browser that it finds.
    """
    if find_spec("plotly") is None:
        return (MISSING,)
    figures = {
        plot.name: plot.drawn() for task in results.tasks for plot in plots_of(results, task.name)
    }
    if not figures:
        return ()
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, div_id=name)
        for number, (name, figure) in enumerate(figures.items())
    ]
    with atomic_file(folder / PAGE) as new:
        new.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Plots</title>'
            f"{''.join(parts)}</html>\n",
            encoding="utf-8",
        )
    try:
        for name, figure in figures.items():
            for kind in ("svg", "png"):
                figure.write_image(folder / f"{name}.{kind}")
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        reason = one_line(str(error).strip().partition("\n")[0].rstrip(",. "))
        why = "pip install kaleido" if "kaleido" in reason.lower() else reason
        return (f"plots    {PAGE}, without images as SVG and PNG ({why})",)
    return ()
