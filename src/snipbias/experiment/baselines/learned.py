"""Learned factors and their baselines: grafting, one step, random neurons, a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.experiment.baselines.change import Change
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import chosen
from snipbias.experiment.outcome import Outcome
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import check
from snipbias.method.learned.factors import Factors, LowRank, upper_sites
from snipbias.method.learned.learn import gather, learn
from snipbias.method.learned.train import Training, TrainingJob, train
from snipbias.models.language_model import LanguageModel

RANK = 8


def learned(cell: Cell, pick: str, sized: bool) -> Outcome:
    """An edit of trained factors; a pick that keeps a number of neurons keeps the largest size.

    Args:
        pick: as `learn` takes it.
        sized: whether it keeps a number of neurons.
    """
    there = _trainable(cell.lm)
    sizes = [n for n in sorted(cell.settings.sizes) if n <= there][-1:] if sized else []

    def compute() -> list[dict[str, Any]]:
        try:
            how = Training(steps=cell.settings.steps)
            found = learn(cell.lm, cell.task, sizes, pick=pick, training=how, seed=cell.seed)
        except SnipbiasError:  # nothing that does no harm: the model stays as it is
            return []
        return [edit.to_dict() for edit in found.edits.values()]

    stored = cell.store.value(cell.key("edits"), compute)
    edits = {len(edit): edit for edit in map(NeuronEdit.from_dict, stored)}
    if not edits:
        return cell.unchanged()

    tried = [{"n": n} for n in sorted(edits)]
    outcome = chosen(cell, lambda s: edits[int(s["n"])], lambda measure: map(measure, tried))
    fitted = 0 if outcome.edit is None else numbers_fitted(cell.lm, pick, len(outcome.edit))
    return replace(outcome, trained=fitted)


def numbers_fitted(lm: LanguageModel, pick: str, n: int) -> int:
    """How many numbers a pick fits: a factor, or a score in the mask, per neuron it trains.

    Args:
        pick: as in `learn`.
        n: number of neurons kept.
    """
    if pick == "first order":
        return 0
    return n if pick == "learned random" else _trainable(lm)


def _trainable(lm: LanguageModel) -> int:
    return sum(site.width for site in upper_sites(lm))


def lora(cell: Cell) -> Outcome:
    """A LoRA trained by the same losses, for as many steps, on the same rows: the ceiling."""
    lm, seed = cell.lm, cell.seed
    how = Training(steps=cell.settings.steps, rate=0.003)

    @cache
    def trained() -> LowRank:
        sites = upper_sites(lm)
        with torch.inference_mode(False), lm.frozen():
            _, material = gather(Below(lm, sites), [cell.task], 2, seed, how)
            original = check(Factors(lm, sites), material)
            factors = LowRank(lm, sites, RANK, seed)
            train(TrainingJob(material, how, original, seed=seed), factors)
        return factors

    @contextmanager
    def applied(lm: LanguageModel) -> Iterator[None]:
        with torch.no_grad(), trained().applied():
            yield

    def make() -> Change:
        trained()  # before a pass in which nothing can be trained
        return Change(cell.method, applied)

    # A part of its own, so that its passes count as training and not as answers.
    fitted = cell.store.value(cell.key("training"), lambda: trained().change.numel())
    return cell.outcome(make, trained=fitted)
