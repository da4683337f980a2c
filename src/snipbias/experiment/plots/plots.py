"""The plots: accuracy by number of neurons, where the neurons sit, how probabilities shifted.

They need matplotlib (the extra `plots`). The same experiment draws the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from snipbias.experiment.outcome import Experiment
from snipbias.experiment.plots.drawing import STYLE, save
from snipbias.experiment.plots.plot_curve import accuracy_by_neurons
from snipbias.experiment.plots.plot_map import neuron_map
from snipbias.experiment.plots.plot_shift import probability_shift

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING = "no plots were drawn: pip install 'snipbias[plots]' and run the same command again."


def draw(experiment: Experiment, folder: str | Path) -> tuple[str, ...]:
    """Write every plot that the experiment has data for, as PNG and SVG; notes for the user.

    Without matplotlib nothing is written and the note says how to get it.
    """
    try:
        import matplotlib
    except ImportError:
        return (MISSING,)
    plots: dict[str, Callable[[Experiment], Figure | None]] = {
        "accuracy_by_neurons": accuracy_by_neurons,
        "neuron_map": neuron_map,
        "probability_shift": probability_shift,
    }
    with matplotlib.rc_context(STYLE):
        for name, plot in plots.items():
            figure = plot(experiment)
            if figure is not None:
                save(figure, Path(folder) / name)
    return ()
