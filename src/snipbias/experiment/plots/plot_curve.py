"""Accuracy on the development part by number of neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snipbias.base.words import ORIGINAL, plural
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.metrics import accuracy, unknown_floor
from snipbias.experiment.outcome import Experiment, Outcome, TaskInfo, outcomes_of
from snipbias.experiment.plots.drawing import (
    ACROSS,
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    YELLOW,
    label_figure,
    label_panel,
    legend_beside,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = (
    ("overall", "all rows", BLACK, "o"),
    ("ambiguous", "ambiguous", ORANGE, "s"),
    ("disambiguated", "disambiguated", BLUE, "^"),
)


def accuracy_by_neurons(experiment: Experiment) -> Figure | None:
    """Accuracy on the development part by number of neurons, a panel a task."""
    method = experiment.settings.method
    trials = [
        (task, found)
        for task in experiment.tasks
        if (found := [o for o in outcomes_of(experiment, task.name, method) if _sizes(o)])
    ]
    if not trials:
        return None
    across = min(len(trials), ACROSS)
    down = math.ceil(len(trials) / across)
    figure = new_figure(3.7 * across + 2.6, 3.7 * down + 0.7)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    axes = list(grid.flat)
    for axis, (task, outcomes) in zip(axes, trials, strict=False):
        _by_neurons(axis, experiment, task, outcomes)
    for axis in axes[len(trials) :]:
        axis.set_visible(False)
    for row in grid:
        row[0].set_ylabel("accuracy on the development part (%)")
    axes[0].set_ylim(-3, 103)
    legend_beside(figure, axes[: len(trials)])
    label_figure(
        figure,
        f"Accuracy by number of neurons pruned ({method})",
        f"{experiment.model.name}. Lines: mean of {plural(len(trials[0][1]), 'trial')}; band: "
        "lowest to highest trial; stars: the number chosen in each trial; dotted: the original.",
    )
    return figure


def _by_neurons(
    axis: Axes, experiment: Experiment, task: TaskInfo, outcomes: Sequence[Outcome]
) -> None:
    original = [o.dev for o in outcomes_of(experiment, task.name, ORIGINAL) if o.dev is not None]
    rows = rows_of(original[0]) if original else None
    before = accuracy(rows) if rows else None
    sizes = np.array(sorted({n for each in outcomes for n in _sizes(each)}))
    for figure, label, colour, marker in LINES:
        lines = [_interpolated(each, figure, sizes) for each in outcomes]
        known = np.array([line for line in lines if line is not None])
        if not len(known):
            continue
        mean = 100 * known.mean(axis=0)
        axis.plot(sizes, mean, color=colour, marker=marker, markersize=4, label=label)
        if len(known) > 1:
            low, high = 100 * known.min(axis=0), 100 * known.max(axis=0)
            axis.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        level = getattr(before, figure) if before else None
        if level is not None:
            name = f"original, {label}"
            axis.axhline(100 * level, color=colour, linestyle=":", linewidth=1.4, label=name)
    floor = unknown_floor(rows).overall if rows else None
    if floor is not None:
        axis.axhline(
            100 * floor,
            color=GREY,
            linestyle="--",
            linewidth=1.2,
            label="always unknown, all rows",
        )
    _chosen_stars(axis, outcomes)
    axis.set_xscale("log")
    axis.set_xticks(sizes if len(sizes) <= 6 else _decades(sizes))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.minorticks_off()
    axis.set_xlabel("neurons pruned (log scale)")
    count = len(rows) if rows else task.items["dev"] * len(task.instructions)
    label_panel(axis, task.name, count)


def _chosen_stars(axis: Axes, outcomes: Sequence[Outcome]) -> None:
    label: str | None = "chosen (each trial)"
    for each in outcomes:
        for point in each.curve:
            if each.chosen and dict(point.setting) == dict(each.chosen):
                if point.overall is None:
                    continue
                axis.plot(
                    point.setting["n"],
                    100 * point.overall,
                    marker="*",
                    markersize=13,
                    color=YELLOW,
                    markeredgecolor=BLACK,
                    linestyle="none",
                    label=label,
                    zorder=5,
                )
                label = None


def _sizes(outcome: Outcome) -> list[float]:
    return sorted({point.setting["n"] for point in outcome.curve if point.setting.get("n", 0) > 0})


def _interpolated(outcome: Outcome, figure: str, sizes: np.ndarray) -> np.ndarray | None:
    """The trial's curve at every trial's sizes, straight in log n between those that it tried."""
    points = [point for point in outcome.curve if point.setting.get("n", 0) > 0]
    best: dict[float, float] = {}
    for point in sorted(points, key=lambda point: point.objective):  # of several factors the best
        value = getattr(point, figure)
        if value is not None:
            best[point.setting["n"]] = value
    if not best:
        return None
    tried = sorted(best)
    return np.interp(np.log(sizes), np.log(tried), [best[n] for n in tried])


def _decades(sizes: np.ndarray) -> list[float]:
    """1, 3, 10, 30 ... within the range: labels that do not run into each other."""
    steps = [step * 10**power for power in range(7) for step in (1, 3)]
    return [step for step in steps if sizes[0] <= step <= sizes[-1]]
