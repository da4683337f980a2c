"""The training loop: Adam over the factors, with early stopping on development rows."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.method.learned import objective
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import DevCheck, Material, best_of, check
from snipbias.method.learned.factors import Factors
from snipbias.method.learned.rows import Group

STATE = "state.pt"
SAVED = ("step", "carried", "best", "best_constant")  # fields of a loop that are saved as they are


@dataclass(frozen=True)
class Training:
    """How the factors are trained.

    Attributes:
        steps: number of steps, each on one group of rows.
        rate: Adam's largest step of a factor, reached after `warm_up` steps; it then falls to 0.
        warm_up: steps until `rate` is reached.
        bound: largest distance of a factor from 1.
        keep: weight of the KL divergence from the original on texts and chat replies.
        pair: weight of the pair loss; 0 leaves only cross-entropies, which learn a shift.
        answerable: weight of answerable rows in the loss of declining, relative to unanswerable
            ones; above 1, since a model that hesitates between two people otherwise declines.
        constant: whether to learn a constant on "unknown" too, which is then discarded.
        smoothing: label smoothing, to bound the margins.
        checks: number of checks on development rows.
        patience: number of checks without improvement after which training stops.
        harm: share of answerable development rows that may be lost.
        moved: largest acceptable KL on other texts, in nats per token.
        positions: tokens of a text whose predictions are compared.
    """

    steps: int = 60
    rate: float = 0.01
    warm_up: int = 5
    bound: float = 0.5
    keep: float = 1.0
    pair: float = 1.0
    answerable: float = 3.0
    constant: bool = False
    smoothing: float = 0.05
    checks: int = 6
    patience: int = 4
    harm: float = 0.02
    moved: float = 0.1
    positions: int = 20

    def __post_init__(self) -> None:
        above = ("steps", "rate", "warm_up", "bound", "checks", "patience", "positions")
        for name, value in self.to_dict().items():
            if not 0 <= value < math.inf or (value == 0 and name in above):
                least = "more than 0" if name in above else "0 or more"
                raise SnipbiasError(f"a training's {name} is {value}: give {least}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    checks: tuple[DevCheck, ...]  # the checks before, during and after
    best: DevCheck  # the check whose factors were kept
    constant: float  # learned constant on log P(unknown), not part of the edit
    carried: Float[Tensor, " neurons"]  # how much each lowered the loss: sum of -gradient * change


@dataclass(frozen=True)
class TrainingJob:
    """What all trainings of one call share."""

    material: Material  # the model, rows and texts
    how: Training  # the loop's settings
    original: DevCheck  # the check of the original model, which harm is measured against
    sizes: Sequence[int] = ()  # numbers of neurons to keep, largest first
    seed: int = 0  # seed of the order of groups and the choice of texts
    key: Sequence[Any] = ()  # identifies this call's trainings; states of others are not resumed
    progress: Callable[[int], None] = lambda done: None  # called with the number of steps just done
    told: Callable[[DevCheck], None] = lambda check: None  # called with every check
    folder: Path | None = None  # where trainings keep their state, so that a killed run resumes


class Loop:
    """The state of a training, which can be saved and loaded."""

    def __init__(self, factors: Factors, how: Training, original: DevCheck, key: str) -> None:
        self.factors = factors
        self.constant = torch.zeros((), requires_grad=how.constant)
        self.adam = torch.optim.Adam(
            [{"params": [factors.change]}, {"params": [self.constant]}], betas=(0.9, 0.95)
        )
        self.carried = torch.zeros_like(factors.change)
        self.best = torch.zeros_like(factors.change)
        self.best_constant = 0.0
        self.step = 0
        self.checks: list[DevCheck] = [original]
        self._how = how
        self._key = key

    def move(self, gradient: Tensor) -> None:
        """Take one Adam step; `gradient` is that of the rows only, for what each neuron carried."""
        step, how = self.step, self._how
        # A linear rise, then a linear fall.
        rate = how.rate * (min(1.0, (step + 1) / how.warm_up) * (1 - step / how.steps))
        for group, scale in zip(self.adam.param_groups, (1, 10), strict=True):
            group["lr"] = scale * rate
        before = self.factors.change.detach().clone()
        self.adam.step()
        self.factors.bound(how.bound)
        self.carried += -gradient * (self.factors.change.detach() - before)
        self.step += 1

    def look(self, found: DevCheck) -> bool:
        """Record a check, keep the factors if it is the best, and return whether to go on."""
        self.checks.append(found)
        if found is self.best_check:
            self.best = self.factors.change.detach().clone()
            self.best_constant = self.constant.item()
        return self.goes_on

    @property
    def goes_on(self) -> bool:
        """Whether one of the last checks was the best."""
        return len(self.checks) - 1 - self.checks.index(self.best_check) < self._how.patience

    @property
    def best_check(self) -> DevCheck:
        """The best check without harm; the original if there is none better."""
        return best_of(self.checks, self._how.harm, self._how.moved)

    def save(self, folder: Path) -> None:
        """Write the state, from which a killed run resumes."""
        state = {name: getattr(self, name) for name in SAVED} | {
            "key": self._key,
            "checks": list(map(asdict, self.checks)),
            "change": self.factors.change.detach(),
            "constant": self.constant.detach(),
            "adam": self.adam.state_dict(),
        }
        content = io.BytesIO()
        torch.save(state, content)
        with atomic_file(folder / STATE) as new:
            new.write_bytes(content.getbuffer())

    def load(self, folder: Path) -> bool:
        """Load the state from a folder; return whether there was one of this training."""
        file = folder / STATE
        if not file.is_file():
            return False
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            if state["key"] != self._key:
                return False
            self.checks = [DevCheck(**fields) for fields in state["checks"]]
        except Exception:  # another version's, or damaged, which fails in many ways
            return False
        self.factors.set(state["change"])
        with torch.no_grad():
            self.constant.copy_(state["constant"])
        for name in SAVED:
            kept, device = state[name], self.factors.change.device
            setattr(self, name, kept.to(device) if isinstance(kept, Tensor) else kept)
        self.adam.load_state_dict(state["adam"])
        return True


def train(job: TrainingJob, factors: Factors, size: int | None = None) -> Trained:
    """Train the free factors; afterwards `factors` holds those that are best on the `dev` rows.

    Args:
        job: what is trained on, and how.
        factors: what is trained.
        size: number of neurons that are trained, which names the state; by default all.
    """
    how, folder = job.how, job.folder
    if folder is not None:
        folder = folder / ("all" if size is None else f"n{size}")
        folder.mkdir(parents=True, exist_ok=True)
    key = json.dumps([*job.key, how.to_dict(), job.seed, size])
    loop = Loop(factors, how, job.original, key)
    every = max(1, how.steps // how.checks)
    with torch.inference_mode(False), job.material.below.lm.frozen():
        if folder is not None and loop.load(folder):
            job.progress(loop.step)
        goes_on = loop.goes_on
        losses: list[float] = []
        while goes_on and loop.step < how.steps:
            loss, gradient = _gradients(job, loop)
            loop.move(gradient)
            losses.append(loss)
            job.progress(1)
            if loop.step % every == 0 or loop.step == how.steps:
                found = check(factors, job.material, loop.step, sum(losses) / len(losses))
                goes_on = loop.look(found)
                job.told(found)
                if folder is not None:
                    loop.save(folder)
                losses = []
    factors.set(loop.best)
    return Trained(tuple(loop.checks), loop.best_check, loop.best_constant, loop.carried)


def _gradients(job: TrainingJob, loop: Loop) -> tuple[float, Tensor]:
    """Compute the gradients of this step for Adam; return the rows' loss and its gradient.

    A step's rows and texts depend only on its number, so that a resumed run sees the same.
    """
    material, how, factors = job.material, job.how, loop.factors
    lm = material.below.lm
    walk, place = divmod(loop.step, len(material.rows))
    order = random.Random(f"{job.seed} walk {walk}").sample(material.rows, len(material.rows))
    group = order[place]
    loop.adam.zero_grad()
    with torch.enable_grad(), factors.applied():
        loss = row_loss(material.below, group, loop.constant, how)
    loss.backward()
    lm.passes["backward"] += len(group.items)
    gradient = factors.change.grad.detach().clone()  # type: ignore[union-attr]
    if how.keep and material.texts and loop.step % 2 == 0:  # every second step, at twice the weight
        text = random.Random(f"{job.seed} text {loop.step}").choice(material.texts)
        with torch.enable_grad(), factors.applied():
            moved = text.moved(material.below)
        (2 * how.keep * moved).backward()
        lm.passes["backward"] += 1
    factors.change.grad *= factors.free  # type: ignore[operator]
    return float(loss.detach()), gradient


def row_loss(below: Below, group: Group, constant: Tensor, how: Training) -> Float[Tensor, ""]:
    """The loss of a group: decline if unanswerable, else name the right person; separate both.

    Args:
        below: the model, with the factors applied.
        group: the rows.
        constant: added to the margin of declining, in nats; a scalar.
        how: weights of the terms.
    """
    logprobs = group.score(below)
    rows = (group.gold, group.unknown, group.unanswerable)
    gold, unknown, unanswerable = (each.to(logprobs.device) for each in rows)
    declined = objective.decline_loss(
        logprobs, unknown, unanswerable, constant.to(logprobs.device), how.answerable, how.smoothing
    )
    person = objective.person_loss(logprobs, gold, unknown, unanswerable, how.smoothing)
    margin = objective.unknown_margin(logprobs, unknown)
    return declined + person + how.pair * objective.pair_loss(margin, unanswerable)
