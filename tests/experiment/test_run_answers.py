"""The first screen of an experiment fits a terminal, and shows what decides."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import experiments as made
from experiments import BIASED, UNKNOWN, Answer, Estimate, outcome, right, says
from snipbias.base.table import plain_text
from snipbias.cli.ending import after_comparison
from snipbias.evaluation.answer import judged, worth_taking
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.verdicts import Verdict
from snipbias.experiment.tables import grids
from snipbias.experiment.tables.answers import answers, shown
from snipbias.experiment.tables.verdict import GainCheck

RIVALS = ("offset", "CC", "DC", "steering", "skill neurons", "layer-matched random", "LoRA")


def measured(method: str, answer: Answer, templates: int = 12) -> Measured:
    """A method beside an original that always names the stereotyped person."""
    shape = {"templates": templates}
    both = (outcome("original", says(BIASED), rows=shape), outcome(method, answer, rows=shape))
    return made.experiment(both).measured["bbq:SES"][method]


@pytest.mark.parametrize("tasks", [1, 3])
def test_it_fits_a_screen_of_eighty_columns(tasks: int) -> None:
    methods = ("original", "v1", *RIVALS, "random")
    each = [
        outcome(m, right if m == "LoRA" else says(BIASED), f"mini:task{n}")
        for n in range(tasks)
        for m in methods
    ]
    lines = plain_text(answers(made.experiment(each)), 80).splitlines()
    assert len(lines) <= 23  # and two for the folder and the next command
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "4 of 10 methods" in text if tasks == 3 else "10 methods" in text
    for task in range(tasks):
        assert text.count(f"mini:task{task}: 8 held-out items of 4 templates") == 1
    assert text.count("skill neurons") == (tasks == 1)
    assert text.count("LoRA") == tasks  # the most accurate rival


def test_which_methods_are_shown() -> None:
    found = {m: measured(m, right if m == "CC" else says(BIASED)) for m in ("random", "DC", "CC")}
    found = {"original": found["DC"], "v1": found["DC"], **found}
    assert list(shown(found, "v1", 4)) == ["original", "v1", "CC", "random"]
    assert list(shown(found, "random", 3)) == ["original", "random", "v1"]
    found["LoRA"] = found["DC"]  # less accurate than a constant, but a method
    assert list(shown(found, "v1", 4)) == ["original", "v1", "LoRA", "random"]


def test_an_edit_is_worth_taking_if_it_helps_and_breaks_nothing() -> None:
    for answer, few, verdict, worth in (
        (right, 12, "no gain", True),  # these rows have no filler or mismatch ones
        (right, 3, "no gain", False),  # too few templates to show that it helps
        (says(BIASED), 12, "no gain", False),
        (says(UNKNOWN), 12, "broken", False),
    ):
        found = measured("v1", answer, few)
        assert (judged(found)[0], worth_taking(found)) == (verdict, worth), (verdict, few)


def test_one_random_draw_that_shifts_is_no_shift_of_random_neurons() -> None:
    said = [Verdict("shift", "of one draw", settled=False)]
    for rise, verdict in ((0.004, "no gain"), (0.06, "a shift?"), (None, "no gain")):
        change = {"ambiguous": Estimate(rise, None)}.get
        found = SimpleNamespace(verdicts=said, change=change, before=object(), apart={})
        assert judged(found)[0] == verdict, rise


def test_what_rows_do_not_tell_has_no_column() -> None:
    shape = {"plain": True}
    both = (outcome("original", says(BIASED), rows=shape), outcome("v1", right, rows=shape))
    text = plain_text(answers(made.experiment(both)), 80)
    assert "answerable" in text
    assert not [word for word in ("AUROC", "stereotyped", "shift") if word in text]


def test_the_export_of_the_edit_that_helps_is_next_a_dense_one_as_ia3() -> None:
    found = {"bad": measured("v1", says(BIASED)), "good": measured("v1", right)}
    compared = SimpleNamespace(measured=found, edits=list(found))
    for units, model, more in ((64, "m", ""), (65, "m", " --format ia3"), (1, "n", " --model n")):
        edit = SimpleNamespace(factors={"site": range(units)}, model=SimpleNamespace(name="m"))
        lines = after_comparison(compared, model, ["b", "g"], [edit, edit], "out").splitlines()
        assert lines[1:] == [f"snipbias export g --run out{more} --out out-adapter"]
    compared.edits = ["bad"]
    assert after_comparison(compared, "m", ["b"], [edit], "out").count("snipbias") == 1


def test_of_edits_that_help_the_export_is_of_one_that_gains_and_names_the_person_least(
    monkeypatch,
) -> None:
    monkeypatch.setattr("snipbias.evaluation.answer.worth_taking", lambda found: True)
    monkeypatch.setattr("snipbias.evaluation.apart.gained", lambda apart: apart)
    found = {
        name: SimpleNamespace(apart=gains, value=lambda what, v=v: SimpleNamespace(value=v))
        for name, gains, v in (("a", "no", 0.1), ("b", "yes", 0.4), ("c", "yes", 0.3))
    }
    compared = SimpleNamespace(measured=found, edits=list(found))
    edit = SimpleNamespace(factors={"site": [0]}, model=SimpleNamespace(name="m"))
    lines = after_comparison(compared, "m", ["a", "b", "c"], [edit] * 3, "out").splitlines()
    assert lines[1] == "snipbias export c --run out --out out-adapter"


def test_kept_is_the_worst_of_its_answers(monkeypatch) -> None:
    each = SimpleNamespace(retention={"skills": None})
    for answers_, said in (
        (("yes", "yes"), "yes"),
        (("yes", "not shown"), "?"),
        (("not shown", "no"), "no"),
        ((), ""),
    ):
        names = ("skills", "perplexity")[: len(answers_)]
        checks = [GainCheck("kept", n, a, "") for n, a in zip(names, answers_, strict=True)]
        checks.append(GainCheck("kept", "disambiguated", "no", ""))  # of which it does not speak
        monkeypatch.setattr(grids, "kept", lambda each, margin, checks=checks: checks)
        assert grids._kept(each, 0.02) == said
