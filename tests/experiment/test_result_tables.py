"""Tables beside the first two: retention, sizes, transfer, prompts, the ablation; and files."""

from __future__ import annotations

import csv
import io
import math

import pyarrow.parquet as pq
import pytest

import experiments as made
from experiments import BIASED, UNKNOWN, outcome, right, says
from grids import BOTH, cells, shown
from snipbias.base.table import Grid
from snipbias.evaluation.estimate import points
from snipbias.evaluation.stats import Interval
from snipbias.experiment.results import Results
from snipbias.experiment.rows_file import all_rows, outcomes_in
from snipbias.experiment.settings import KNOWN, Settings
from snipbias.experiment.tables import csv_tables
from snipbias.experiment.tables.grids import referee_grids
from snipbias.experiment.tables.verdict import RIVALS, checks, judged
from snipbias.models.places import count_places


def grid(experiment: Results, title: str) -> Grid:
    """The first table whose title begins so."""
    return next(g for g in experiment.grids if g.title.startswith(title))


def test_neutral_text_and_retention():
    kept, lost = {"mini:skills": right}, {"mini:skills": says(UNKNOWN)}
    outcomes = [
        outcome("original", says(BIASED), text=(20.0, 0.0), retention=kept),
        outcome("v1", right, trial=0, text=(10.0, 0.1), retention=kept),
        outcome("v1", right, trial=1, text=(40.0, 0.3), retention=kept),
        outcome("v2", right, trial=0, text=(math.inf, 9.0), retention=lost),
    ]
    experiment = made.experiment(outcomes)
    v1, v2 = cells(experiment, "v1"), cells(experiment, "v2")
    assert (v1["perplexity"], v1["perplexity_ratio"], v1["kl"]) == ("20.000", "1.0000", "0.2000")
    assert (v1["difference_mini:skills"], v1["not_worse_mini:skills"]) == ("0.00", "no")  # four
    assert (v2["difference_mini:skills"], v2["not_worse_mini:skills"]) == ("-50.00", "no")
    assert v2["perplexity"] == "inf"
    assert cells(experiment, "original")["not_worse_mini:skills"] == ""
    _, costs = referee_grids(experiment)
    few = {row[0]: row[2] for row in costs.rows}  # four templates do not show that nothing is lost
    assert few == {"original": "", "v1": "?", "v2": "?"}


@pytest.mark.parametrize(("perplexity", "asked"), [(1000.0, True), (60_000.0, False)])
def test_perplexity_says_nothing_of_a_model_that_guessed_before(perplexity, asked):
    outcomes = [
        outcome("original", says(BIASED), text=(perplexity, 0.0)),
        outcome("v1", right, trial=0, text=(perplexity / 2, 0.1)),
    ]
    experiment = made.experiment(outcomes)
    names = {check.question for check in checks(experiment)["bbq:SES"]}
    assert ("perplexity kept" in names) == asked


def test_numbers_of_neurons_count_no_edit_as_none():
    sites = made.sites()
    one, two = sites[0].name, sites[1].name
    outcomes = [
        BOTH[0],
        outcome("v1", right, trial=0, edit=made.edit([(one, 3), (one, 4), (two, 0)])),
        outcome("v1", says(BIASED), trial=1, curve=made.curve({3: (0.5, 0.5)})),
        outcome("CC", right),
    ]
    experiment = made.experiment(outcomes)
    assert (cells(experiment, "v1")["n"], cells(experiment, "CC")["n"]) == ("1.5", "")
    pruned = grid(experiment, "Neurons pruned")
    assert [row[:2] for row in pruned.rows] == [("v1", "3/0 (0.150 %)")]
    counts = count_places(sites, [outcomes[1].edit.neurons, []])
    assert {tuple(p): c for p, c in counts.items() if c} == {
        ("encoder", 0, "self q"): 1.0,
        ("encoder", 0, "self k"): 0.5,
    }
    assert len(counts) == 2 * 7 + 2 * 11
    encoder = grid(experiment, "Where the neurons of v1 sit, encoder")
    assert encoder.header == (
        *("layer", "self q", "self k", "self v", "self o", "ffn gate", "ffn up", "ffn down", "all"),
    )
    assert encoder.rows[0] == ("0", "1.0", "0.5", *(".",) * 5, "1.5")


def test_neurons_held_at_their_mean_are_counted_though_they_are_no_edit():
    outcomes = [
        BOTH[0],
        outcome("v1", right, trial=0),
        outcome("at mean", right, trial=0, chosen={"n": 3}, curve=made.curve({3: (0.5, 0.5)})),
        outcome("at mean", right, trial=1, curve=made.curve({3: (0.5, 0.5)})),
    ]
    assert cells(made.experiment(outcomes), "at mean")["n"] == "1.5"


def test_published_figures_stand_beside_ours():
    table = grid(made.experiment(BOTH), "Table 1")
    assert table.header == ("method", "bbq:SES", "published")
    assert shown(table, "v1")["published"] == "72.25"
    other = made.ModelId("smol", "LlamaForCausalLM", 1000, "0" * 16)
    table = grid(made.experiment(BOTH, model=other), "Table 1")
    assert table.header == ("method", "bbq:SES", "(Flan-T5-base)")
    assert shown(table, "v1")["(Flan-T5-base)"] == "(72.25)"
    nothing = [outcome("original", right, "mini:ses"), outcome("v1", right, "mini:ses", 0)]
    assert grid(made.experiment(nothing), "Table 1").header == ("method", "mini:ses")


def test_transfer_and_samples():
    names = ("bbq:SES", "bbq:Age")
    outcomes = [
        outcome(method, answer, task, trial)
        for task in names
        for method, answer, trial in (("original", says(BIASED), None), ("v1", right, 0))
    ]
    moved = outcome("v1", says(UNKNOWN), "bbq:Age", 0, found_on="bbq:SES")
    fewer = outcome("v1", says(UNKNOWN), "bbq:SES", 0, samples=5)
    experiment = made.experiment(outcomes, transfer=(moved,), sample_curve=(fewer,))
    table = grid(experiment, "Transfer")
    assert shown(table, "bbq:SES")["bbq:SES"].startswith("+75.0 [")
    assert shown(table, "bbq:SES")["bbq:Age"].startswith("+25.0 [")
    assert shown(table, "bbq:Age")["bbq:SES"] == ""
    table = grid(experiment, "Accuracy (%) of v1 by number of samples")
    assert [row[0] for row in table.rows] == ["5", "10"]
    assert shown(table, "5")["bbq:SES"].startswith("50.0 [")
    assert shown(table, "10")["bbq:SES"].startswith("100.0 [")
    # Neither changes the method's own row.
    assert cells(experiment, "v1")["accuracy"] == "100.00"


def test_prompts_have_a_mean_a_spread_and_an_interval():
    """Accuracies are .25 and 1 in the task's own wording, .5 and .5 in the other."""
    outcomes = [outcome("original", says(BIASED)), outcome("v1", right, trial=0)]
    other = [
        outcome("original", says(UNKNOWN), prompt="paper"),
        outcome("v1", says(UNKNOWN), trial=0, prompt="paper"),
    ]
    experiment = made.experiment(outcomes, prompts=tuple(other))
    table = grid(experiment, "Accuracy (%) by prompt template")
    assert [row[0] for row in table.rows] == ["the task's own", "paper", "mean ± std"]
    own, paper, both = (row[1] for row in table.rows)
    assert own.startswith("25.0 -> 100.0, +75.0 [")
    assert paper.startswith("50.0 -> 50.0, +0.0 [")
    assert both.startswith("37.5 ± 17.7 -> 75.0 ± 35.4, +37.5 [")
    rows = all_rows(experiment.all).to_pylist()
    assert {row["prompt"] for row in rows} == {None, "paper"}
    assert cells(experiment, "v1")["accuracy"] == "100.00"  # the method's own row is as it was
    assert not [g for g in made.experiment(outcomes).grids if "by prompt" in g.title]


def test_rows_that_an_earlier_version_wrote_are_read():
    """Costs were not kept at first, and there was one prompt template."""
    rows = all_rows([outcome("original", says(BIASED)), outcome("v1", right, trial=0)])
    older = rows.drop_columns(["prompt"]).replace_schema_metadata(None)
    now, then = ({o["method"]: o for o in outcomes_in(table)} for table in (rows, older))
    assert then == {name: {**each, "cost": None} for name, each in now.items()}


def test_the_ablation_is_v2_less_its_parts():
    names = ("original", "v1", "v2", "v2 no skill term", "random")
    outcomes = [outcome(n, right, trial=None if n == "original" else 0) for n in names]
    table = grid(made.experiment(outcomes), "Ablation")
    assert [(row[0], row[2]) for row in table.rows] == [
        ("v2", "71.68"),
        ("v2 no skill term", "70.28"),
        ("random", "65.62"),
    ]


def test_the_verdict_has_three_answers():
    templates = {"templates": 12}
    outcomes = [
        outcome("original", says(BIASED), rows=templates),
        outcome("v1", says(UNKNOWN), trial=0, rows=templates),
        outcome("CC", right, rows=templates),
        outcome("always unknown", says(UNKNOWN), rows=templates),
    ]
    experiment = made.experiment(outcomes, tasks=(made.info(templates=12),))
    found = {check.question: check for check in checks(experiment)["bbq:SES"]}
    assert found["beats original"].answer == "yes"
    assert found["beats CC"].answer == "no"
    assert found["beats always unknown"].answer == "not shown"
    assert found["beats always unknown"].shown == "+0.0 [-26.5, +26.5]"
    assert found["disambiguated kept"].answer == "no"  # 50 to 0
    words = experiment.words
    assert (
        "accuracy from 25.0 to 50.0, ambiguous from 0.0 to 100.0, disambiguated from 50.0 to 0.0 %."
        in words
    )
    assert "Less accurate than: CC (-50.0 [" in words
    assert "Not shown to differ from: always unknown (+0.0 [-26.5, +26.5])." in words
    assert "Disambiguated accuracy is worse by more than 2 points: -50.0 [" in words
    assert "! Trial 0: " in words  # it always answers "unknown"


def test_the_rivals_are_methods_and_zero_has_no_minus():
    assert set(RIVALS) <= set(KNOWN)
    assert csv_tables._fixed(-0.00004, 100, 2) == "0.00"
    interval = Interval(-0.004, -0.019, 0.01, 0.95, 9, 10, True)
    assert points(made.Estimate(-0.004, interval)) == "-0.4 [-1.9, +1.0]"


def test_files_are_the_same_bytes_twice_and_hold_every_row(tmp_path):
    retention = {"mini:skills": right}
    outcomes = [
        outcome("original", says(BIASED), dev=right, text=(20.0, 0.0), retention=retention),
        outcome("v1", right, trial=0, dev=right, retention=retention),
    ]
    moved = outcome("v1", right, trial=0, found_on="bbq:Age", samples=5)
    experiment = made.experiment(outcomes, transfer=(moved,))
    for name in ("one", "two"):
        experiment.write(tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert {"table1.csv", "table2.csv", "tables.md", "rows.parquet"} <= set(files)
    for name in files:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two, name
    rows = pq.read_table(tmp_path / "one" / "rows.parquet")
    assert len(rows) == 7 * 16
    parts = rows.group_by(["task", "method", "part", "found_on", "samples"]).aggregate([])
    assert {tuple(row.values()) for row in parts.to_pylist()} == {
        ("bbq:SES", "original", "test", None, None),
        ("bbq:SES", "original", "dev", None, None),
        ("mini:skills", "original", "retention", "bbq:SES", None),
        ("bbq:SES", "v1", "test", None, None),
        ("bbq:SES", "v1", "dev", None, None),
        ("mini:skills", "v1", "retention", "bbq:SES", None),
        ("bbq:SES", "v1", "test", "bbq:Age", 5),
    }


def test_csv_is_read_back_as_it_was_written():
    experiment = made.experiment(BOTH)
    rows = csv_tables.table_1(experiment)
    assert list(csv.DictReader(io.StringIO(csv_tables.text(rows)))) == rows
    plain = csv_tables.plain(rows)[1]
    assert (plain["method"], plain["accuracy"], plain["std_trials"]) == ("v1", 100.0, None)


def test_the_original_is_first_and_the_rest_in_the_order_of_the_settings():
    outcomes = [
        outcome("CC", right),
        outcome("v1", right, trial=0),
        outcome("original", right),
    ]
    settings = Settings(methods=("v1", "CC", "original"), tasks=("bbq:SES",))
    experiment = made.experiment(outcomes, settings=settings)
    assert list(experiment.measured["bbq:SES"]) == ["original", "v1", "CC"]


def test_rows_that_differ_are_refused():
    other = outcome("v1", right, trial=0, rows={"templates": 5})
    with pytest.raises(Exception, match="different rows"):
        csv_tables.table_1(made.experiment([BOTH[0], other]))


def test_every_package_that_ran_is_judged_against_the_others():
    outcomes = [
        outcome("original", says(BIASED)),
        outcome("v1", says(UNKNOWN), trial=0),
        outcome("snipbias", right, trial=0),
        outcome("CC", says(BIASED)),
    ]
    experiment = made.experiment(outcomes)
    assert judged(experiment) == ("v1", "snipbias")
    asked = {c.question: c for c in checks(experiment, "snipbias")["bbq:SES"]}
    assert asked["beats v1"].answer == "not shown"  # with four templates
    assert asked["beats v1"].shown.startswith("+50.0")
    assert "AUROC above v1" in asked
    assert "AUROC above CC" not in asked
    assert "bbq:SES: snipbias" in experiment.words
    assert "Verdict on snipbias" in experiment.markdown()
