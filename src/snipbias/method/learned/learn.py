"""learn = draw + train + keep the neurons that carry most + train these again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Integral
from operator import add
from pathlib import Path
from typing import Any

import torch

from snipbias.base.errors import SnipbiasError
from snipbias.base.table import Grid
from snipbias.base.words import did_you_mean
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_tasks
from snipbias.edits.provenance import ModelId, Provenance
from snipbias.method.learned.anchors import Anchor, anchors, chat_queries
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import HEADER, DevCheck, Material, check
from snipbias.method.learned.factors import Factors, Mask, highest, upper_sites
from snipbias.method.learned.first_order import first_order
from snipbias.method.learned.rows import Group, groups
from snipbias.method.learned.train import Trained, Training, TrainingJob, train
from snipbias.tasks.items import Task
from snipbias.tasks.neutral_text import chat_prompts_to_protect, passages_to_protect

DEV_GROUPS = 10  # of each task, at least
TEXTS, CHATS = 24, 16  # a third of each only measures how far texts have moved
# A size (None: all neurons that are trained), its factors, and how its training went.
Result = tuple[int | None, Factors, Trained]


@dataclass(frozen=True)
class Learned:
    """Edits of learned factors, and how their training went.

    Attributes:
        edits: size -> edit; None is all trained neurons.
        trainings: size -> training.
    """

    edits: dict[int | None, NeuronEdit]
    trainings: dict[int | None, Trained]

    @property
    def edit(self) -> NeuronEdit:
        """The smallest edit."""
        return list(self.edits.values())[-1]

    def curves(self) -> Iterator[Grid]:
        """A table per training: every check, a star at the one whose factors were kept."""
        for size, trained in self.trainings.items():
            name = "all neurons" if size is None else f"{size:,} neurons"
            rows = (each.cells(kept=each is trained.best) for each in trained.checks)
            yield Grid(f"{name}: development rows", HEADER, tuple(rows))

    def records(self) -> Iterator[dict[str, Any]]:
        """A flat record per check, for a CSV file."""
        for size, trained in self.trainings.items():
            for each in trained.checks:
                kept = {"kept": each is trained.best}
                yield {"neurons": "all" if size is None else size, **each.record(), **kept}


def _at_one(job: TrainingJob) -> Factors:
    below = job.material.below
    return Factors(below.lm, below.sites)


def by_path(job: TrainingJob) -> Iterator[Result]:
    """Train all factors; then continue with only those that carried most of the loss."""
    factors = _at_one(job)
    whole = train(job, factors)
    values = factors.change.detach().clone()
    yield None, factors, whole
    for size in job.sizes:
        factors.set(values)
        factors.keep(highest(whole.carried, size))
        yield size, factors, train(job, factors, size)


def _at_random(job: TrainingJob) -> Iterator[Result]:
    """Train as many random neurons in the same way: the control."""
    for size in job.sizes:
        factors = _at_one(job)
        order = torch.rand(len(factors.change), generator=torch.Generator().manual_seed(job.seed))
        factors.keep(highest(order.to(factors.change.device), size))
        yield size, factors, train(job, factors, size)


def _by_mask(job: TrainingJob) -> Iterator[Result]:
    """Train a mask that prunes this many neurons (grafting)."""
    for size in job.sizes:
        below = job.material.below
        factors = Mask(below.lm, below.sites, size, job.seed)
        yield size, factors, train(job, factors, size)


def _by_first_order(job: TrainingJob) -> Iterator[Result]:
    """One step along the gradient: no training."""
    for size in job.sizes or (None,):
        factors = _at_one(job)
        yield size, factors, first_order(job, factors, size)


class NothingLearnedError(SnipbiasError):
    """A training ran, but none of its factors are better than the original without harm."""


PICKS: dict[str, Callable[[TrainingJob], Iterator[Result]]] = {
    "learned": by_path,
    "learned random": _at_random,
    "grafting": _by_mask,
    "first order": _by_first_order,
}


def learn(
    lm: GivenModel,
    tasks: GivenTask | Sequence[GivenTask],
    n: int | Sequence[int] = (),
    *,
    pick: str = "learned",
    fillings: int = 2,
    layers: float | None = None,
    roles: Sequence[str] = (),
    training: Training | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    told: Callable[[DevCheck], None] = lambda check: None,
    folder: str | Path | None = None,
) -> Learned:
    """Learn one factor per neuron, so that the model separates what it can and cannot know.

    Args:
        lm: a model, or what `sb.load` takes.
        tasks: tasks, or what `sb.task` takes: rows in both conditions, paired by `twin`. Their
            `find` parts are for training, their `dev` parts decide when to stop; their `test` parts
            stay unseen.
        n: numbers of neurons to keep and train again; by default all are kept.
        pick: which neurons to keep: those that carried most of the loss (`learned`), random ones
            (`learned random`, a control), those of a trained mask that prunes them (`grafting`), or
            those that move in one step along the gradient (`first order`).
        fillings: groups of rows per template.
        layers: share of layers to train, from the top; by default all for an encoder-decoder, and
            the upper half for a decoder-only model.
        roles: only layers of these roles (q, k, v, o, gate, up, down); by default all.
        training: the loop's settings.
        seed: seed of the rows, their order, and random picks.
        progress: called with the number of steps just done, of `steps` per size.
        told: called with every check on development rows, first that of the original.
        folder: where the state of the training is kept, so that a killed run can resume.

    Raises:
        SnipbiasError: the rows are not paired; or, as a `NothingLearnedError`, nothing was learned
            without harm.

    Source: `objective.pair_loss`; the sum of -gradient * change is a path integral of gradients
        (Sundararajan et al. 2017), along the path of training.
    """
    lm = as_model(lm)
    if pick not in PICKS:
        known = list(PICKS)
        raise SnipbiasError(
            f"there is no pick {pick!r}{did_you_mean(pick, known)}: use {', '.join(known)}."
        )
    if fillings < 1:
        raise SnipbiasError(f"there are {fillings} groups of rows per template: give at least 1.")
    how, folder = training or Training(), Path(folder) if folder else None
    given = as_tasks(tasks)
    sizes = sorted({int(n)} if isinstance(n, (int, Integral)) else set(n), reverse=True)
    sites = upper_sites(lm, layers, roles)
    there = sum(site.width for site in sites)
    if sizes and not 0 < sizes[-1] <= sizes[0] <= there:
        raise SnipbiasError(f"cannot keep {sizes[0]} neurons: ask for 1 to {there}.")
    if not sizes and pick in ("learned random", "grafting"):
        raise SnipbiasError(f"{pick!r} needs a number of neurons: give n.")
    edits: dict[int | None, NeuronEdit] = {}
    trainings: dict[int | None, Trained] = {}
    with torch.inference_mode(False), lm.frozen():
        drawn, material = gather(Below(lm, sites), given, fillings, seed, how)
        original = check(Factors(lm, sites), material)
        if math.isnan(original.moved):
            raise SnipbiasError(
                f"{lm.name} predicts what is not a number: load it in a wider type (--dtype "
                "float32), or look for NaN in its weights."
            )
        told(original)
        places = [site.name for site in sites]
        key = (ModelId.of(lm).weights, str(lm.model.dtype), places, material.fingerprint, pick)
        job = TrainingJob(material, how, original, sizes, seed, key, progress, told, folder)
        for size, factors, trained in PICKS[pick](job):
            trainings[size] = trained
            if trained.best is not trained.checks[0]:  # else the original is best, or all do harm
                settings = {"name": pick, **how.to_dict()}
                found_on = reduce(add, (Provenance.of(part, settings) for part in drawn))
                label = pick if size is None else f"{pick} n={size}"
                edits[size] = NeuronEdit(factors.by_site(), ModelId.of(lm), found_on, label)
    if not edits:
        raise NothingLearnedError(_nothing_found(trainings.values(), how))
    return Learned(edits, trainings)


def _nothing_found(trainings: Iterable[Trained], how: Training) -> str:
    """Why no check during the trainings was better than the original."""
    checks = [check for trained in trainings for check in trained.checks]
    best = max(checks, key=lambda check: check.told, default=None)
    if best is None or best is checks[0] or not (harm := best.harm(checks[0], how.harm, how.moved)):
        return (
            "no factors were found that tell unanswerable rows better: give more rows "
            "(--fillings) or steps (--steps), or see what 'snipbias check' says."
        )
    return (
        f"the factors tell unanswerable rows better on development rows (mean AUROC "
        f"{checks[0].told:.2f} -> {best.told:.2f}), but do harm: {', '.join(harm)}. Try a smaller "
        "--rate or more rows (--fillings), or see what 'snipbias check' says."
    )


def gather(
    below: Below, tasks: Sequence[Task], fillings: int, seed: int, how: Training
) -> tuple[list[Task], Material]:
    """Draw the rows and texts of a training, and record what the model predicts on the texts.

    Args:
        below: the model, without factors.
        tasks: rows of their `find` parts are trained on, of their `dev` parts checked.
        fillings: groups of rows per template.
        seed: seed of the draws.
        how: settings of the training.

    Returns:
        The tasks with only the rows drawn, and the material.
    """
    lm = below.lm
    drawn: list[Task] = []
    rows: list[Group] = []
    dev: list[Group] = []
    for task in tasks:
        new = groups(lm, task.find, fillings, seed)
        items = {item.id: item for group in new for item in group.items}
        drawn.append(task.find._with_items(items.values()))
        rows += new
        dev += groups(lm, task.dev, -(-DEV_GROUPS // len(task.dev.templates)), seed)
    texts = [q for q in map(lm.text_query, passages_to_protect()[:TEXTS]) if q is not None]
    replies = chat_queries(lm, chat_prompts_to_protect()[:CHATS])

    kept: list[Anchor] = []
    held: list[Anchor] = []
    for queries in (texts, replies):
        found = anchors(lm, queries, how.positions, seed)
        third = len(found) // 3
        held += found[:third]
        kept += found[third:]
    return drawn, Material(rows, dev, kept, held, below)
