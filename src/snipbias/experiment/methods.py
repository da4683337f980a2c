"""Every method of the tables as a function from a cell to an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from snipbias.edits.controls import layer_matched_edit, random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.interventions import Intervention
from snipbias.evaluation.evaluate import Evaluation, accuracy
from snipbias.experiment import choose
from snipbias.experiment.baselines import calibration as calibrate
from snipbias.experiment.baselines.ablation import MeanAblation
from snipbias.experiment.baselines.calibration import Given
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Setting, chosen, in_short
from snipbias.experiment.outcome import Outcome, Point, named
from snipbias.experiment.rivals import RIVALS
from snipbias.experiment.settings import NO_WEIGHT, ORIGINAL
from snipbias.method.activations import mean_activation
from snipbias.method.recipes import RECIPES, Recipe, recipe
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Neuron

# Edits by number of neurons and factor: Scores.top, but for what it is kept in.
Top = Callable[[int, float], NeuronEdit]


def _original(cell: Cell) -> Outcome:
    """The unedited model."""
    return replace(cell.outcome(), dev=cell.original_dev.table)


# -- neurons -------------------------------------------------------------------------------------


def pruned(cell: Cell, recipe: Recipe) -> Outcome:
    """Find neurons by a recipe on the trial's sample; choose n (and the factor) on dev."""
    if recipe.objective is not None:
        cell = replace(cell, settings=replace(cell.settings, objective=recipe.objective))
    top = (_by_rounds if recipe.rounds > 1 else _by_rank)(cell, recipe)
    means = cache(partial(_means, cell, recipe))

    def make(setting: Setting) -> Intervention:
        edit = top(int(setting["n"]), setting.get("factor", recipe.factors[0]))
        return MeanAblation(edit, means()) if recipe.at_mean else edit

    def search(measure: Callable[[Setting], Point]) -> Iterable[Point]:
        several, refine = len(recipe.factors) > 1, cell.settings.refine
        # Filters may leave fewer neurons than a size asks for: what is not there is not tried.
        sizes = [n for n in sizes_of(cell) if len(top(n, recipe.factors[0])) == n]
        curves = [
            choose.search_sizes(sizes, refine, lambda n, more=more: measure({"n": n, **more}))
            for factor in sorted(recipe.factors, key=lambda factor: abs(1 - factor))
            for more in [{"factor": factor} if several else {}]
        ]
        # Few neurons first, then the mildest factor: the order in which ties are settled.
        return sorted((p for curve in curves for p in curve), key=lambda p: p.setting["n"])

    return chosen(cell, make, search)


def sizes_of(cell: Cell) -> list[int]:
    """The numbers of neurons to try: of the settings', those that the model has."""
    there = sum(site.width for site in cell.lm.sites)
    return [n for n in cell.settings.sizes if n <= there]


def _by_rank(cell: Cell, recipe: Recipe) -> Top:
    """The highest-scoring neurons, of which as many are kept as any size asks for.

    All scores of a large model would be a hundred times the size.
    """

    def compute() -> dict[str, Any]:
        scores = cell.found(recipe.scores, recipe.balance)
        most = min(max(sizes_of(cell)), scores.allowed)
        return {"order": scores.ranking(most), "edit": scores.top(most).to_dict()}

    stored = cell.store.value(cell.key("ranking"), compute)
    order = [Neuron(*neuron) for neuron in stored["order"]]
    return partial(_top, cell.method, order, NeuronEdit.from_dict(stored["edit"]))


def _by_rounds(cell: Cell, recipe: Recipe) -> Top:
    """Prune a part of the neurons, score again without them, and so on."""

    def top(n: int, factor: float) -> NeuronEdit:
        def compute() -> dict[str, Any]:
            edit: NeuronEdit | None = None
            for size in np.diff(np.linspace(0, n, recipe.rounds + 1).round().astype(int)):
                with nullcontext() if edit is None else edit.applied(cell.lm):
                    scores = cell.found(recipe.scores, recipe.balance)
                before = [] if edit is None else edit.neurons
                best = scores.ranking(min(len(before) + int(size), scores.allowed))
                more = [neuron for neuron in best if neuron not in before][: int(size)]
                edit = _top(cell.method, [*before, *more], scores.top(1), n, factor)
            assert edit is not None
            return edit.to_dict()

        key = cell.key(f"rounds-{in_short({'n': n, 'factor': factor})}")
        return NeuronEdit.from_dict(cell.store.value(key, compute))

    return top


def _top(
    method: str, order: Sequence[Neuron], like: NeuronEdit, n: int, factor: float
) -> NeuronEdit:
    """The first n neurons, scaled, under a method's name."""
    label = f"{method} n={n}"
    return NeuronEdit.of(order[:n], like.model, factor, like.found_on, label)


def _means(cell: Cell, recipe: Recipe) -> dict[str, Any]:
    found = cell.found(mean_activation, recipe.balance)
    return {site.name: found[site] for site in found.sites}


def _drawn(cell: Cell, control: Callable[[LanguageModel, NeuronEdit, int], NeuronEdit]) -> Outcome:
    """A random control of the edit that the preset's own method found in the same trial."""
    found = method_named(cell.settings.method)(cell.of(cell.settings.method)).edit
    if found is None:
        return cell.unchanged()
    seed = cell.seed * cell.settings.draws + cell.draw
    edit = control(cell.lm, found, seed)
    return cell.outcome(lambda: edit, edit=edit, chosen={"n": len(edit)})


def _random(lm: LanguageModel, edit: NeuronEdit, seed: int) -> NeuronEdit:
    factors = [factor for units in edit.factors.values() for factor in units.values()]
    same = len(set(factors)) == 1
    return random_edit(lm, len(edit), seed, factors[0] if same else factors)


# -- scores alone --------------------------------------------------------------------------------


def _calibrated(cell: Cell, by: Callable[[Given], Evaluation]) -> Outcome:
    """A score-only method: the original model's answers, read in another way."""

    def calibrated() -> pa.Table:
        given = (cell.lm, cell.test, cell.original, cell.dev)
        return by(Given(*given, cell.batch_size, cell.settings.seed)).table

    return cell.report(cell.relabelled("test", calibrated))


def _shifted(cell: Cell, *, by_wording: bool = False) -> Outcome:
    """The offset control, its constant chosen on dev; so are those of the wordings of "unknown"."""
    before = accuracy(cell.original_dev.table)
    objective = partial(choose.objective, settings=cell.settings, original=before)
    dev, test, extra = cell.original_dev, cell.original, {}
    if by_wording:
        constants = calibrate.constants(dev, cell.dev)
        dev = calibrate.levelled(dev, cell.dev, constants)
        test = calibrate.levelled(test, cell.test, constants)
        extra = {"wordings": len(constants)}
    found = calibrate.choose_offset(dev, objective)
    if found is None:  # no row of this task has an unknown option
        return replace(cell.unchanged(), text=None, chat=None, retention={}, elsewhere={})
    constant = found.offset
    dev = calibrate.offset(dev, constant)
    rows = cell.relabelled("test", lambda: calibrate.offset(test, constant).table)
    setting, goal = {"offset": constant, **extra}, objective(found.accuracy)
    point = Point(setting, found.overall, found.ambiguous, found.disambiguated, goal)
    return cell.report(rows, dev=named(dev.table, cell.method), chosen=setting, curve=(point,))


def _same_as(cell: Cell, other: str) -> Outcome:
    """Another method's outcome under this one's name: nothing is computed twice."""
    return method_named(other)(cell.of(other)).renamed(cell.method)


def method_named(name: str) -> Callable[[Cell], Outcome]:
    """A method of the table below, or the pruning by a recipe of one's own."""
    return METHODS[name] if name in METHODS else partial(pruned, recipe=recipe(name))


METHODS: dict[str, Callable[[Cell], Outcome]] = {
    ORIGINAL: _original,
    **{name: partial(pruned, recipe=each) for name, each in RECIPES.items()},
    NO_WEIGHT: partial(_same_as, other="v1"),
    "random": partial(_drawn, control=_random),
    "layer-matched random": partial(_drawn, control=layer_matched_edit),
    **RIVALS,
    "CC": partial(_calibrated, by=calibrate.cc),
    "DC": partial(_calibrated, by=calibrate.dc),
    "batch calibration": partial(_calibrated, by=calibrate.batch_calibration),
    "permutation averaging": partial(_calibrated, by=calibrate.permutation_averaging),
    "less no context": partial(_calibrated, by=calibrate.no_context),
    "offset": _shifted,
    "offset by wording": partial(_shifted, by_wording=True),
    "always unknown": partial(_calibrated, by=calibrate.always_unknown),
}
