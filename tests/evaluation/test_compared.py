"""A comparison printed, saved and loaded."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from comparisons import OTHER, TEXTS, compared, found, task_of_two
from families import tiny
from snipbias.base.table import Grid, plain_text
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL, plural
from snipbias.edits.run_folder import write_edits
from snipbias.evaluation.answer import answer
from snipbias.evaluation.compare import Comparison, compare
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.reading import Reading
from snipbias.evaluation.retained import retained, stereotyped
from snipbias.evaluation.tables import (
    ANSWERS,
    comparison_grids,
    comparison_markdown,
    comparison_renderable,
)
from snipbias.tasks.items import Task
from toys import task


def test_printing_shows_everything() -> None:
    comparison = compared()
    printed = str(comparison)
    for method in comparison.summaries:
        assert printed.count(method) >= 2, method  # answers, and what else changed
    for word in (ALWAYS_UNKNOWN, BEST_OFFSET, "AUROC", "perplexity", "KL", "other", "vs offset"):
        assert word in printed
    every = [v for method in comparison.summaries for v in comparison.verdicts(method)]
    said = [each.text for each in every if not each.inherited]
    assert said  # a random model is told that it cannot read
    flat = " ".join(printed.split())
    assert all(" ".join(verdict.split()) in flat for verdict in said)
    accuracy = f"{100 * comparison.original.accuracy.overall:.1f}"
    assert accuracy in next(line for line in printed.splitlines() if line.startswith(ORIGINAL))
    assert "\x1b" not in printed
    assert "…" not in printed


def test_counts_of_one_are_singular() -> None:
    few = task_of_two()
    one = Task("one", few.items[:1], few.instructions[:1], part="test")
    shown = " ".join(str(compare(tiny("flan-t5"), one, found()[0], texts=())).split())
    assert shown.startswith("one: 1 held-out item of 1 template, 1 instruction Answers")
    assert [plural(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert "random neurons / random in the same layers: controls" in shown


def test_a_narrow_terminal_costs_no_figure() -> None:
    comparison = compared()
    answers, told, changes, side, *_ = comparison_grids(comparison)
    lines = plain_text(comparison_renderable(comparison), 100).splitlines()
    assert all(len(line) <= 100 for line in lines)
    shown = [line.split() for line in lines]
    for cells in (*told.rows, *changes.rows):
        wanted = " ".join(cell for cell in cells[1:] if cell)
        assert any(" ".join(words).endswith(wanted) for words in shown)
    for cells in (*answers.rows, *side.rows):
        wanted = " ".join(cell for cell in cells[1:] if cell)
        first = cells[0].split()[0]
        assert any(words[:1] == [first] and " ".join(words).endswith(wanted) for words in shown)


def test_answers_fit_eighty_letters() -> None:
    cells = ["23.3", *["100.0"] * 8]
    grid = Grid("answers", ("method", *ANSWERS), (("layer-matched random", *cells),))
    lines = plain_text(grid.rich(), 80).splitlines()
    assert ["layer-mat", *cells] in [line.split() for line in lines]
    assert max(map(len, lines)) <= 80


def test_long_names_cost_no_figure() -> None:
    long = Task("a/very/long/path/of/a/file/that/is/kept.jsonl", OTHER.items, OTHER.instructions)
    edit = replace(found()[0], label="an edit [red]with a label[/red] that somebody made | long")
    comparison = compare(tiny("flan-t5"), task(), edit, items=4, texts=TEXTS, retention=[long])
    printed = str(comparison)
    for grid in comparison_grids(comparison):
        for cells in grid.rows:
            assert all(cell in printed for cell in cells[1:])
    assert "…" not in printed
    assert "[red]" in printed
    table = [line for line in comparison_markdown(comparison).splitlines() if line.startswith("|")]
    columns = [line.replace("\\|", "").count("|") - 1 for line in table]
    assert set(columns) == {len(grid.header) for grid in comparison_grids(comparison)}


def test_the_dictionary_is_strict_json() -> None:
    comparison = compared()
    read = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert list(read["methods"]) == list(comparison.summaries)
    original = read["methods"][ORIGINAL]
    assert original["neurons"] == 0
    assert not original["control"]
    assert original["accuracy"]["overall"] == comparison.original.accuracy.overall
    assert read["methods"][comparison.controls[0]]["control"]
    assert read["margin"] == 0.02
    assert original["changes"]["ambiguous"]["difference"] is None
    assert original["retained"] == []
    edited = read["methods"][found()[0].label]
    assert edited["changes"]["overall"]["difference"]["templates"] == len(task().test.templates)
    kept = [part["what"] for part in edited["retained"]]
    assert kept == ["other", "perplexity", "KL", "chat answers"]
    assert read["fingerprint"] == task().test.fingerprint


def test_figures_that_are_not_finite_are_still_json() -> None:
    comparison = compare(tiny("flan-t5"), task(), found()[0], items=2, texts=TEXTS, controls=0)
    text = comparison.evaluation.text
    comparison.evaluation.text = {
        method: replace(shift, perplexity=float("inf")) for method, shift in text.items()
    }
    for held in (comparison, comparison.evaluation):
        for name in ("measured", "trials"):
            vars(held).pop(name, None)
    read = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert read["methods"][ORIGINAL]["perplexity"] is None
    for method in (ORIGINAL, found()[0].label):
        said = read["methods"][method]["verdicts"][0]
        assert "not finite" in said["text"]
        assert said["settled"], method  # no interval could say more


def test_what_was_saved_is_loaded(tmp_path) -> None:
    reading = Reading(normalize="token")
    for comparison in (
        compared(),
        compare(tiny("flan-t5"), task(), found()[0], items=2, texts=(), reading=reading),
    ):
        comparison.save(tmp_path)
        loaded = Comparison.load(tmp_path)
        assert loaded.to_dict() == comparison.to_dict()
        assert loaded.evaluation.text.keys() == comparison.evaluation.text.keys()
        assert (loaded.task, loaded.evaluation.text) == (
            comparison.task,
            comparison.evaluation.text,
        )
        assert str(loaded) == str(comparison)
        for path in tmp_path.iterdir():
            path.unlink()


def test_the_first_screen_is_short_and_narrow() -> None:
    lines = plain_text(answer(compared()), 80).splitlines()
    assert len(lines) <= 13
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(("original", "random")) for line in lines) == 2
    assert sum(line.startswith("verdict") for line in lines) == len(compared().edits)


def test_the_first_screen_says_a_gain_where_nothing_speaks_against_it(monkeypatch) -> None:
    one = compare(tiny("flan-t5"), task(), found()[0], controls=0, texts=(), elsewhere=0)
    module = sys.modules["snipbias.evaluation.answer"]
    for name in ("alarms", "doubts"):
        monkeypatch.setattr(module, name, lambda verdicts: ())
    for gain, said in (("yes", "a gain, not a shift"), ("not shown", "no gain is shown")):
        monkeypatch.setattr(module, "gained", lambda apart, gain=gain: gain)
        assert said in plain_text(answer(one), 80)


def test_a_folder_with_files_of_another_run_is_refused(tmp_path) -> None:
    comparison, other = compared(), tmp_path / "other"
    comparison.save(tmp_path)
    write_edits(found(), tmp_path)
    write_edits([found()[0].scaled(0.5)], other)
    (tmp_path / "edits" / ".DS_Store").touch()  # as a file manager leaves it
    assert [edit.label for edit in comparison.edits_in(tmp_path)] == list(comparison.edits)
    for folder in (other, tmp_path / "nothing"):
        with pytest.raises(ValueError, match="are not those that were compared"):
            comparison.edits_in(folder)
    (tmp_path / "text.json").write_text("{}")
    with pytest.raises(ValueError, match=r"text\.json is not the one"):
        Comparison.load(tmp_path)
    (tmp_path / "text.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"text\.json"):
        Comparison.load(tmp_path)


def test_saving_leaves_no_file_of_an_earlier_comparison(tmp_path) -> None:
    compared().save(tmp_path)
    assert (tmp_path / "text.json").exists()
    compare(tiny("flan-t5"), task_of_two(), found()[0], texts=()).save(tmp_path)
    assert not (tmp_path / "text.json").exists()


def test_an_edit_has_the_controls_of_its_size() -> None:
    comparison = compared()
    for edit in comparison.edits:
        sizes = {comparison.neurons[name] for name in comparison.controls_of(edit)}
        assert sizes == {comparison.neurons[edit]}
        assert {*comparison.controls_of(edit)} & {*comparison.random}


def test_what_is_kept_is_what_its_sentence_says_at_any_margin() -> None:
    found = compared().measured[compared().edits[0]]
    said = set()
    for power in range(-30, 30):
        for part in retained(found, 1.5**power):
            if part.what != "other":
                said.add((part.what, part.kept))
                assert part.kept == part.sentence.startswith("not "), (part, power)
    assert len(said) == 6  # each of the three was kept at some margins only


def test_whether_the_person_is_named_less_often_is_told_by_the_interval() -> None:
    for low, high, words in (
        (-0.08, -0.02, "less often than before"),
        (-0.05, 0.05, "not shown to be less often than before"),
        (0.02, 0.08, "more often than before"),
    ):
        change = Interval((low + high) / 2, low, high, 0.95, 90, 1, False)
        found = SimpleNamespace(
            value=lambda name: SimpleNamespace(value=0.3),
            change=lambda name, change=change: SimpleNamespace(interval=change),
            rows=[SimpleNamespace(told=True)],
        )
        assert f"in 30.0 % of unanswerable rows, {words}: " in stereotyped(found)
