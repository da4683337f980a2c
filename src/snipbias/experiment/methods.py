"""Every method of the tables as a function from a cell to an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from snipbias.base.words import ORIGINAL
from snipbias.edits.controls import layer_matched_edit, random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import Intervention
from snipbias.evaluation.evaluate import Evaluation
from snipbias.experiment.baselines import calibration
from snipbias.experiment.baselines.change import held_at
from snipbias.experiment.baselines.conditional import conditionals
from snipbias.experiment.baselines.fairsteer import gated_by_probes
from snipbias.experiment.baselines.offset import always_unknown, shifted
from snipbias.experiment.baselines.prompting import PROMPTINGS, prompted
from snipbias.experiment.baselines.steering import steered
from snipbias.experiment.baselines.trained import learned, learned_lora, tuned
from snipbias.experiment.baselines.unibias import most_biased
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Measure, Setting, chosen, fitted, in_short, refined
from snipbias.experiment.outcome import Outcome, Point
from snipbias.experiment.settings import CONDITIONAL, NO_WEIGHT, STEERING
from snipbias.method.activations import mean_activation
from snipbias.method.recipes import RECIPES, Recipe, recipe
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Neuron

# Edits by number of neurons and factor: Scores.top, but for what it is kept in.
Top = Callable[[int, float], NeuronEdit]


def _original(cell: Cell) -> Outcome:
    """The unedited model."""
    return replace(cell.outcome(), dev=cell.original_dev.table)


def pruned(cell: Cell, recipe: Recipe) -> Outcome:
    """Find neurons by a recipe on the trial's sample; choose n (and the factor) on dev."""
    if recipe.objective is not None:
        cell = replace(cell, settings=replace(cell.settings, objective=recipe.objective))
    top = (_by_rounds if recipe.rounds > 1 else _by_rank)(cell, recipe)

    @cache
    def means() -> dict[str, Any]:
        found = cell.found(mean_activation, recipe.balance)
        return {site.name: found[site] for site in found.sites}

    def make(setting: Setting) -> Intervention:
        edit = top(int(setting["n"]), setting.get("factor", recipe.factors[0]))
        return held_at(edit, means()) if recipe.at_mean else edit

    def search(measure: Measure) -> Iterable[Point]:
        # Filters may leave fewer neurons than a size asks for: what is not there is not tried.
        sizes = [n for n in sizes_of(cell) if len(top(n, recipe.factors[0])) == n]
        curve: list[Point] = []
        for factor in sorted(recipe.factors, key=lambda factor: abs(1 - factor)):
            more = {"factor": factor} if len(recipe.factors) > 1 else {}
            sized = [{"n": n, **more} for n in sizes]
            curve += refined(sized, cell.settings.refine, measure)
        # Few neurons first, then the mildest factor: the order in which ties are settled.
        return sorted(curve, key=lambda point: point.setting["n"])

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
            parts = np.diff(np.linspace(0, n, recipe.rounds + 1).round().astype(int)).tolist()
            for size in parts:
                if edit is None and size == 0:
                    continue  # with fewer neurons than rounds, the first may have none
                with nullcontext() if edit is None else edit.applied(cell.lm):
                    scores = cell.found(recipe.scores, recipe.balance)
                before = [] if edit is None else edit.neurons
                best = scores.ranking(min(len(before) + size, scores.allowed))
                more = [neuron for neuron in best if neuron not in before][:size]
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
    return NeuronEdit.of(order[:n], like.model, factor, like.found_on, f"{method} n={n}")


def _drawn(cell: Cell, control: Callable[[LanguageModel, NeuronEdit, int], NeuronEdit]) -> Outcome:
    """A random control of the edit that the preset's own method found in the same trial."""
    found = outcome_of(cell.of(cell.settings.method)).edit
    if found is None:
        return cell.unchanged()
    seed = cell.seed * cell.settings.draws + cell.draw
    edit = control(cell.lm, found, seed)
    return cell.outcome(lambda: edit, edit=edit, chosen={"n": len(edit)})


def _random(lm: LanguageModel, edit: NeuronEdit, seed: int) -> NeuronEdit:
    factors = list(edit.by_neuron.values())
    same = len(set(factors)) == 1
    return random_edit(lm, len(edit), seed, factors[0] if same else factors)


def _calibrated(cell: Cell, by: Callable[[Cell], Evaluation]) -> Outcome:
    """A score-only method: the original model's answers, read in another way."""
    return cell.report(cell.relabelled("test", lambda: by(cell).table))


def _same_as(cell: Cell, other: str) -> Outcome:
    """Another method's outcome under this one's name: nothing is computed twice."""
    return outcome_of(cell.of(other)).renamed(cell.method)


def outcome_of(cell: Cell) -> Outcome:
    """The outcome of the cell's method: of the table below, or a recipe of one's own."""
    method = METHODS.get(cell.method)
    return method(cell) if method else pruned(cell, recipe(cell.method))


METHODS: dict[str, Callable[[Cell], Outcome]] = {
    ORIGINAL: _original,
    **{name: partial(pruned, recipe=each) for name, each in RECIPES.items()},
    NO_WEIGHT: partial(_same_as, other="v1"),
    "random": partial(_drawn, control=_random),
    "layer-matched random": partial(_drawn, control=layer_matched_edit),
    # From other papers.
    STEERING: partial(fitted, fit=steered),
    "FairSteer": partial(fitted, fit=gated_by_probes),
    "UniBias": partial(fitted, fit=most_biased),
    "LoRA": partial(fitted, fit=partial(tuned, kind="LoRA")),
    "(IA)3": partial(fitted, fit=partial(tuned, kind="(IA)3")),
    **{name: partial(prompted, way=way) for name, way in PROMPTINGS.items()},
    # Trained factors, what they are compared with, and an experimental edit.
    "learned": partial(learned, pick="learned", sized=False),
    "learned random": partial(learned, pick="learned random", sized=True),
    "grafting": partial(learned, pick="grafting", sized=True),
    "first order": partial(learned, pick="first order", sized=False),
    "learned LoRA": learned_lora,
    CONDITIONAL: partial(fitted, fit=conditionals),
    # Scores alone.
    "CC": partial(_calibrated, by=calibration.cc),
    "DC": partial(_calibrated, by=calibration.dc),
    "batch calibration": partial(_calibrated, by=calibration.batch_calibration),
    "permutation averaging": partial(_calibrated, by=calibration.permutation_averaging),
    "less no context": partial(_calibrated, by=calibration.no_context),
    "offset": shifted,
    "offset by wording": partial(shifted, by_wording=True),
    "always unknown": partial(_calibrated, by=always_unknown),
}
