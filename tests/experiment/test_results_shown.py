"""What a notebook shows of an experiment, and what is said where there is nothing to show."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import experiments as made
from families import tiny
from grids import BOTH, cells
from small_experiment import KEPT, SMALL, TOY, TOY2
from snipbias.base.errors import SnipbiasError
from snipbias.experiment import plan
from snipbias.experiment.outcome import named
from snipbias.experiment.reading import read_experiment
from snipbias.experiment.tables.detail_grids import task_grids


def test_a_notebook_shows_the_answers_and_the_verdict() -> None:
    experiment = made.experiment(BOTH)
    assert repr(experiment) == "<Results of v1 on bbq:SES: google/flan-t5-base>"
    page = experiment._repr_html_()
    assert page.count("<table>") == 1
    assert "<caption>bbq:SES: answers (%)</caption>" in page
    assert page.count("<p>") == experiment.words.count("\n\n") + 1
    rows = experiment.to_pandas().set_index("method")
    for method in ("original", "v1"):
        assert f"{float(rows.accuracy[method]):.2f}" == cells(experiment, method)["accuracy"]


def test_the_plot_is_each_method_s_change_and_the_original_has_none() -> None:
    figure = made.experiment(BOTH).plot()
    assert [(bar.name, list(bar.x)) for bar in figure.data] == [("v1", [75.0])]
    alone = made.experiment(BOTH[:1])
    with pytest.raises(SnipbiasError, match="no method stands beside the original"):
        alone.plot("bbq:SES")
    titles = [grid.title for grid in task_grids(alone, "bbq:SES")]
    assert titles[0] == "bbq:SES: answers (%)"
    assert not [title for title in titles if "difference" in title]


def test_a_folder_that_holds_no_whole_experiment_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(SnipbiasError, match=r"settings\.json is missing.*goes on from there"):
        read_experiment(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(SnipbiasError, match=r"rows\.parquet is missing"):
        read_experiment(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(SnipbiasError, match=r"holds a damaged experiment.*with --overwrite"):
        read_experiment(tmp_path)


def test_where_no_edit_was_best_none_goes_to_another_task(monkeypatch) -> None:
    grounds = plan.Plan.of(tiny("llama"), [TOY, TOY2], replace(SMALL, texts=0), [KEPT]).grounds
    source, cell = (replace(ground, method="v2", trial=0) for ground in grounds)
    monkeypatch.setattr(plan, "outcome_of", lambda cell: SimpleNamespace(edit=None))
    outcome = plan._transferred(cell, source)
    assert (outcome.task, outcome.found_on, outcome.edit) == ("toy:two", "toy", None)
    assert outcome.test.equals(named(cell.original.table, "v2"))


def test_a_fine_tune_without_peft_is_refused_before_any_work(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    settings = replace(SMALL, methods=("LoRA",))
    with pytest.raises(SnipbiasError, match=r"LoRA or .* needs the package peft"):
        plan.Plan.of(tiny("llama"), [TOY], settings, [KEPT])
