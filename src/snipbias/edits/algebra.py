"""Combine edits of one model: union, difference, intersection, scaling.

At each neuron, factors are ordered by their distance from 1, which changes nothing; a neuron that
an edit leaves out comes first. Union takes the stronger and intersection the weaker factor, so
edits form a distributive lattice: both operations are idempotent, commutative and associative, and
each absorbs and distributes over the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from snipbias.base.errors import SnipbiasError
from snipbias.edits.provenance import MadeOf, same_weights
from snipbias.edits.record import EditRecord, by_site
from snipbias.models.sites import Neuron

Edit = TypeVar("Edit", bound=EditRecord)
Factors = dict[Neuron, float]
UNION, INTERSECTION, DIFFERENCE = "union", "intersection", "difference"


def union(*edits: Edit) -> Edit:
    """Every neuron in any of the edits, with the factor farthest from 1.

    The strongest factor, since each edit was found to need that strength; not the product, which
    would change an edit united with itself. Ties go to the smaller factor.

    Raises:
        SnipbiasError: the edits are of different models, or there are none.
    """
    return _combined(UNION, " | ", edits, stronger)


def intersection(*edits: Edit) -> Edit:
    """Only the neurons in all of the edits, with the factor nearest to 1.

    There may be none, and then it changes nothing.

    Raises:
        SnipbiasError: the edits are of different models, or there are none.
    """

    def weaker(a: Factors, b: Factors) -> Factors:
        return {n: min(a[n], b[n], key=_strength) for n in a if n in b}

    return _combined(INTERSECTION, " & ", edits, weaker)


def difference(first: Edit, *others: Edit) -> Edit:
    """The neurons of the first edit that are in none of the others, whatever the factors.

    Raises:
        SnipbiasError: the edits are of different models.
    """

    def without(a: Factors, b: Factors) -> Factors:
        return {n: factor for n, factor in a.items() if n not in b}

    return _combined(DIFFERENCE, " - ", (first, *others), without)


def scaled(edit: Edit, strength: float) -> Edit:
    """The edit at a strength: factor f becomes 1 + strength * (f - 1).

    0 changes nothing and 1 is the edit itself; 2 doubles the change, which flips the sign of a
    pruned neuron. At strength 0 the neurons stay listed.

    Raises:
        SnipbiasError: the strength is not a finite number.
    """
    if not math.isfinite(strength):
        raise SnipbiasError(f"the strength {strength} is not a finite number: give another.")
    # Written so that strength 1 returns the same factors, without rounding.
    factors = {
        site: {unit: strength * factor + (1 - strength) for unit, factor in units.items()}
        for site, units in edit.factors.items()
    }
    part = MadeOf(edit.label, edit.fingerprint, f"scaled by {strength:g}")
    label = f"{strength:g} x ({edit.label})" if edit.made_of else f"{strength:g} x {edit.label}"
    return replace(edit, factors=factors, label=label, made_of=(part,))


COMBINE: Mapping[str, Callable[..., EditRecord]] = {
    UNION: union,
    DIFFERENCE: difference,
    INTERSECTION: intersection,
}


def stronger(a: Factors, b: Factors) -> Factors:
    """Every neuron of either, with the factor farthest from 1."""
    return {n: max((f[n] for f in (a, b) if n in f), key=_strength) for n in {**a, **b}}


def _strength(factor: float) -> tuple[float, float]:
    """Sort key of factors; different factors have different keys."""
    return abs(factor - 1), -factor


def _combined(
    operation: str,
    sign: str,
    edits: tuple[Edit, ...],
    step: Callable[[Factors, Factors], Factors],
) -> Edit:
    if not edits:
        raise SnipbiasError(f"a {operation} needs edits: give at least one.")
    first = edits[0]
    for edit in edits[1:]:
        refuse_other_model(first, edit)
    found = [edit.found_on for edit in edits if edit.found_on]
    factors = reduce(step, (edit.by_neuron for edit in edits))
    return replace(
        first,
        factors=by_site(sorted(factors.items(), key=_place)),
        # Of a difference too, whose neurons depend on what the other edit was found on.
        found_on=reduce(lambda a, b: a if a == b else a + b, found) if found else None,
        label=sign.join(f"({edit.label})" if edit.made_of else edit.label for edit in edits),
        made_of=tuple(MadeOf(edit.label, edit.fingerprint, operation) for edit in edits),
    )


def refuse_other_model(a: EditRecord, b: EditRecord) -> None:
    """Refuse two edits of different models, whose neurons are different things.

    Raises:
        SnipbiasError: architecture, number of neurons or weights differ; names may.
    """
    shapes = {(edit.model.architecture, edit.model.neurons) for edit in (a, b)}
    if len(shapes) > 1 or not same_weights(a.model.weights, b.model.weights):
        raise SnipbiasError(
            f"{a.label!r} was found on {a.model.name} ({a.model.architecture}, weights "
            f"{a.model.weights}) and {b.label!r} on {b.model.name} ({b.model.architecture}, "
            f"weights {b.model.weights}): only edits of the same model can be combined."
        )


def _place(neuron_and_factor: tuple[Neuron, float]) -> tuple[list[tuple[bool, int, str]], int]:
    """Sort key that puts layer 2 before layer 10, for a fingerprint in a fixed order."""
    (site, unit), _ = neuron_and_factor
    parts = re.split(r"(\d+)", site)
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts], unit
