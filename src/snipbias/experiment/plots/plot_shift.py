"""How the options' probabilities shifted, by condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snipbias.base.words import ORIGINAL, plural
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.metrics import option_probabilities
from snipbias.evaluation.rows import Rows
from snipbias.experiment.outcome import Experiment, Outcome, outcomes_of
from snipbias.experiment.plots.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    label_figure,
    label_panel,
    legend_beside,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (("gold", GREEN), ("biased", ORANGE), ("unknown", BLUE))


def probability_shift(experiment: Experiment) -> Figure | None:
    """Mean probability of the gold, biased and unknown option, the original against the method."""
    method = experiment.settings.method
    panels = [
        (task, condition, rows, edited)
        for task in experiment.tasks
        if (before := outcomes_of(experiment, task.name, ORIGINAL))
        and (after := outcomes_of(experiment, task.name, method))
        for condition, rows, edited in _by_condition(before[0], after)
    ]
    if not panels:
        return None
    across = max(sum(task is each[0] for each in panels) for task in experiment.tasks)
    down = len({task.name for task, *_ in panels})
    figure = new_figure(4.2 * across + 1.9, 1.9 * down + 1.5)
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    names = list(dict.fromkeys(task.name for task, *_ in panels))
    used: set[tuple[int, int]] = set()
    for task, condition, rows, edited in panels:
        row = names.index(task.name)
        column = sum((row, c) in used for c in range(across))
        used.add((row, column))
        axis = grid[row][column]
        _dumbbells(axis, rows, edited, method)
        label_panel(axis, f"{task.name}, {condition}", len(rows))
    for row in range(down):
        for column in range(across):
            if (row, column) not in used:
                grid[row][column].set_visible(False)
    for axis in grid[-1]:
        axis.set_xlabel("mean probability (%)")
    legend_beside(figure, [grid[0][0]])
    trials = len(outcomes_of(experiment, names[0], method))
    label_figure(
        figure,
        f"Where the probability went ({method})",
        f"{experiment.model.name}, test part. Mean probability of an option, renormalised over the "
        f"options of its row; mean of {plural(trials, 'trial')}.",
    )
    return figure


def _by_condition(before: Outcome, after: Sequence[Outcome]) -> list[tuple[str, Rows, list[Rows]]]:
    """The original's rows and each trial's, by condition, or all where there are no conditions."""
    rows, edited = rows_of(before.test), [rows_of(each.test) for each in after]
    found = []
    for condition in ("ambiguous", "disambiguated"):
        mask = rows.condition == condition
        if mask.any():
            found.append((condition, rows.take(mask), [each.take(mask) for each in edited]))
    return found or [("all rows", rows, edited)]


def _dumbbells(axis: Axes, rows: Rows, edited: Sequence[Rows], method: str) -> None:
    """A line an option from the original's mean probability to the method's."""
    kinds = [kind for kind in KINDS if (getattr(rows, kind[0]) >= 0).any()]
    merged = bool((rows.gold == rows.unknown).all())
    if merged:
        kinds = [kind for kind in kinds if kind[0] != "gold"]
    for place, (kind, colour) in enumerate(kinds):
        old = _mean_probability(rows, kind)
        new = [_mean_probability(each, kind) for each in edited]
        mean = float(np.mean(new))
        axis.plot([old, mean], [place] * 2, color=colour, linewidth=2)
        axis.plot(mean, place, marker="D", color=colour, ms=7, ls="")
        axis.plot(new, [place + 0.27] * len(new), marker="|", color=colour, ms=7, ls="")
        # A ring wider than the mark, so that both are seen where hardly anything changed.
        axis.plot(old, place, marker="o", mfc="none", mec=BLACK, mew=1.4, ms=11, ls="")
        change = f"{old:.1f} \N{RIGHTWARDS ARROW} {mean:.1f}"
        beside = axis.get_yaxis_transform()  # x in widths of the panel, y in places
        axis.text(1.02, place, change, color=colour, va="center", fontsize=9, transform=beside)
    for label, marks in (
        ("original", {"marker": "o", "mfc": "none", "mec": BLACK, "mew": 1.4, "ms": 11}),
        (f"{method}, mean", {"marker": "D", "color": GREY, "ms": 7}),
        (f"{method}, a trial", {"marker": "|", "color": GREY, "ms": 7}),
    ):
        axis.plot([], [], ls="", label=label, **marks)
    labels = ["unknown (gold)" if merged and kind == "unknown" else kind for kind, *_ in kinds]
    axis.set_yticks(range(len(kinds)), labels)
    axis.set_ylim(len(kinds) - 0.4, -0.6)
    axis.set_xlim(-3, 103)
    axis.grid(axis="x", color=PALE)
    axis.set_axisbelow(True)


def _mean_probability(rows: Rows, kind: str) -> float:
    index = getattr(rows, kind)
    known = index >= 0
    chosen = np.take_along_axis(option_probabilities(rows), index[:, None], axis=1)[:, 0]
    return float(100 * chosen[known].mean())
