"""Every method of the tables as a function from a cell to an outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from snipbias.edits.controls import layer_matched_edit, random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.evaluate import Evaluation
from snipbias.experiment.baselines import calibration
from snipbias.experiment.baselines.conditional import conditionals
from snipbias.experiment.baselines.fairsteer import gated_by_probes
from snipbias.experiment.baselines.finetuning import tuned
from snipbias.experiment.baselines.learned import learned, lora
from snipbias.experiment.baselines.offset import always_unknown, shifted
from snipbias.experiment.baselines.prompting import PROMPTINGS, prompted
from snipbias.experiment.baselines.steering import steered
from snipbias.experiment.baselines.unibias import most_biased
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import fitted
from snipbias.experiment.outcome import Outcome
from snipbias.experiment.pruned import pruned
from snipbias.experiment.settings import CONDITIONAL, NO_WEIGHT, ORIGINAL, STEERING
from snipbias.method.recipes import RECIPES, recipe
from snipbias.models.language_model import LanguageModel


def _original(cell: Cell) -> Outcome:
    """The unedited model."""
    return replace(cell.outcome(), dev=cell.original_dev.table)


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


def _calibrated(cell: Cell, by: Callable[[Cell], Evaluation]) -> Outcome:
    """A score-only method: the original model's answers, read in another way."""
    return cell.report(cell.relabelled("test", lambda: by(cell).table))


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
    "learned LoRA": lora,
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
