"""The offset control: a constant added to the score of "unknown", and no neuron touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from snipbias.base.words import ORIGINAL
from snipbias.evaluation.evaluate import Evaluation, accuracy
from snipbias.evaluation.margin import unknown_margin
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.offset_curve import ROUNDING, OffsetPoint, offset_curve
from snipbias.experiment.baselines.calibration import answered
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import objective
from snipbias.experiment.outcome import Outcome, Point, named
from snipbias.tasks.items import Task

_IMPOSSIBLE = -100.0  # log P of what is never said: finite, as an option's score must be


def shifted(cell: Cell, *, by_wording: bool = False) -> Outcome:
    """The offset control, its constant chosen on dev; so are those of the wordings of "unknown"."""
    before = accuracy(cell.original_dev.table)
    goal = partial(objective, settings=cell.settings, original=before)
    dev, test, extra = cell.original_dev, cell.original, {}
    if by_wording:
        by_text = constants(dev, cell.dev)
        dev, test = levelled(dev, cell.dev, by_text), levelled(test, cell.test, by_text)
        extra = {"wordings": len(by_text)}
    found = choose_offset(dev, goal)
    if found is None:  # no row of this task has an unknown option
        return replace(cell.unchanged(), text=None, chat=None, retention={}, elsewhere={})
    dev = offset(dev, found.offset)
    rows = cell.relabelled("test", lambda: offset(test, found.offset).table)
    setting, now = {"offset": found.offset, **extra}, found.accuracy
    point = Point(setting, now.overall, now.ambiguous, now.disambiguated, goal(now))
    return cell.report(rows, dev=named(dev.table, cell.method), chosen=setting, curve=(point,))


def offset(
    original: Evaluation, constant: float | Sequence[float], label: str = "offset"
) -> Evaluation:
    """The offset control: add to the score of the unknown option.

    Args:
        constant: what is added, in nats; one number, or one per row.
        label: name of the new rows.
    """
    table = original.table
    scores = [np.array(row) for row in table["score"].to_pylist()]
    unknown, added = table["unknown"].to_pylist(), np.broadcast_to(constant, len(table))
    for row, index, number in zip(scores, unknown, added, strict=True):
        if index is not None:
            row[index] += number
    return answered(label, original, scores)


def choose_offset(
    dev_original: Evaluation, objective: Callable[[ByCondition], float]
) -> OffsetPoint | None:
    """The constant whose accuracies on the development part have the highest objective.

    Tried is one constant in each stretch within which no answer changes; of equals the one nearest
    to 0 is taken. None where the rows have no unknown option or lack one of the conditions.
    """
    curve = offset_curve(dev_original.rows())
    if curve is None:
        return None
    points = [curve.point(i) for i in range(len(curve.offsets))]
    values = np.array([objective(point.accuracy) for point in points])
    equals = np.flatnonzero(values >= values.max() - ROUNDING)
    return min((points[i] for i in equals), key=lambda point: abs(point.offset))


def constants(dev_original: Evaluation, dev: Task) -> dict[str, float]:
    """By wording of "unknown", what brings its middle to where the middles are on average.

    Most of the margin's variance is between questions, and much of that is how they word the
    unknown option. The middle is that of the mean margins on ambiguous and on disambiguated rows,
    whatever the number of either. A wording that lacks one of them is left as it is.
    """
    rows, said = dev_original.rows(), _wordings(dev_original, dev)
    margin = unknown_margin(rows)
    middles: dict[str, float] = {}
    for wording in sorted(set(said) - {""}):
        here = [margin[(said == wording) & part] for part in (rows.ambiguous, rows.disambiguated)]
        if all(map(len, here)):
            middles[wording] = float(np.mean([part.mean() for part in here]))
    level = float(np.mean(list(middles.values()))) if middles else 0.0
    return {wording: level - middle for wording, middle in middles.items()}


def levelled(original: Evaluation, task: Task, by_wording: Mapping[str, float]) -> Evaluation:
    """The original's rows with a constant added per wording, still under the original's name.

    Args:
        by_wording: text of the unknown option -> constant in nats; others stay.
    """
    added = [by_wording.get(wording, 0.0) for wording in _wordings(original, task)]
    return offset(original, added, ORIGINAL)


def _wordings(evaluation: Evaluation, task: Task) -> np.ndarray:
    """The text of each row's unknown option; "" where it has none."""
    texts = {i.id: "" if i.unknown is None else i.options[i.unknown] for i in task.items}
    return np.array([texts[item] for item in evaluation.table["item"].to_pylist()])


def always_unknown(cell: Cell) -> Evaluation:
    """Answers "unknown" whatever is asked: the floor that a useful method must beat.

    The unknown option is certain and the others are equal, so that every margin is the same and
    discrimination is a guess. A row without an unknown option gets no answer, which counts as
    wrong.
    """
    table = cell.original.table
    unknown, scores = table["unknown"].to_pylist(), table["score"].to_pylist()
    scores = [np.zeros(len(row)) for row in scores]
    for row, index in zip(scores, unknown, strict=True):
        if index is not None:
            row[np.arange(len(row)) != index] = _IMPOSSIBLE
    chosen = [-1 if index is None else index for index in unknown]
    return answered("always unknown", cell.original, scores, chosen)
