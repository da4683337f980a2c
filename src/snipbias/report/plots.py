"""The plots of a section, and the page and images that hold the plots alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from snipbias.base.files import atomic_file, slug
from snipbias.base.plot import Plot, mark, percents, scatter
from snipbias.base.table import Grid, percent
from snipbias.base.words import ORIGINAL, one_line
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation import metrics
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.models.places import count_places, neuron_map
from snipbias.models.sites import Site

PAGE = "plots.html"
ORIGINALS = {"color": "@ink", "symbol": "circle-open", "size": 11, "line": {"width": 2}}


def plots(
    found: Mapping[str, Measured],
    spots: Sequence[Spot],
    sizes: Plot | None,
    runs: Mapping[str, Rows],
) -> list[Plot]:
    """Shift or gain, accuracy by number of neurons, and accuracy under each instruction.

    Args:
        runs: rows of every edit (or trial).
    """
    original = found[ORIGINAL].trials[0]
    place = slug(found[ORIGINAL].task)
    rows = {ORIGINAL: original.rows, **runs}
    by_instruction = {name: metrics.accuracy_by_instruction(each) for name, each in rows.items()}
    shift = tradeoff(place, spots, original.summary.offset_curve)
    made = (shift, sizes, spread(place, by_instruction, list(runs)))
    return [plot for plot in made if plot is not None]


def spread(
    place: str, lines: Mapping[str, Mapping[int, float]], edits: Sequence[str]
) -> Plot | None:
    """Accuracy under each instruction, one line per method.

    Args:
        place: prefix of the plot's name in the page.
        lines: method -> number of the instruction -> accuracy.
        edits: names of the edits, for their colours.

    Returns:
        None with fewer than two instructions.
    """
    if max(map(len, lines.values()), default=0) < 2:
        return None
    data = []
    for name, by_instruction in lines.items():
        look = mark(edits.index(name)) if name in edits else ORIGINALS
        line = {"color": look["color"], "width": 1.5, "dash": "dot"}
        hover = "instruction %{x}: %{y:.1f} %"
        x, y = [1 + i for i in by_instruction], percents(list(by_instruction.values()))
        data.append(scatter(name, x, y, hover, "lines+markers", marker=look, line=line))
    numbers = sorted({i for by_instruction in lines.values() for i in by_instruction})
    rows = tuple((name, *(percent(of.get(i)) for i in numbers)) for name, of in lines.items())
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": "instruction"}, "dtick": 1},
        "yaxis": {"title": {"text": "accuracy"}, "ticksuffix": " %", "rangemode": "tozero"},
        "hovermode": "x unified",
    }
    return Plot(
        f"{place}-spread",
        "Accuracy under each instruction",
        "The same rows under other instructions. A line that goes up and down shows that accuracy "
        "depends on the wording; a line that lies higher everywhere does not depend on it.",
        {"data": data, "layout": layout},
        Grid("Accuracy by instruction (%)", ("method", *(str(1 + i) for i in numbers)), rows),
    )


def maps(
    sites: Sequence[Site], place: str, edits: Mapping[str, Sequence[NeuronEdit | None]]
) -> list[Plot]:
    """Where the neurons of each edit sit.

    Args:
        place: prefix of the plots' names in the page.
        edits: name -> the edit of each trial, over which the map averages.
    """
    group, drawn = f"{place}-map", []
    for number, (name, found) in enumerate(edits.items()):
        counts = count_places(sites, [edit.neurons if edit else [] for edit in found])
        where = {"place": f"{group}{number}", "group": group, "choice": name}
        drawn.append(neuron_map(counts, "Where the changed neurons sit", **where))
    return drawn


def write_plots(drawn: Iterable[Plot], folder: Path) -> tuple[str, ...]:
    """Write `plots.html`, which loads nothing, and each plot as SVG and PNG.

    Returns:
        Notes on what could not be drawn: images take plotly's own exporter, the package kaleido,
        and a browser that it finds.
    """
    if find_spec("plotly") is None:
        return ("plots    none: pip install 'snipbias[report]' and run the same command again",)
    figures = {plot.name: plot.drawn() for plot in drawn}
    if not figures:
        return ()
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, div_id=name)
        for number, (name, figure) in enumerate(figures.items())
    ]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Plots</title>'
    with atomic_file(folder / PAGE) as new:
        new.write_text(f"{head}{''.join(parts)}</html>\n", encoding="utf-8")
    try:
        for name, figure in figures.items():
            for kind in ("svg", "png"):
                figure.write_image(folder / f"{name}.{kind}")
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        reason = one_line(str(error).strip().partition("\n")[0].rstrip(",. "))
        why = "pip install kaleido" if "kaleido" in reason.lower() else reason
        return (f"plots    {PAGE}, without images as SVG and PNG ({why})",)
    return ()
