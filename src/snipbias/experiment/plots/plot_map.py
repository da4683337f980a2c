"""Where in the network the pruned neurons sit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from snipbias.base.words import plural
from snipbias.experiment.outcome import Experiment, edits_of, neurons_of
from snipbias.experiment.plots.drawing import ACROSS, PALE, label_figure, new_figure
from snipbias.models.places import Place, count_places, every_place, modules_order
from snipbias.models.sites import Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches a layer takes; with many layers less, so that the figure stays on a page.
FEW_LAYERS, HIGH, LOW = 12, 0.3, 0.17


def neuron_map(experiment: Experiment) -> Figure | None:
    """How many neurons were pruned in each module of each layer, a panel a task and stack."""
    method = experiment.settings.method
    edits = {task.name: edits_of(experiment, task.name, method) for task in experiment.tasks}
    counts = {
        task: count_places(experiment.sites, neurons_of(found))
        for task, found in edits.items()
        if any(found)
    }
    if not counts:
        return None
    sides: list[Side] = list(dict.fromkeys(place.side for place in every_place(experiment.sites)))
    panels = [(task, side, _matrix(counts[task], side)) for task in counts for side in sides]
    # A stack beside the other; where there is only one, a task beside the other.
    across = len(sides) if len(sides) > 1 else min(len(panels), ACROSS)
    down = math.ceil(len(panels) / across)
    widths = [matrix.shape[1] for *_, (matrix, _) in panels[:across]]
    layers = max(len(matrix) for *_, (matrix, _) in panels)
    height = max(1.8, (HIGH if layers <= FEW_LAYERS else LOW) * layers + 0.4)
    figure = new_figure(max(0.55 * sum(widths) + 2.6, 7.5), height * down + 1.9)
    grid = figure.subplots(down, across, squeeze=False, width_ratios=widths, sharex="col")
    highest = max(max(by_place.values()) for by_place in counts.values())
    image: Any = None
    for number, (axis, (task, side, drawn)) in enumerate(zip(grid.flat, panels, strict=False)):
        image = _heat(axis, *drawn, highest)
        axis.set_title(f"{task}, {side}" if len(sides) > 1 else task)
        axis.tick_params(labelbottom=number + across >= len(panels))
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for row in grid:
        row[0].set_ylabel("layer")
    trials = plural(max(map(len, edits.values())), "trial")
    figure.colorbar(image, ax=grid, fraction=0.03, pad=0.02).set_label(
        f"neurons pruned (mean of {trials})"
    )
    label_figure(
        figure,
        f"Where the pruned neurons sit ({method})",
        f"{experiment.model.name}, {experiment.model.neurons:,} neurons in all. Layer 0 is nearest "
        "to the input; empty cells: none.",
    )
    return figure


def _matrix(counts: Mapping[Place, float], side: Side) -> tuple[np.ndarray, list[str]]:
    """Counts by layer and module of one stack, and the modules' names."""
    here = {place: count for place, count in counts.items() if place.side == side}
    modules = sorted({place.module for place in here}, key=modules_order)
    matrix = np.zeros((1 + max(place.layer for place in here), len(modules)))
    for place, count in here.items():
        matrix[place.layer, modules.index(place.module)] = count
    return matrix, modules


def _heat(axis: Axes, matrix: np.ndarray, modules: Sequence[str], highest: float) -> Any:
    shown = np.ma.masked_equal(matrix, 0)
    image = axis.imshow(shown, cmap="YlGnBu", vmin=0, vmax=highest, aspect="auto")
    axis.set_xticks(range(len(modules)), modules, rotation=60, ha="right", rotation_mode="anchor")
    step = 1 if len(matrix) <= FEW_LAYERS else 4
    axis.set_yticks(range(0, len(matrix), step))
    axis.set_xticks(np.arange(0.5, len(modules) - 1), minor=True)
    axis.set_yticks(np.arange(0.5, len(matrix) - 1), minor=True)
    axis.grid(which="minor", color=PALE, linewidth=0.8)
    axis.tick_params(which="minor", length=0)
    for (layer, module), count in np.ndenumerate(matrix):
        if count:
            dark = count > 0.55 * highest
            axis.text(
                module,
                layer,
                f"{count:.0f}" if count >= 9.95 or count == int(count) else f"{count:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
    return image
