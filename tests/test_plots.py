"""The plots: what is drawn is what the outcomes say."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import experiments as made
from experiments import BIASED, outcome, right, says

pytest.importorskip("matplotlib")

from snipbias.experiment.outcome import Experiment
from snipbias.experiment.plots import plots


def experiment() -> Experiment:
    """Two trials with other sizes, each with an edit."""
    name = made.sites()[0].name
    return made.experiment(
        [
            outcome("original", says(BIASED), dev=says(BIASED)),
            outcome(
                "v1",
                right,
                trial=0,
                curve=made.curve({1: (0.2, 0.4), 100: (0.6, 0.8)}),
                chosen={"n": 100},
                edit=made.edit([(name, 0), (name, 1)]),
            ),
            outcome(
                "v1",
                says(BIASED),
                trial=1,
                curve=made.curve({1: (0.0, 0.4), 10: (0.2, 0.4), 100: (0.4, 0.8)}),
                chosen={"n": 10},
                edit=made.edit([(name, 0)]),
            ),
        ]
    )


def lines(axis) -> dict[str, tuple[list[float], list[float]]]:
    """Lines of a panel by label."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines
    }


def test_the_curve_is_the_mean_over_trials_in_log_n():
    figure = plots.accuracy_by_neurons(experiment())
    assert figure is not None
    (axis,) = figure.axes
    drawn = lines(axis)
    sizes, ambiguous = drawn["ambiguous"]
    assert sizes == [1, 10, 100]
    # The first trial did not try 10: halfway between .2 and .6 in log n.
    assert np.allclose(ambiguous, [10, (40 + 20) / 2, 50])
    assert np.allclose(drawn["all rows"][1], [25, (50 + 30) / 2, 65])
    assert np.allclose(drawn["original, ambiguous"][1], 0)
    assert np.allclose(drawn["original, all rows"][1], 25)
    assert np.allclose(drawn["always unknown, all rows"][1], 50)
    stars = [line for line in axis.lines if line.get_marker() == "*"]
    drawn_at = [(star.get_xdata()[0], star.get_ydata()[0]) for star in stars]
    assert np.allclose(drawn_at, [(100, 70), (10, 30)])
    band = axis.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((20, 70))  # of all rows
    assert axis.get_ylabel()
    assert axis.get_xlabel()
    assert "n = 16 rows" in [text.get_text() for text in axis.texts]


def test_the_map_counts_neurons_by_layer_and_module():
    figure = plots.neuron_map(experiment())
    assert figure is not None
    encoder, decoder = figure.axes[:2]
    drawn = encoder.images[0].get_array()
    assert drawn.shape == (2, 7)
    assert drawn[0, 0] == 1.5  # two neurons in a trial, one in the other
    assert drawn.count() == 1
    assert decoder.images[0].get_array().count() == 0
    assert next(label.get_text() for label in encoder.get_xticklabels()) == "self q"


def test_the_shift_is_drawn_from_the_original_to_the_mean():
    figure = plots.probability_shift(experiment())
    assert figure is not None
    ambiguous, disambiguated = figure.axes[:2]
    assert "ambiguous" in ambiguous.get_title()
    # Unknown, which is gold: .2 in the original; .6 in a trial and .2 in the other.
    assert [label.get_text() for label in ambiguous.get_yticklabels()] == [
        "biased",
        "unknown (gold)",
    ]
    moved = [line for line in ambiguous.lines if line.get_marker() == "None"]
    assert np.allclose(moved[1].get_xdata(), [20, 40])
    assert len(disambiguated.get_yticks()) == 3


def test_a_task_without_conditions_has_one_panel_of_gold():
    rows = {"plain": True}
    plain = made.experiment(
        [
            outcome("original", says(BIASED), "mrpc", rows=rows),
            outcome("v1", right, "mrpc", 0, rows=rows),
        ]
    )
    figure = plots.probability_shift(plain)
    assert figure is not None
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["gold"]
    assert plots.accuracy_by_neurons(plain) is None
    assert plots.neuron_map(plain) is None


def test_the_same_bytes_twice_and_a_hint_without_matplotlib(tmp_path, monkeypatch):
    for name in ("one", "two"):
        assert plots.draw(experiment(), tmp_path / name) == ()
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    stems = ("accuracy_by_neurons", "neuron_map", "probability_shift")
    assert files == [f"{stem}.{ending}" for stem in stems for ending in ("png", "svg")]
    for name in files:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two, name
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plots.draw(experiment(), tmp_path / "none") == (plots.MISSING,)
    assert not (tmp_path / "none").exists()
