"""The training loop: Adam over the factors, with early stopping on development rows."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
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
from snipbias.method.learned.check import Check, Material, check
from snipbias.method.learned.factors import Factors
from snipbias.method.learned.rows import Group
from snipbias.models.language_model import LanguageModel

STATE = "state.safetensors"


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
    """The result of a training.

    Attributes:
        checks: the checks before, during and after.
        best: the check whose factors were kept.
        constant: learned constant on log P(unknown), not part of the edit.
        carried: how much each neuron's factor lowered the loss: the sum of -gradient * change.
    """

    checks: tuple[Check, ...]
    best: Check
    constant: float
    carried: Float[Tensor, " neurons"]


class Loop:
    """The state of a training, which can be saved and loaded."""

    def __init__(self, factors: Factors, how: Training, original: Check, key: str) -> None:
        self.factors = factors
        self.constant = torch.zeros((), requires_grad=how.constant)
        self.adam = torch.optim.Adam(
            [{"params": [factors.change]}, {"params": [self.constant]}], betas=(0.9, 0.95)
        )
        self.carried = torch.zeros_like(factors.change)
        self.best = torch.zeros_like(factors.change)
        self.best_constant = 0.0
        self.step = 0
        self.checks: list[Check] = [original]
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

    def look(self, found: Check) -> bool:
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
    def best_check(self) -> Check:
        """The best check without harm; the original if there is none better."""
        original = self.checks[0]
        harmless = [c for c in self.checks if not c.harm(original, self._how.harm, self._how.moved)]
        return max(harmless, key=lambda c: (c.told, -c.step))

    def save(self, folder: Path) -> None:
        """Write the state, from which a killed run resumes."""
        from safetensors.torch import save

        state = {
            f"adam.{place}.{name}": value.clone()
            for place, part in self.adam.state_dict()["state"].items()
            for name, value in part.items()
        }
        own = {"change": self.factors.change, "carried": self.carried, "best": self.best}
        state |= {name: value.detach().clone() for name, value in own.items()}
        state["constant"] = self.constant.detach().clone()
        notes = {
            "step": self.step,
            "best_constant": self.best_constant,
            "checks": [c.to_dict() for c in self.checks],
            "key": self._key,
        }
        with atomic_file(folder / STATE) as new:
            new.write_bytes(save(state, {"notes": json.dumps(notes)}))

    def load(self, folder: Path) -> bool:
        """Load the state from a folder; return whether there was one of this training."""
        from safetensors import SafetensorError, safe_open

        file = folder / STATE
        if not file.is_file():
            return False
        try:
            with safe_open(file, "pt") as opened:
                notes = json.loads(opened.metadata()["notes"])
                if notes["key"] != self._key:
                    return False
                state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            self.checks = [Check(**fields) for fields in notes["checks"]]
        except (SafetensorError, KeyError, TypeError, ValueError):  # damaged, or of another version
            return False
        device = self.factors.change.device
        with torch.no_grad():
            self.factors.change.copy_(state["change"])
            self.constant.copy_(state["constant"])
        self.carried, self.best = state["carried"].to(device), state["best"].to(device)
        self.step, self.best_constant = notes["step"], notes["best_constant"]
        adam: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("adam."):
                _, place, part = name.split(".")
                adam.setdefault(int(place), {})[part] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": adam})
        return True


def train(
    lm: LanguageModel,
    factors: Factors,
    material: Material,
    how: Training,
    *,
    original: Check,
    seed: int = 0,
    key: str = "",
    progress: Callable[[int], None] = lambda done: None,
    told: Callable[[Check], None] = lambda check: None,
    folder: Path | None = None,
) -> Trained:
    """Train the free factors; afterwards `factors` holds those that are best on the `dev` rows.

    Args:
        lm: the model.
        factors: what is trained.
        material: rows and texts.
        how: settings.
        original: the check of the original model, which harm is measured against.
        seed: seed of the order of groups and the choice of texts.
        key: identifies the training; states of others are not resumed.
        progress: called with the number of steps just done.
        told: called with every check.
        folder: where the state is kept, so that a killed run can resume.
    """
    loop = Loop(factors, how, original, key)
    every = max(1, how.steps // how.checks)

    def look(loss: float) -> bool:
        found = check(lm, factors, material, loop.step, loss)
        goes_on = loop.look(found)
        told(found)
        if folder is not None:
            loop.save(folder)
        return goes_on

    with torch.inference_mode(False), lm.frozen():
        if folder is not None and loop.load(folder):
            progress(loop.step)
        goes_on = loop.goes_on
        losses: list[float] = []
        while goes_on and loop.step < how.steps:
            loss, gradient = _gradients(lm, loop, material, how, seed)
            loop.move(gradient)
            losses.append(loss)
            progress(1)
            if loop.step % every == 0 or loop.step == how.steps:
                goes_on = look(sum(losses) / len(losses))
                losses = []
    factors.set(loop.best)
    return Trained(tuple(loop.checks), loop.best_check, loop.best_constant, loop.carried)


def _gradients(
    lm: LanguageModel, loop: Loop, material: Material, how: Training, seed: int
) -> tuple[float, Tensor]:
    """Compute the gradients of this step for Adam; return the rows' loss and its gradient.

    A step's rows and texts depend only on its number, so that a resumed run sees the same.
    """
    walk, place = divmod(loop.step, len(material.rows))
    group = random.Random(f"{seed} walk {walk}").sample(material.rows, len(material.rows))[place]
    factors = loop.factors
    loop.adam.zero_grad()
    with torch.enable_grad(), factors.applied():
        loss = row_loss(lm, material.below, group, loop.constant, how)
    loss.backward()
    lm.passes["backward"] += len(group.items)
    gradient = factors.change.grad.detach().clone()  # type: ignore[union-attr]
    if how.keep and material.texts and loop.step % 2 == 0:  # every second step, at twice the weight
        text = random.Random(f"{seed} text {loop.step}").choice(material.texts)
        with torch.enable_grad(), factors.applied():
            moved = text.moved(lm, material.below)
        (2 * how.keep * moved).backward()
        lm.passes["backward"] += 1
    factors.change.grad *= factors.free  # type: ignore[operator]
    return float(loss.detach()), gradient


def row_loss(
    lm: LanguageModel, below: Below, group: Group, constant: Tensor, how: Training
) -> Float[Tensor, ""]:
    """The loss of a group: decline if unanswerable, else name the right person; separate both.

    Args:
        lm: the model, with the factors applied.
        below: what runs once per input.
        group: the rows.
        constant: added to the margin of declining, in nats; a scalar.
        how: weights of the terms.
    """
    logprobs = group.score(lm, below)
    rows = (group.gold, group.unknown, group.unanswerable)
    gold, unknown, unanswerable = (each.to(logprobs.device) for each in rows)
    declined = objective.decline_loss(
        logprobs, unknown, unanswerable, constant.to(logprobs.device), how.answerable, how.smoothing
    )
    person = objective.person_loss(logprobs, gold, unknown, unanswerable, how.smoothing)
    margin = objective.unknown_margin(logprobs, unknown)
    return declined + person + how.pair * objective.pair_loss(margin, unanswerable)
