"""Other people's methods: what each must do to a model, and that it leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import toys
from families import tiny
from snipbias.evaluation import metrics
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.rows import Rows
from snipbias.experiment.baselines import fairsteer, trained, unibias
from snipbias.experiment.baselines.change import at_prompt_end
from snipbias.experiment.baselines.prompting import PROMPTINGS, Prompting
from snipbias.experiment.baselines.steering import mean_difference
from snipbias.experiment.store import COSTS, Store
from snipbias.experiment.tables.grids import BIAS
from snipbias.method.attribute import asked
from snipbias.method.recipes import RECIPES

TASK = toys.task(4)
FAMILIES = ["flan-t5", "gpt2", "opt"]


def test_bias_is_the_score_of_bbq() -> None:
    rng = np.random.default_rng(0)
    rows = Rows.from_lists(
        rng.normal(size=(40, 3)).tolist(),
        [2] * 40,
        unknown=[2] * 40,
        biased=[0, 1] * 20,
        condition=["ambiguous"] * 40,
        probabilities=False,
    )
    assert BIAS(rows) == pytest.approx(metrics.s_amb(rows))


def test_parts_add_up_to_what_the_layer_adds_to_each_label() -> None:
    lm = tiny("llama")
    queries = [job.query for job in asked(lm, TASK)]
    for site in (s for s in lm.sites if s.layout[0][0] in ("o", "down")):
        weight = unibias._weight(lm, site.name)
        labels = torch.randn(len(queries), 3, len(weight))
        with torch.no_grad():
            seen, put = (
                at_prompt_end(lm, queries, [site.name], inputs=i)[site.name] for i in (True, False)
            )
            found = unibias.additions(labels, weight, seen, 2).sum(-1)
        torch.testing.assert_close(found, torch.einsum("bcd,bd->bc", labels, put))


def test_biased_parts_are_related_steady_and_push_one_label() -> None:
    mean = torch.tensor([[3.0, 1, 1, -9], [0, 1, 0, 0], [0, 1, 2, 0]]).double()  # label x part
    spread = torch.tensor([0.1, 0.1, 5.0, 0.1])
    moments = torch.stack([mean, mean.square() + (mean.abs() * spread).square()])
    assert unibias._ranked({"it": moments}, 1.0) == [("it", 0), ("it", 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_parts_no_longer_count(family: str, unchanged) -> None:
    lm = tiny(family)
    site = [s.name for s in lm.sites if s.layout[0][0] == "down"][-1]
    seen = []
    with unchanged(lm.model), unibias.masked({site: (1, 3)}, "masked").applied(lm):
        handle = lm.module(site).register_forward_pre_hook(lambda m, a: seen.append(a[0]))
        evaluate(lm, TASK)
        handle.remove()
    assert all((x[..., [1, 3]] == 0).all() and x[..., 0].any() for x in seen)
    found = unibias.biased_components(lm, TASK, spread=1e9)
    assert found.vectors
    assert {len(units) for _, units in found.vectors} == {1}


def test_a_probe_learns_what_a_line_can_tell() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 5) * torch.tensor([1.0, 100, 0.01, 1, 0]) + 7
    wrong = x[:, 1] > 7
    assert (fairsteer.LayerProbe.fit(x, wrong).fires(x) == wrong).float().mean() > 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gate_steers_where_an_answer_is_predicted_and_nowhere_else(family, unchanged) -> None:
    lm = tiny(family)
    vectors = mean_difference(lm, TASK)
    size = vectors.vectors.shape[1]
    always, never = (
        fairsteer.gated(vectors, 1, 20.0, fairsteer.LayerProbe(torch.zeros(size), bias))
        for bias in (1.0, -1.0)
    )
    with unchanged(lm.model):
        rows = [
            evaluate(lm, TASK, [gate], batch_size=size)
            for gate, size in ((never, 4), (always, 1), (always, 6))
        ]
    same, one, six = (found.rows(always.label).scores for found in rows)
    np.testing.assert_allclose(same, rows[0].rows().scores, atol=1e-4)
    assert abs(one - same).max() > 1e-3
    np.testing.assert_allclose(one, six, atol=1e-3)
    assert not lm.rows_differ
    # The prompt's own tokens are read as they are, but for the last.
    query, block = asked(lm, TASK)[0].query, dict(lm.blocks("decoder"))[vectors.blocks[1]]
    seen = []

    def watch(module, args, output) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    for context in (nullcontext(), always.applied(lm)):
        with torch.no_grad(), context:
            handle = block.register_forward_hook(watch)
            lm.score([query])
            handle.remove()
    moved = (seen[len(seen) // 2] - seen[0]).norm(dim=-1)[0]
    assert (moved[:-1] < 1e-4).all()
    assert moved[-1] > 1e-3
    assert len(fairsteer.probes(lm, TASK)) == len(lm.blocks("decoder"))


def test_asking_otherwise_keeps_the_order_of_the_rows() -> None:
    lm = tiny("llama")
    plain = evaluate(lm, TASK).table
    echo = Prompting(request=lambda item, prompt: prompt)  # written, and not used
    found = echo.answers(lm, TASK)
    for name in ("item", "instruction"):
        assert found[name].to_pylist() == plain[name].to_pylist()
    np.testing.assert_allclose(found["score"].to_pylist(), plain["score"].to_pylist(), atol=1e-4)
    for way in PROMPTINGS.values():
        other = way.answers(lm, TASK)
        assert other["item"].to_pylist() == plain["item"].to_pylist()
        assert other["score"].to_pylist() != plain["score"].to_pylist()


@pytest.mark.parametrize(("family", "kind"), [("flan-t5", "LoRA"), ("gpt2", "(IA)3")])
def test_a_fine_tune_fits_its_rows_and_goes(family: str, kind, unchanged) -> None:
    lm = tiny(family)
    wanted = [p.requires_grad for p in lm.model.parameters()]
    with unchanged(lm.model):
        adapters = trained.finetune(lm, TASK, kind)
        found = evaluate(lm, TASK, list(adapters.values()))
    assert wanted == [p.requires_grad for p in lm.model.parameters()]
    assert not hasattr(lm.model, "peft_config")

    def fit(rows: Rows) -> float:
        return float(np.take_along_axis(rows.scores, rows.gold[:, None], 1).mean())

    fits = [fit(found.rows(label)) for label in found.methods]
    assert fits == sorted(fits)
    assert adapters[1].parameters == adapters[10].parameters > 0


def test_know_bias_raises_inner_units_alone() -> None:
    lm = tiny("llama")
    scores = RECIPES["know-bias"].scores(lm, TASK)
    inner = sum(site.width for site in lm.sites if site.layout[0][0] == "up")
    assert scores.allowed == inner
    assert min(RECIPES["know-bias"].factors) > 1


def test_a_part_costs_what_it_took_itself(tmp_path) -> None:
    passes = Counter()
    for folder in (None, tmp_path):
        store = Store(folder)
        store.passes = lambda: passes

        def inner() -> int:
            passes["forward"] += 3
            return 1

        def outer(store=store, inner=inner) -> int:
            passes["forward"] += 2
            return store.value("t/v1/inner", inner) + store.value("t/v1/inner", inner)

        store.value("t/v1/outer", outer)
        for again in (store, replace_store(store)):
            assert again.cost("t/v1", "outer".__eq__)["forward"] == 2
            assert again.cost("t/v1", lambda part: True)["forward"] == 5
            assert not again.cost("t", lambda part: True)
    with open(tmp_path / COSTS, "a") as file:
        file.write('\n{"part": "t/v1/la')  # cut short by a kill
    assert Store(tmp_path).cost("t/v1", lambda part: True)["forward"] == 5


def replace_store(store: Store) -> Store:
    return store if store.folder is None else Store(store.folder)
