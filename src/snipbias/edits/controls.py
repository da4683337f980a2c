"""Random controls to compare every edit with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import SAME_LAYERS, plural
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import GivenModel, as_model
from snipbias.edits.provenance import ModelId
from snipbias.edits.record import by_site
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import neuron_at


def random_edit(
    lm: GivenModel, n: int, seed: int = 0, factor: float | Sequence[float] = 0.0
) -> NeuronEdit:
    """Scale `n` neurons drawn evenly from the whole model.

    Args:
        lm: the model.
        n: number of neurons.
        seed: seed of the draw.
        factor: one factor for all neurons, or one per neuron (a learned edit's), dealt at random.

    Raises:
        SnipbiasError: the model has fewer neurons.
    """
    lm = as_model(lm)
    total = sum(site.width for site in lm.sites)
    if n not in range(1, total + 1):
        raise SnipbiasError(f"asked for {n} of {total} neurons: ask for 1 to {total}.")
    rng = random.Random(seed)
    drawn = rng.sample(range(total), n)
    neurons = [neuron_at(lm.sites, index) for index in sorted(drawn)]
    if isinstance(factor, Sequence):
        if len(factor) < n:
            raise SnipbiasError(f"there are {len(factor)} factors for {n} neurons: give one each.")
        factors, how = rng.sample(list(factor), n), ", factors dealt out"
    else:
        factors, how = [float(factor)] * n, "" if factor == 0 else f" x {factor:g}"
    label = f"{plural(n, 'random neuron')}{how}{_draw(seed)}"
    dealt = by_site(zip(neurons, factors, strict=True))
    return NeuronEdit(dealt, ModelId.of(lm), label=label)


def layer_matched_edit(lm: LanguageModel, edit: NeuronEdit, seed: int = 0) -> NeuronEdit:
    """Scale as many random neurons of each site as the edit has there, by the edit's factors.

    They are drawn from the neurons that the edit leaves alone. Where it takes more than half of a
    site, these do not suffice, and some of its own are drawn too.

    Args:
        lm: the model.
        edit: the edit to match.
        seed: seed of the draw.
    """
    edit.check(lm)
    widths = {site.name: site.width for site in lm.sites}
    rng = random.Random(seed)
    factors: dict[str, dict[int, float]] = {}
    for site, units in edit.factors.items():
        others = [unit for unit in range(widths[site]) if unit not in units]
        short = max(0, len(units) - len(others))
        drawn = rng.sample(others, len(units) - short) + rng.sample(sorted(units), short)
        factors[site] = dict(zip(drawn, units.values(), strict=True))
    return NeuronEdit(factors, ModelId.of(lm), label=f"{SAME_LAYERS} as {edit.label}{_draw(seed)}")


def _draw(seed: int) -> str:
    """The first draw needs no number."""
    return f", draw {seed + 1}" if seed else ""


def controls_of(
    lm: LanguageModel, edits: Sequence[NeuronEdit], seeds: Iterable[int]
) -> list[NeuronEdit]:
    """Random neurons for each size of edit, and layer-matched random neurons for each edit.

    Args:
        lm: the model.
        edits: edits whose sizes and factors the controls share.
        seeds: one draw of each control per seed.
    """
    kinds: dict[tuple[int, float | tuple[float, ...]], None] = {}  # distinct sizes and factors
    for edit in edits:
        factors = tuple(sorted(edit.by_neuron.values()))
        kinds[len(edit), factors[0] if len(set(factors)) == 1 else factors] = None
    drawn = []
    for seed in seeds:
        drawn += [random_edit(lm, n, seed, factor) for n, factor in kinds]
        drawn += [layer_matched_edit(lm, edit, seed) for edit in edits]
    return drawn
