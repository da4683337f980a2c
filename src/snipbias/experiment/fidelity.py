"""Fidelity: how well the scores of neurons predict the effect of pruning each of them.

Each neuron of a sample is pruned alone. What the margin log P(yhat) - log P(y) then loses, in nats
and as a mean over the rows that neurons are found on, is its true effect. Gate and up of one FFN
unit are factors of one product, so pruning either prunes both: they count once, with the higher of
their scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata

from snipbias.base.errors import SnipbiasError
from snipbias.base.table import Grid, Shown, number, percent
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_task
from snipbias.edits.provenance import ModelId, weights_unchanged
from snipbias.evaluation.rows import padded
from snipbias.method.attribute import asked
from snipbias.method.equations import Method, most_confusing
from snipbias.method.find import as_recipe
from snipbias.method.margins import Scorer
from snipbias.method.recipes import RECIPES, Recipe
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.models.language_model import LanguageModel
from snipbias.models.score_all import score_queries
from snipbias.models.sites import Site, neuron_at
from snipbias.tasks.items import Task

RESAMPLES = 2000
TOP = 20  # neurons that an edit would begin with


@dataclass(frozen=True)
class Faithfulness:
    """How well the scores of one method predict true effects.

    The correlation is over the sampled neurons, and None where all scores are equal; its 95 %
    interval is by bootstrap over neurons.
    """

    method: str
    spearman: float | None  # rank correlation of score and true effect
    low: float | None
    high: float | None
    top: float  # true effects of its highest-scoring neurons added up, in nats
    share: float | None  # the same as a share of the highest sum possible
    against: int  # how many of these neurons raise the margin when they are pruned


@dataclass(frozen=True, repr=False)
class Fidelity(Shown):
    """How well each method's scores predict the effects of pruning.

    Attributes:
        neurons: how many were pruned one by one, of `of` (gate and up of a unit counted once).
        rows: number of items times instructions; effects are means over these.
        best: the highest sum of true effects that `top` of these neurons have, in nats.
        effects: the true effect of each sampled neuron, by its site and unit.
        methods: in the order asked for.
    """

    model: str
    task: str
    seed: int
    rows: int
    neurons: int
    of: int
    top: int
    best: float
    effects: dict[str, float]
    methods: tuple[Faithfulness, ...]

    def _shown(self) -> list[Grid | str]:
        return [self.headline, self.grid()]

    def _rows(self) -> list[dict[str, Any]]:
        return list(map(asdict, self.methods))

    def __repr__(self) -> str:
        return f"Fidelity({self.headline})"

    @property
    def headline(self) -> str:
        """The measurement in one sentence."""
        return (
            f"{self.model}, {self.task}: {self.neurons:,} of {self.of:,} neurons pruned one by one "
            f"on {self.rows} rows; the {self.top} with the largest effects add up to "
            f"{self.best:.2f} nats."
        )

    def grid(self) -> Grid:
        """One line per method."""
        nats, most = f"nats of its top {self.top}", f"% of the best {self.top}"
        header = ("method", "Spearman", "95 %", nats, most, "harmful")
        rows = []
        for m in self.methods:
            bounds = f"{number(m.low)} to {number(m.high)}"
            sums = (number(m.top), percent(m.share), str(m.against))
            rows.append((m.method, number(m.spearman), bounds, *sums))
        return Grid("", header, tuple(rows))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """The table as Markdown, under a line that says what was measured."""
        return f"{self.headline}\n\n{self.grid().markdown()}"


def fidelity(
    lm: GivenModel,
    task: GivenTask,
    methods: Sequence[str | Method | Recipe | Scorer] | None = None,
    *,
    samples: int = 10,
    neurons: int = 300,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    stage: Stage = lambda name, jobs: None,
    progress: Progress = lambda done: None,
) -> Fidelity:
    """Score a sample of neurons by each method, prune each by itself, and compare.

    Args:
        lm: a model, or what `sb.load` takes.
        task: a task, or what `sb.task` takes; rows are drawn from its `find` part, as twins if any.
        methods: names of recipes, `Method`s, recipes, or scorers `(lm, task, batch_size=,
            progress=) -> Scores`; by default all recipes that these rows allow.
        samples: number of rows drawn, each asked under every instruction of the task.
        neurons: how many to prune, drawn evenly from the whole model (fewer if it has fewer).
        seed: seed of both draws.
        stage: called with what is done next, and of how many prompts.
        progress: called with the number of prompts just done.

    Raises:
        SnipbiasError: there is no such method, or it scores no neurons in one go.
    """
    lm, task = as_model(lm), as_task(task)
    has_twins = task.balances("twins") and samples % 2 == 0
    drawn = task.sample(samples, seed, balance="twins" if has_twins else "none")
    has_biased = all(item.biased is not None for item in task.find.items)
    recipes = all_recipes(has_twins=has_twins, has_biased=has_biased)
    if methods is not None:
        recipes = {_name(method): as_recipe(method) for method in methods}
    groups, of = sample_neurons(lm.sites, neurons, seed)
    rows = len(drawn) * len(drawn.instructions)
    stage("pruning one by one", rows * (len(groups) + 1))
    effects = true_effects(lm, drawn, groups, batch_size=batch_size, progress=progress)
    top = min(TOP, len(effects))
    best = float(np.sort(effects)[-top:].sum())
    found = []
    for name, chosen in recipes.items():
        stage(name, rows)
        flat = chosen.scores(lm, drawn, batch_size=batch_size, progress=progress).flat.numpy()
        scores = np.array([flat[list(group)].max() for group in groups])
        found.append(judged(name, scores, effects, top, seed))
    pairs = zip((neuron_at(lm.sites, group[0]) for group in groups), effects.tolist(), strict=True)
    by_neuron = {f"{neuron.site}:{neuron.unit}": effect for neuron, effect in pairs}
    counts = (seed, rows, len(groups), of, top, best)
    return Fidelity(lm.name, task.name, *counts, by_neuron, tuple(found))


def all_recipes(*, has_twins: bool, has_biased: bool) -> dict[str, Recipe]:
    """The recipes that score neurons in one go; of those with equal scores only the first."""
    there = {"none": True, "condition": has_twins, "twins": has_twins, "biased": has_biased}
    first: dict[tuple[str, ...], str] = {}
    for name, chosen in RECIPES.items():
        if there[chosen.balance]:
            first.setdefault((repr(chosen.score), *map(repr, chosen.filters)), name)
    return {name: RECIPES[name] for name in first.values()}


def sample_neurons(sites: Sequence[Site], n: int, seed: int) -> tuple[list[tuple[int, ...]], int]:
    """Numbers of neurons drawn evenly from the model, gate and up as one, and how many there are.

    Args:
        n: how many; all if there are fewer.

    Raises:
        SnipbiasError: `n` is below 2.
    """
    if n < 2:
        raise SnipbiasError(f"asked to prune {n} neurons: ask for at least 2 to compare.")
    by_role: dict[tuple[str, str], list[int]] = defaultdict(list)
    start = 0
    for site in sites:
        for unit in range(site.width) if site.block == "ffn" else ():
            by_role[site.name.rpartition(".")[0], site.role(unit)].append(start + unit)
        start += site.width
    up_of: dict[int, int] = {}
    for (ffn, role), gates in by_role.items():
        ups = by_role.get((ffn, "up"), [])
        if role == "gate" and len(gates) == len(ups):
            up_of |= dict(zip(gates, ups, strict=True))
    alone = np.setdiff1d(np.arange(start), list(up_of.values()))
    drawn = np.random.default_rng(seed).choice(alone, min(n, len(alone)), replace=False)
    pairs = ((i, up_of[i]) if i in up_of else (i,) for i in sorted(drawn.tolist()))
    return list(pairs), len(alone)


def true_effects(
    lm: LanguageModel,
    drawn: Task,
    groups: Sequence[tuple[int, ...]],
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Float[np.ndarray, " groups"]:
    """How much the margin of yhat over y falls, in nats, when a group of neurons is pruned.

    Args:
        drawn: the rows, asked under every instruction.
        groups: numbers of the neurons that are pruned together.
        batch_size, progress: as in `fidelity`.
    """
    jobs, model = asked(lm, drawn), ModelId.of(lm)
    queries, gold = [job.query for job in jobs], np.array([job.item.gold for job in jobs])
    rows = np.arange(len(gold))

    def margin(logprobs: np.ndarray) -> np.ndarray:
        return logprobs[rows, wrong] - logprobs[rows, gold]

    how: Any = {"batch_size": batch_size, "progress": progress}
    with torch.inference_mode(), lm.frozen(), weights_unchanged(lm):
        before = padded(score_queries(lm, queries, **how))
        wrong = most_confusing(torch.from_numpy(before), torch.from_numpy(gold)).numpy()
        effects = []
        for group in groups:
            edit = NeuronEdit.of([neuron_at(lm.sites, number) for number in group], model)
            with edit.applied(lm):
                after = padded(score_queries(lm, queries, **how))
            effects.append((margin(before) - margin(after)).mean())
    return np.array(effects)


def judged(
    name: str,
    scores: Float[np.ndarray, " n"],
    effects: Float[np.ndarray, " n"],
    top: int,
    seed: int = 0,
) -> Faithfulness:
    """Compare one method's scores with the true effects of the same neurons.

    Args:
        scores: score of each sampled neuron.
        effects: true effect of each, in nats.
        top: number of highest-scoring neurons to add up.
        seed: of the bootstrap.
    """
    again = np.random.default_rng(seed).integers(len(scores), size=(RESAMPLES, len(scores)))
    drawn = spearman(scores[again], effects[again])
    figures = (*spearman(scores[None], effects[None]), *np.percentile(drawn, (2.5, 97.5)))
    chosen = effects[np.argsort(-scores, kind="stable")[:top]]
    total, best = float(chosen.sum()), float(np.sort(effects)[-top:].sum())
    share = total / best if best > 0 else None
    against = int((chosen < 0).sum())
    correlation, low, high = (None if np.isnan(x) else float(x) for x in figures)
    return Faithfulness(name, correlation, low, high, total, share, against)


def spearman(
    a: Float[np.ndarray, "draws n"], b: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """Rank correlation within each draw; ties share their mean rank. NaN where one is constant."""
    a, b = (ranks - ranks.mean(1, keepdims=True) for ranks in (rankdata(x, axis=1) for x in (a, b)))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def _name(method: str | Method | Recipe | Scorer) -> str:
    said = method if isinstance(method, str) else getattr(method, "name", None)
    return said or getattr(method, "__name__", "a recipe of your own")
