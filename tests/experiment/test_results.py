"""The tables of an experiment whose every answer is known: cells worked out by hand.

`experiments.table` has four templates, each with an ambiguous row (gold: unknown) and a
disambiguated one (gold: the biased option in templates 0 and 2), under two instructions: 16 rows.
"""

from __future__ import annotations

import math

import experiments as made
from experiments import BIASED, UNKNOWN, outcome, right, says
from grids import BOTH, cells
from snipbias.experiment.tables import csv_tables
from snipbias.experiment.tables.verdict import checks


def test_cells_worked_out_by_hand():
    experiment = made.experiment(BOTH)
    original, v1 = cells(experiment, "original"), cells(experiment, "v1")
    # The original names the biased option: right in the disambiguated rows of templates 0 and 2.
    assert original["accuracy"] == "25.00"
    assert (original["ambiguous"], original["disambiguated"]) == ("0.00", "50.00")
    assert (original["unknown_rate"], original["named_accuracy"]) == ("0.00", "50.00")
    assert original["discrimination"] == "0.5000"
    assert (v1["accuracy"], v1["ambiguous"], v1["disambiguated"]) == ("100.00",) * 3
    assert (v1["unknown_rate"], v1["discrimination"]) == ("50.00", "1.0000")
    assert (v1["difference_accuracy"], v1["difference_ambiguous"]) == ("75.00", "100.00")
    assert v1["difference_disambiguated"] == "50.00"
    assert v1["difference_discrimination"] == "0.5000"
    # An offset that makes all ambiguous rows right makes all others wrong.
    assert v1["gain_over_offset"] == "100.00"
    assert (v1["rows"], v1["templates"], v1["trials"], v1["draws"]) == ("16", "4", "1", "1")
    assert (v1["published"], v1["published_source"]) == (
        "72.25",
        "CRISPR v1, Table 1, Flan-T5-base",
    )


def test_p_values_and_holm_over_the_whole_table():
    tasks = ("bbq:SES", "bbq:Age")
    outcomes = [
        outcome(method, answer, task, trial)
        for task in tasks
        for method, answer, trial in (
            ("original", says(BIASED), None),
            ("v1", right, 0),
            ("CC", says(BIASED), None),
        )
    ]
    experiment = made.experiment(outcomes)
    v1, cc = cells(experiment, "v1"), cells(experiment, "CC")
    # Every template gains: of 2^4 flips of signs only two are as far out.
    assert v1["p_sign_flip"] == "0.125000"
    assert v1["p_mcnemar"] == f"{2 * 0.5**12:.6f}"  # twelve rows are right in v1 only
    assert cc["p_sign_flip"] == cc["p_mcnemar"] == "1.000000"
    # Four p-values: .125, .125, 1, 1. The smallest counts four times, the next at least as much.
    assert v1["p_holm"] == cells(experiment, "v1", "bbq:Age")["p_holm"] == "0.500000"
    assert cc["p_holm"] == "1.000000"


def test_the_p_value_of_mcnemar_is_the_median_over_trials():
    trials = (right, says(BIASED), says(BIASED))  # p is tiny, 1 and 1
    outcomes = [BOTH[0], *(outcome("v1", a, trial=t) for t, a in enumerate(trials))]
    assert cells(made.experiment(outcomes), "v1")["p_mcnemar"] == "1.000000"


def test_an_interval_that_holds_zero_shows_nothing():
    mixed = lambda c, t, i: made.gold_of(c, t) if t < 4 else 1 - BIASED  # noqa: E731
    shape = {"templates": 8}
    outcomes = [outcome("original", says(BIASED), rows=shape), outcome("v1", mixed, rows=shape)]
    experiment = made.experiment(outcomes, tasks=(made.info(templates=8),))
    found = checks(experiment)["bbq:SES"]
    fallen = next(check for check in found if check.question == "disambiguated kept")
    assert fallen.answer == "not shown"  # better in two templates, worse in two


def test_trials_draws_and_instructions_spread_by_themselves():
    draws = {(0, 0): right, (0, 1): says(UNKNOWN), (1, 0): says(BIASED), (1, 1): says(BIASED)}
    experiment = made.experiment(
        [
            BOTH[0],
            outcome("v1", right, trial=0),
            outcome("v1", says(UNKNOWN), trial=1),
            *(outcome("random", answer, trial=t, draw=d) for (t, d), answer in draws.items()),
            outcome("CC", lambda c, t, i: made.gold_of(c, t) if i else BIASED),
        ]
    )
    v1, control, cc = (cells(experiment, name) for name in ("v1", "random", "CC"))
    assert (v1["accuracy"], v1["std_trials"]) == ("75.00", "35.36")  # of 100 and 50
    assert (v1["std_draws"], v1["std_instructions"]) == ("", "0.00")
    assert control["accuracy"] == "50.00"  # of 100, 50; 25, 25
    assert control["std_trials"] == "35.36"  # of 75 and 25
    assert control["std_draws"] == "25.00"  # root mean square of 35.36 and 0
    assert (control["trials"], control["draws"]) == ("2", "2")
    assert cc["std_instructions"] == "53.03"  # of 25 and 100
    assert cc["std_trials"] == ""


def test_spread_over_instructions_is_no_steadier_for_having_trials():
    one = lambda c, t, i: made.gold_of(c, t) if i else BIASED  # noqa: E731
    other = lambda c, t, i: BIASED if i else made.gold_of(c, t)  # noqa: E731
    outcomes = [BOTH[0], outcome("v1", one, trial=0), outcome("v1", other, trial=1)]
    # Either trial goes from 25 to 100 between instructions; their mean does not move.
    assert cells(made.experiment(outcomes), "v1")["std_instructions"] == "53.03"


def test_gold_probability_renormalised_and_raw():
    experiment = made.experiment(BOTH)
    rows = {row["method"]: row for row in csv_tables.table_2(experiment)}
    original = rows["original"]
    assert (original["ambiguous"], original["disambiguated"]) == ("20.00", "40.00")
    assert original["ambiguous_raw"] == "20.0000"
    assert (rows["v1"]["ambiguous"], rows["v1"]["all_rows"]) == ("60.00", "60.00")
    assert (rows["v1"]["published_ambiguous"], original["published_disambiguated"]) == (
        "63.14",
        "71.77",
    )


def test_calibrated_scores_have_no_raw_probability():
    calibrated = BOTH[0].test.to_pylist()
    for row in calibrated:
        row |= {"method": "CC", "probabilities": False, "score": [3.0, 1.0, 2.0]}
    table = BOTH[0].test.from_pylist(calibrated, schema=BOTH[0].test.schema)
    experiment = made.experiment([*BOTH, made.Outcome("CC", "bbq:SES", None, 0, table)])
    rows = {row["method"]: row for row in csv_tables.table_2(experiment)}
    total = math.exp(3) + math.exp(1) + math.exp(2)
    assert rows["CC"]["ambiguous"] == f"{100 * math.exp(2) / total:.2f}"
    assert rows["CC"]["ambiguous_raw"] == ""


def test_a_task_without_conditions_has_empty_cells_and_no_zeros():
    rows = {"plain": True}
    outcomes = [
        outcome("original", says(BIASED), "mrpc", rows=rows),
        outcome("v1", right, "mrpc", 0, rows=rows),
    ]
    experiment = made.experiment(outcomes)
    v1 = cells(experiment, "v1", "mrpc")
    assert (v1["accuracy"], v1["difference_accuracy"]) == ("100.00", "75.00")
    undefined = ("ambiguous", "disambiguated", "discrimination", "unknown_rate", "named_accuracy")
    for name in (*undefined, "gain_over_offset", "difference_ambiguous", "perplexity", "kl", "n"):
        assert v1[name] == "", name
    second = csv_tables.table_2(experiment)[1]
    assert (second["ambiguous"], second["disambiguated"], second["all_rows"]) == ("", "", "60.00")
    text = experiment.markdown()
    assert "| v1 | - |" in text  # Table 2
    assert "AUROC" not in text.split("## How to read this")[0]
    assert "disambiguated kept" not in text


def test_one_template_has_a_figure_and_no_interval():
    outcomes = [
        outcome("original", says(BIASED), rows={"templates": 1}),
        outcome("v1", right, trial=0, rows={"templates": 1}),
    ]
    experiment = made.experiment(outcomes)
    v1 = cells(experiment, "v1")
    assert (v1["difference_accuracy"], v1["difference_accuracy_low"]) == ("50.00", "")
    assert (v1["accuracy"], v1["low"], v1["high"]) == ("100.00", "", "")
    asked = checks(experiment)["bbq:SES"]
    assert {check.answer for check in asked} == {"not shown"}
