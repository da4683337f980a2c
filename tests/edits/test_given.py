"""Names are taken wherever an object is; what is neither is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas
import pytest

import snipbias as sb
from edits_by_hand import edit_of
from families import tiny
from snipbias.method.learned.train import Training
from snipbias.models.sites import Neuron

ROWS = [
    {"question": f"Is {i} even?", "options": ["yes", "no"], "gold": i % 2, "template": str(i)}
    for i in range(6)
]


@pytest.fixture(scope="module")
def lm() -> sb.LanguageModel:
    return tiny("flan-t5")


def test_a_name_a_path_and_rows_stand_for_what_they_name(lm, tmp_path) -> None:
    task = sb.task("mini:age", instructions=["Answer."])
    edit = sb.find(lm, task, n=3, samples=2)
    assert sb.find(lm, "mini:age", n=3, samples=2, method="v1").found_on.task == "mini:age"
    edit.save(tmp_path / "edit")
    given = [sb.evaluate(lm, ROWS, edits) for edits in (edit, [edit], str(tmp_path / "edit"))]
    assert {each.table.to_pandas().to_csv() for each in given} == {
        given[0].table.to_pandas().to_csv()
    }
    exported = sb.export(lm, tmp_path / "edit", "checkpoint", tmp_path / "baked", check=False)
    assert exported.neurons == 3
    compared = sb.compare(lm, ROWS, tmp_path / "edit", controls=0, texts=())
    assert list(compared.summaries) == ["original", edit.label]
    scores = sb.attribute("demo", sb.task(ROWS, instructions=["Answer."])[:1])
    assert scores.model.name == "demo"


def test_what_is_none_of_them_is_one_sentence(lm, tmp_path) -> None:
    task = sb.task(ROWS)
    edit = sb.random_edit(lm, 1)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: sb.find(lm.model, task), "is not a model"),  # type: ignore[arg-type]
        (lambda: sb.find(lm, lm), "cannot make a task of"),  # type: ignore[arg-type]
        (lambda: sb.task({}), "a list of dictionaries"),
        (lambda: sb.find(lm, task, method=3), "3 is not a method"),  # type: ignore[arg-type]
        (lambda: sb.find(lm, task, method="v9"), "no method 'v9'"),
        (lambda: sb.compare(lm, task, 3), "3 is not an edit"),  # type: ignore[arg-type]
        (lambda: sb.compare(lm, task, tmp_path), "no edit at"),
        (lambda: sb.evaluate(lm, task, [edit, task]), "is not an edit"),  # type: ignore[list-item]
        (lambda: sb.export(lm, 3, "lora", tmp_path / "out"), "3 is not an edit"),  # type: ignore[arg-type]
        (lambda: sb.random_edit(lm, 3, factor=[0.5]), "1 factors for 3 neurons: give one each"),
        (lambda: lm.query("who?", "no one"), "one text, 'no one': give a list"),
        (lambda: sb.reproduce(lm, 7), "make a task of 7"),  # type: ignore[arg-type]
        (lambda: sb.reproduce(lm, task, "v9"), "no preset 'v9'"),
    ]
    for call, said in wrong:
        with pytest.raises(sb.SnipbiasError, match=said) as error:
            call()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400


def test_a_notebook_shows_tables_and_a_repr_is_a_line(lm) -> None:
    task = sb.task("mini:age")
    assert task[0] is task.items[0]
    assert task[:3].items == task.items[:3]
    assert list(task) == list(task.items)
    edit = sb.NeuronEdit.of(
        [Neuron(lm.sites[0].name, 1), Neuron(lm.sites[0].name, 2)],
        sb.random_edit(lm, 1).model,
        0.5,
        label="<b>",
    )
    scores = sb.attribute(lm, task.with_instructions(["Answer."])[:1])
    compared = sb.compare(lm, ROWS, edit, controls=0, texts=())
    for shown in (task, edit, scores, compared, compared.evaluation, lm):
        assert len(repr(shown)) < 160, repr(shown)
    assert "&lt;b&gt;" in edit._repr_html_()
    assert "<b>" not in edit._repr_html_() + compared._repr_html_()
    assert task._repr_html_().count("<tr>") == 1 + 10
    assert edit.to_pandas().to_dict("list") == {
        "site": [lm.sites[0].name] * 2,
        "unit": [1, 2],
        "factor": [0.5, 0.5],
    }
    best = scores.ranking(1)[0]
    frame = scores.to_pandas()
    assert tuple(frame.loc[frame.score.idxmax(), ["site", "unit"]]) == tuple(best)
    accuracy = compared.to_pandas().set_index("method")["accuracy.overall"]
    assert accuracy["original"] == compared.original.accuracy.overall
    pandas.testing.assert_series_equal(
        task.to_pandas()["gold"], pandas.Series([item.gold for item in task], name="gold")
    )


def test_plots_count_what_is_there(lm) -> None:
    pytest.importorskip("plotly")
    edit = sb.random_edit(lm, 9)
    scores = sb.attribute(lm, sb.task(ROWS, instructions=["Answer."])[:1])
    for figure, n in ((edit.plot(), 9), (scores.plot(7), 7)):
        assert sum(count or 0 for row in figure.data[0].z for count in row) == n
    with pytest.raises(sb.SnipbiasError, match="no condition"):
        sb.compare(lm, ROWS, edit, controls=0, texts=()).plot()


def test_an_edit_of_no_units_and_a_model_that_is_not_wrapped() -> None:
    lm = tiny("llama")
    site, edit, bare = lm.sites[0].name, edit_of(lm), cast(Any, lm.model)
    for units in ({"1": 0.0}, {1.0: 0.0}, {1: "0"}, {1: None}, {1: float("nan")}):
        with pytest.raises(sb.SnipbiasError, match=r"no unit|not a finite number"):
            replace(edit, factors={site: units})
    for use in (
        lambda: edit.applied(bare).__enter__(),
        lambda: edit.bake(bare),
        lambda: sb.export(bare, edit, "lora", "nowhere"),
        lambda: sb.random_edit(bare, 1),
        lambda: sb.random_edit(lm, cast(Any, 2.5)),
    ):
        with pytest.raises(sb.SnipbiasError, match=r"is not wrapped|is not a model|asked for 2\.5"):
            use()


def test_learn_takes_names_and_numbers_as_find_does(tmp_path) -> None:
    some = Training(steps=3, checks=1, harm=1.0, moved=9.0)
    given: dict[str, Any] = {"training": some, "fillings": 1, "folder": str(tmp_path)}
    learned = sb.learn("demo", "mini:age", np.int64(50), **given)
    assert len(learned.edit) == 50
    assert learned.edit.found_on.task == "mini:age"
    with pytest.raises(sb.SnipbiasError, match="0 groups of rows per template: give at least 1"):
        sb.learn("demo", "mini:age", fillings=0)
