"""Neurons found by a recipe: how many are pruned, and by which factor, is chosen on dev."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import Intervention
from snipbias.experiment.baselines.change import held_at
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Setting, chosen, in_short, search_sizes
from snipbias.experiment.outcome import Outcome, Point
from snipbias.method.activations import mean_activation
from snipbias.method.recipes import Recipe
from snipbias.models.sites import Neuron

# Edits by number of neurons and factor: Scores.top, but for what it is kept in.
Top = Callable[[int, float], NeuronEdit]


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

    def search(measure: Callable[[Setting], Point]) -> Iterable[Point]:
        # Filters may leave fewer neurons than a size asks for: what is not there is not tried.
        sizes = [n for n in sizes_of(cell) if len(top(n, recipe.factors[0])) == n]
        curve: list[Point] = []
        for factor in sorted(recipe.factors, key=lambda factor: abs(1 - factor)):
            more = {"factor": factor} if len(recipe.factors) > 1 else {}
            measured = partial(_with_n, measure, more)
            curve += search_sizes(sizes, cell.settings.refine, measured)
        # Few neurons first, then the mildest factor: the order in which ties are settled.
        return sorted(curve, key=lambda point: point.setting["n"])

    return chosen(cell, make, search)


def _with_n(measure: Callable[[Setting], Point], more: Setting, n: int) -> Point:
    return measure({"n": n, **more})


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
            for size in filter(None, parts):  # fewer neurons than rounds leave some without any
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
