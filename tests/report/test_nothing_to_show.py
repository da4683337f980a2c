"""What a report says where a part of it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import experiments as made
import snipbias as sb
from edits_by_hand import edit_of
from experiments import BIASED, outcome, says
from families import tiny
from snipbias.base.hub import OFFLINE
from snipbias.base.record import RunRecord
from snipbias.edits.controls import random_edit
from snipbias.edits.run_folder import write_sites
from snipbias.report import found, plots
from snipbias.report.evaluated import changed
from snipbias.report.reproduced import plots_of
from snipbias.report.texts import texts_of


def test_a_run_that_does_not_say_what_a_task_was_has_no_texts() -> None:
    texts = texts_of(RunRecord("evaluate", [], {}), "mini:age")
    assert (texts.items, texts.instructions) == ({}, ())
    assert texts.missing == "The run does not say what mini:age was."


@pytest.mark.parametrize("before", [None, "0"])
def test_texts_are_read_without_the_network_and_it_is_as_allowed_as_before(
    monkeypatch, before: str | None
) -> None:
    monkeypatch.delenv(OFFLINE, raising=False)
    if before is not None:
        monkeypatch.setenv(OFFLINE, before)
    seen: list[str | None] = []
    task, read = sb.task("mini:age"), sb.task

    def reading(*given: object, **how: object) -> sb.Task:
        seen.append(os.environ.get(OFFLINE))
        return read(*given, **how)

    monkeypatch.setattr("snipbias.report.texts.read_task", reading)
    kept = {"fingerprint": task.fingerprint, "instructions": list(task.instructions)}
    record = RunRecord("evaluate", [], {})
    record.data["mini:age"] = kept
    assert set(texts_of(record, "mini:age").items) == {item.id for item in task.items}
    assert (seen, os.environ.get(OFFLINE)) == (["1"], before)


def test_an_edit_that_was_found_on_nothing_says_no_more_than_it_changes() -> None:
    lm = tiny("llama")
    there = sum(site.width for site in lm.sites)
    said = changed(random_edit(lm, 3, 0))
    assert said.endswith(f": 3 of {there:,} neurons set to 0.")


def test_a_list_of_sites_says_how_many_it_leaves_out(tmp_path: Path, monkeypatch) -> None:
    lm, record = tiny("llama"), RunRecord("find", [], {"model": "m", "task": "t"})
    edit = edit_of(lm, every=2)
    edit.write_into(tmp_path)
    write_sites(lm.sites, tmp_path)
    assert len(edit) > found.LISTED > len(edit.factors) > 3  # units are many, sites few
    (grid,) = found.found_section(tmp_path, record).grids
    assert (grid.title, len(grid.rows)) == ("The largest edit's neurons", len(edit.factors))
    monkeypatch.setattr(found, "LISTED", 3)
    (grid,) = found.found_section(tmp_path, record).grids
    said = f"The largest edit's neurons (the first 3 of {len(edit.factors)} sites)"
    assert (grid.title, len(grid.rows)) == (said, 3)


def test_an_experiment_of_the_original_alone_has_no_plots(tmp_path: Path, monkeypatch) -> None:
    alone = made.experiment([outcome("original", says(BIASED))])
    drawn = plots_of(alone, "bbq:SES")
    assert "forest" not in {plot.name for plot in drawn}
    assert plots.write_plots([], tmp_path) == ()
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    (note,) = plots.write_plots(drawn, tmp_path)
    assert "pip install 'snipbias[report]'" in note
    assert not list(tmp_path.iterdir())
