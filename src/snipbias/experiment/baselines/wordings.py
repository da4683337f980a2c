"""One constant for each wording of "unknown": most of the margin's variance is between questions,
and much of that is how they word the unknown option.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snipbias.base.words import ORIGINAL
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.margin import unknown_margin
from snipbias.experiment.baselines.calibration import offset
from snipbias.experiment.outcome import named
from snipbias.tasks.items import Task


def constants(dev_original: Evaluation, dev: Task) -> dict[str, float]:
    """By wording, what brings the middle between its two conditions to where it is on average.

    The middle is that of the mean margins on ambiguous and on disambiguated rows, so that it does
    not depend on how many there are of either. A wording that lacks one of them is left as it is.
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
        original: the original model's rows.
        task: the task they are of.
        by_wording: text of the unknown option -> constant in nats; others stay.
    """
    added = [by_wording.get(wording, 0.0) for wording in _wordings(original, task)]
    return Evaluation(named(offset(original, added).table, ORIGINAL), original.reading)


def _wordings(evaluation: Evaluation, task: Task) -> np.ndarray:
    """The text of each row's unknown option; "" where it has none."""
    texts = {i.id: "" if i.unknown is None else i.options[i.unknown] for i in task.items}
    return np.array([texts[item] for item in evaluation.table["item"].to_pylist()])
