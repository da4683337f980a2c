"""True single-neuron pruning against scores: exact where the model is linear, and on paper."""

import csv
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import snipbias as sb
import toys
from families import tiny
from reference import option_logprob
from snipbias.base.errors import SnipbiasError
from snipbias.cli import main
from snipbias.experiment.fidelity import (
    RESAMPLES,
    Fidelity,
    all_recipes,
    fidelity,
    judged,
    sample_neurons,
    spearman,
    true_effects,
)
from snipbias.method import margins
from snipbias.method.equations import Method
from snipbias.method.recipes import RECIPES, Recipe, recipe
from snipbias.method.scores import Scores
from snipbias.tasks.items import Item, Task


def test_where_the_margin_is_linear_in_a_neuron_gap_is_its_true_effect():
    """The last FFN's outputs add to the logits, and one token's margin is a difference of two."""
    lm = tiny("llama")
    lm.model.model.norm = torch.nn.Identity()
    with torch.no_grad():
        lm.model.lm_head.weight.mul_(1000)  # far above rounding
    rows = [Item(str(i), "which?", ("a", "b", "c"), i % 3, "x " * i, f"t{i}") for i in range(6)]
    task = Task("letters", tuple(rows), ("say it.",))
    last = lm.sites[-1]
    assert last.name.endswith("1.mlp.down_proj")
    start = sum(site.width for site in lm.sites[:-1])
    effects = true_effects(lm, task, [(start + unit,) for unit in range(last.width)])
    scores = margins.gap(lm, task)[last].numpy()
    np.testing.assert_allclose(effects, scores, rtol=1e-3, atol=1e-3)
    found = judged("gap", scores, effects, 5)
    assert found.spearman == pytest.approx(1)
    assert found.low > 0.99
    assert found.share == pytest.approx(1)


def test_a_true_effect_is_what_plain_pruned_weights_do():
    lm, task = tiny("llama"), toys.task(2, toys.INSTRUCTIONS[:1])
    groups, _ = sample_neurons(lm.sites, 5, seed=3)
    found = true_effects(lm, task, groups)
    queries = [lm.query(*task.prompt.ask(task.instructions[0], item)) for item in task.items]

    def logprobs() -> list[list[float]]:
        with torch.no_grad():
            return [[option_logprob(lm, q, o).item() for o in q.options] for q in queries]

    before, names = logprobs(), [(s, u) for s in lm.sites for u in range(s.width)]
    for group, effect in zip(groups, found, strict=True):
        rows = [(lm.module(names[i][0].name).weight, names[i][1]) for i in group]
        kept = [weight[unit].clone() for weight, unit in rows]
        with torch.no_grad():
            for weight, unit in rows:
                weight[unit] = 0
            after = logprobs()
            for (weight, unit), was in zip(rows, kept, strict=True):
                weight[unit] = was
        lost = []
        for item, then, now in zip(task.items, before, after, strict=True):
            wrong = max((p, c) for c, p in enumerate(then) if c != item.gold)[1]
            lost.append(then[wrong] - then[item.gold] - now[wrong] + now[item.gold])
        assert effect == pytest.approx(np.mean(lost), abs=2e-5)


def test_gate_and_up_of_a_unit_are_one_neuron():
    for family, paired in (("llama", 2 * 24), ("phi3", 2 * 24), ("flan-t5", 4 * 24), ("gpt2", 0)):
        lm = tiny(family)
        every = sum(site.width for site in lm.sites)
        groups, of = sample_neurons(lm.sites, every, seed=0)
        assert (len(groups), of) == (every - paired, every - paired)
        assert sorted(i for group in groups for i in group) == list(range(every))
    names = [(s, u) for s in tiny("phi3").sites for u in range(s.width)]
    groups, _ = sample_neurons(tiny("phi3").sites, 10_000, seed=0)
    for first, second in (group for group in groups if len(group) == 2):
        (gate, unit), (up, other) = names[first], names[second]
        assert gate == up
        assert other == unit + 24


def test_ranks_on_paper():
    effects = np.array([3.0, 2.0, 1.0, -1.0])
    found = judged("x", np.array([1.0, 9.0, -np.inf, 8.0]), effects, 2)
    assert found.spearman == pytest.approx(1 - 6 * (4 + 1 + 1 + 4) / (4 * 15))
    assert (found.top, found.share, found.against) == (1.0, 0.2, 1)
    assert judged("all alike", np.ones(4), effects, 2).top == 5.0
    assert judged("nothing", -effects, effects * [1, 1, 0, 1], 3).against == 1
    assert judged("nothing", effects, effects * [1, 1, 0, 1], 3).against == 0


def test_ranks_with_ties_and_their_interval_are_those_of_a_slow_reference():
    rng = np.random.default_rng(5)
    scores, effects = rng.integers(0, 4, 15).astype(float), rng.normal(size=15)
    again = np.random.default_rng(7).integers(15, size=(RESAMPLES, 15))
    slow = [spearmanr(scores[draw], effects[draw]).statistic for draw in again[:300]]
    np.testing.assert_allclose(spearman(scores[again[:300]], effects[again[:300]]), slow)
    found = judged("x", scores, effects, 3, seed=7)
    assert found.spearman == pytest.approx(spearmanr(scores, effects).statistic)
    drawn = spearman(scores[again], effects[again])
    assert (drawn < found.low).mean() == pytest.approx(0.025, abs=1 / RESAMPLES)
    assert (drawn > found.high).mean() == pytest.approx(0.025, abs=1 / RESAMPLES)


def test_a_unit_has_the_higher_score_of_its_gate_and_up():
    lm, task = tiny("llama"), toys.task()
    true = fidelity(lm, task, [], samples=2, neurons=8, seed=2).effects
    assert any("gate_proj" in name for name in true)

    def by_up(lm, task, *, batch_size="auto", progress=lambda done: None):
        found = Scores.zeros(lm, task, Method.v1())
        found.counts.add_(1)
        for name, effect in true.items():
            site, unit = name.split(":")
            found.sums[site][:, int(unit)] = -9
            found.sums[site.replace("gate_proj", "up_proj")][:, int(unit)] = effect
        return found

    (judged_by_up,) = fidelity(lm, task, [by_up], samples=2, neurons=8, seed=2).methods
    assert judged_by_up.spearman == pytest.approx(1)


def scorer(lm, task, *, batch_size="auto", progress=lambda done: None):
    return margins.utility(lm, task, batch_size=batch_size, progress=progress)


def test_ones_own_scorer_is_judged_and_finds():
    lm, task = tiny("llama"), toys.task()
    found = fidelity(lm, task, [scorer, "v1"], samples=2, neurons=6)
    assert [m.method for m in found.methods] == ["scorer", "v1"]
    assert len(found.effects) == 6
    assert found.rows == 4
    assert "| scorer |" in str(found)
    assert repr(found) == f"Fidelity({found.headline})"
    assert found.headline in found._repr_html_()
    assert found.to_pandas().method.tolist() == ["scorer", "v1"]
    with pytest.raises(SnipbiasError, match="asked to prune 1 neurons"):
        fidelity(lm, task, [], samples=2, neurons=1)
    assert recipe("test_fidelity:scorer") == Recipe(scorer)
    sb.find(lm, task, 3, method=scorer, samples=2).check(lm)
    for wrong in ("no_such_module:x", "test_fidelity:nothing", "json:__name__"):
        with pytest.raises(SnipbiasError, match="scorer"):
            recipe(wrong)


def test_all_recipes_are_those_with_scores_of_their_own():
    names = all_recipes(has_twins=True, has_biased=True)
    assert {"v1", "gap", "damped gap", "paired"} <= set(names) < set(RECIPES)
    assert not {"balanced", "soft", "rounds", "at mean"} & set(names)  # v1's scores, used otherwise
    assert "paired" not in all_recipes(has_twins=False, has_biased=True)


def run(*argv: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["fidelity", "demo", "mini:age", *map(str, argv)])
    return int(stop.value.code or 0)


def test_the_command_writes_each_kind_of_file(tmp_path, capsys):
    size: Sequence[object] = ("--neurons", 3, "--samples", 2, "--methods", "gap")
    for kind in ("csv", "json"):
        assert run(*size, "--save", tmp_path / f"x.{kind}") == 0
    (row,) = csv.DictReader((tmp_path / "x.csv").open())
    record = json.loads((tmp_path / "x.json").read_text())
    assert float(row["spearman"]) == record["methods"][0]["spearman"]
    assert set(record) == set(Fidelity.__dataclass_fields__)
    capsys.readouterr()
    for path, said in ((tmp_path / "x.csv", "--overwrite"), (tmp_path / "x.txt", ".json, .csv")):
        assert run(*size, "--save", path) == 1
        assert said in capsys.readouterr().err
