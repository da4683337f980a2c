"""The plots of an experiment as files: one page always, SVG and PNG where plotly can draw them."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from snipbias.base.files import atomic_file
from snipbias.base.words import one_line
from snipbias.experiment.results import Results
from snipbias.report.reproduced import plots_of

PAGE = "plots.html"
MISSING = "no plots were drawn: pip install 'snipbias[report]' and run the same command again."


def write_plots(results: Results, folder: Path) -> tuple[str, ...]:
    """Write `plots.html`, which loads nothing, and each plot as SVG and PNG.

    Returns:
        Notes on what could not be drawn: images take plotly's own exporter, the package kaleido,
        and a browser that it finds.
    """
    try:
        from plotly.graph_objects import Figure
    except ImportError:
        return (MISSING,)
    colours = _colours()
    figures = {
        plot.name: Figure(_coloured(plot.figure, colours)).update_layout(
            template="plotly_white", title=plot.title
        )
        for task in results.experiment.tasks
        for plot in plots_of(results, task.name)
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
        return (f"the plots are in {PAGE} alone; images were not drawn: {reason}.",)
    return ()


def _colours() -> dict[str, str]:
    """The light colours of the report's style sheet by name."""
    style = files("snipbias") / "report" / "static" / "report.css"
    light = style.read_text(encoding="utf-8").partition("@media")[0]
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]+)", light))


def _coloured(value: Any, colours: dict[str, str]) -> Any:
    """A figure with the colours that its "@names" stand for."""
    if isinstance(value, dict):
        return {key: _coloured(inner, colours) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_coloured(inner, colours) for inner in value]
    is_name = isinstance(value, str) and value.startswith("@")
    return colours[value[1:]] if is_name else value
