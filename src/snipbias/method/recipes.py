"""Recipes: every way of finding neurons, by name, of CRISPR and beyond.

A recipe draws items, scores all neurons on them, leaves some out, and says what may be done to the
top ones. The number of neurons is not part of it: it is chosen on the development templates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Literal, cast

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean, one_line
from snipbias.method import activations, filters
from snipbias.method import margins as scorers
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.method.margins import Scorer
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Progress
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import ROLES
from snipbias.tasks.items import Balance, Task
from snipbias.tasks.neutral_text import passages_to_protect

GROUP = "snipbias.recipes"  # entry points through which other packages add recipes
Objective = Literal["overall", "balanced", "no-harm"]
Filter = Callable[[LanguageModel, Task, Scores, BatchSize], Scores]


@dataclass(frozen=True)
class Recipe:
    """How neurons are found.

    Attributes:
        score: `(lm, drawn items, batch_size=, progress=) -> Scores`.
        balance: how the items are drawn.
        filters: `(lm, drawn items, scores, batch_size) -> Scores`, applied in order.
        factors: factors on the top neurons' outputs; if there are several, one is chosen on the
            development templates, like the number of neurons.
        rounds: number of rounds of pruning, with a new attribution before each.
        at_mean: hold the neurons at their mean activation instead of multiplying them.
        objective: how the number of neurons is chosen; by default as the experiment says.
    """

    score: Scorer
    balance: Balance = "none"
    filters: tuple[Filter, ...] = ()
    factors: tuple[float, ...] = (0.0,)
    rounds: int = 1
    at_mean: bool = False
    objective: Objective | None = None

    def scores(
        self,
        lm: LanguageModel,
        drawn: Task,
        *,
        batch_size: BatchSize = "auto",
        progress: Progress = lambda done: None,
    ) -> Scores:
        """Score the drawn items, and apply the filters.

        Args:
            lm: the model.
            drawn: items drawn as `balance` says.
            batch_size: prompts per pass, or `auto`; results do not depend on it.
            progress: called with the number of prompts just done.
        """
        scores = self.score(lm, drawn, batch_size=batch_size, progress=progress)
        return self.filtered(lm, drawn, scores, batch_size)

    def filtered(
        self, lm: LanguageModel, drawn: Task, scores: Scores, batch_size: BatchSize = "auto"
    ) -> Scores:
        """Apply the filters to scores of the drawn items, and record what was chosen.

        Args:
            lm: the model.
            drawn: the items.
            scores: their scores.
            batch_size: prompts per pass of a filter.
        """
        for leave_out in self.filters:
            scores = leave_out(lm, drawn, scores, batch_size)
        found = replace(scores.found_on, method={**scores.found_on.method, **self.choices})
        return replace(scores, found_on=found)

    @property
    def choices(self) -> dict[str, Any]:
        """What it does besides scoring, for the record of an edit."""
        named = [
            getattr(each, "described", getattr(each, "__name__", "filter")) for each in self.filters
        ]
        choices = {"balance": self.balance, "filters": named, "rounds": self.rounds}
        usual = {"balance": "none", "filters": [], "rounds": 1}
        return {name: value for name, value in choices.items() if value != usual[name]}


@cache
def _others() -> EntryPoints:
    """The recipes of other packages; read once, as it takes a tenth of a second."""
    return entry_points(group=GROUP)


def is_recipe(name: str) -> bool:
    """Whether `recipe` knows the name, or would import it."""
    return name in RECIPES or ":" in name or name in _others().names


def recipe(name: str) -> Recipe:
    """The recipe with this name: one of ours, of an entry point, or `module:name`.

    Raises:
        SnipbiasError: there is none.
    """
    if name in RECIPES:
        return RECIPES[name]
    if ":" in name:
        return _imported(name)
    if name in _others().names:
        return _imported(_others()[name].value)
    raise SnipbiasError(
        f"there is no method {name!r}{did_you_mean(name, list(RECIPES))}: use "
        f"{', '.join([*RECIPES][:5])}, or another of snipbias.method.recipes.RECIPES."
    )


def _imported(path: str) -> Recipe:
    """Import a recipe from a user's module, or a scorer, which is then used as in v1."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SnipbiasError(
            f"cannot import {path!r} ({one_line(error)}): write module:name of a scorer or a "
            "Recipe, in a module that Python finds (PYTHONPATH=. for one in this folder)."
        ) from None
    if isinstance(found, Recipe):
        return found
    if not callable(found):
        raise SnipbiasError(f"{path!r} is neither a scorer nor a Recipe: name one.")
    return Recipe(cast("Scorer", found))


def _filter(name: str, setting: Any, combine: Callable[..., Scores], by: Any = None) -> Filter:
    """A filter that combines scores with those of `by`, under a name and setting for records."""

    def apply(lm: LanguageModel, drawn: Task, scores: Scores, batch_size: BatchSize) -> Scores:
        others = () if by is None else (by(lm, drawn, scores, batch_size=batch_size),)
        return combine(scores, *others, setting)

    vars(apply)["described"] = {name: setting}
    return apply


def without_roles(*roles: str) -> Filter:
    """Leave out units with these roles."""
    return _filter("without roles", list(roles), filters.without_roles)


def _largest(lm: LanguageModel, drawn: Task, scores: Scores, **batch: Any) -> Scores:
    return activations.magnitude(lm, drawn, largest=True, **batch)


def _for_text(lm: LanguageModel, drawn: Task, scores: Scores, **batch: Any) -> Scores:
    # Not the text that perplexity is measured on.
    return scorers.text_utility(lm, passages_to_protect(), scores, **batch)


def _for_answers(lm: LanguageModel, drawn: Task, scores: Scores, **batch: Any) -> Scores:
    known = drawn.where(lambda item: item.condition == "disambiguated")
    return scorers.utility(lm, known, **batch)


def crispr(method: Method) -> Scorer:
    """The scorer of a `Method`."""
    return partial(attribute, method=method)


# Leave out the neurons with the largest single activations; those that predicting neutral text
# depends on most; and those that right answers in disambiguated rows depend on most.
without_outliers = _filter("without outliers", 0.01, filters.without_top, _largest)
protect_text = _filter("protect text", 0.05, filters.without_top, _for_text)
protect_answers = _filter("protect answers", 0.05, filters.without_top, _for_answers)
# Subtract what neutral text would lose without a neuron, in nats like the margin.
less_text = _filter("less text", 1.0, filters.less, _for_text)

NO_OUTLIERS = (without_roles(*filters.RESIDUAL, *filters.KEYS),)
INNER = (without_roles(*sorted({*filters.RESIDUAL, *ROLES} - {"up"})),)  # only in the FFN
PROTECTED = (*NO_OUTLIERS, protect_text, protect_answers)

# Share of the gradient through attention probabilities that the damped gap keeps.
DAMPING = 0.25

_paired = partial(Recipe, scorers.paired_contrast, balance="twins")

RECIPES: dict[str, Recipe] = {
    # The paper and its second version.
    "v1": Recipe(crispr(Method.v1())),
    "v2": Recipe(crispr(Method.v2())),
    # The second version as its authors' program computes it.
    "v2 as coded": Recipe(crispr(Method.v2_as_coded())),
    # Section 3.3: the biased text named by hand.
    "manual biased": Recipe(crispr(Method.v1(biased="manual")), balance="biased"),
    # What docs/beyond-the-paper.md arrives at.
    "snipbias": _paired(filters=PROTECTED, objective="no-harm"),
    # Their ablations, and what they build on.
    "v2 mean over tokens": Recipe(crispr(Method.v2(tokens="mean"))),
    "v2 no skill term": Recipe(crispr(Method.v2(skill=0.0))),
    "A(yhat)": Recipe(crispr(Method.v1(skill=0.0))),
    # Alternatives.
    "skill neurons": Recipe(activations.skill_neurons),
    "gap": Recipe(scorers.gap),
    "damped gap": Recipe(partial(scorers.gap, attention=DAMPING)),
    "integrated gap": Recipe(scorers.integrated_gap),
    "magnitude": Recipe(activations.magnitude),
    "know-bias": Recipe(scorers.know_bias, filters=INNER, factors=(1.5, 2.0, 3.0)),
    # One change to v1 at a time.
    "share": Recipe(crispr(Method.v1(target="share"))),
    "log P": Recipe(crispr(Method.v1(target="logprob"))),
    "quantile": Recipe(crispr(Method.v1(tokens="quantile"))),
    "last token": Recipe(crispr(Method.v1(tokens="last"))),
    "prompt tokens": Recipe(crispr(Method.v1(tokens="prompt"))),
    "ranks": Recipe(crispr(Method.v1(instances="rank"))),
    "balanced": Recipe(crispr(Method.v1()), balance="condition"),
    "no residual or keys": Recipe(crispr(Method.v1()), filters=NO_OUTLIERS),
    "no outliers": Recipe(crispr(Method.v1()), filters=(without_outliers,)),
    "protected": Recipe(crispr(Method.v1()), balance="condition", filters=PROTECTED),
    "soft": Recipe(crispr(Method.v1()), factors=(0.0, 0.25, 0.5, 0.75, 1.5)),
    "at mean": Recipe(crispr(Method.v1()), at_mean=True),
    "rounds": Recipe(crispr(Method.v1()), rounds=4),
    # The paired contrast.
    "paired": _paired(),
    "paired clamped": Recipe(partial(scorers.paired_contrast, clamp=True), balance="twins"),
    "paired last token": Recipe(partial(scorers.paired_contrast, tokens="last"), balance="twins"),
    "paired protected": _paired(filters=PROTECTED),
    "paired subtracted": _paired(filters=(less_text,)),
    "paired soft": _paired(filters=NO_OUTLIERS, factors=(0.0, 0.5, 1.5, 2.0)),
    "paired rounds": _paired(filters=NO_OUTLIERS, rounds=4),
}
