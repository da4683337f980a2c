"""Combine edits of one model: union, difference, intersection.

At each neuron, factors are ordered by their distance from 1, which changes nothing; a neuron that
an edit leaves out comes first. Union takes the stronger and intersection the weaker factor, so
edits form a distributive lattice: both operations are idempotent, commutative and associative, and
each absorbs and distributes over the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from snipbias.base.errors import SnipbiasError
from snipbias.edits.provenance import MadeOf, Provenance, same_weights
from snipbias.edits.record import EditRecord, by_site
from snipbias.models.sites import Neuron

Edit = TypeVar("Edit", bound=EditRecord)
Factors = dict[Neuron, float]


def stronger(a: Factors, b: Factors) -> Factors:
    """Every neuron of either, with the factor farthest from 1; ties go to the smaller factor.

    The strongest factor, since each edit was found to need that strength; not the product, which
    would change an edit united with itself.
    """
    return {n: max((f[n] for f in (a, b) if n in f), key=_strength) for n in {**a, **b}}


def weaker(a: Factors, b: Factors) -> Factors:
    """Only the neurons of both, with the factor nearest to 1; there may be none."""
    return {n: min(a[n], b[n], key=_strength) for n in a if n in b}


def without(a: Factors, b: Factors) -> Factors:
    """The neurons of the first that are not in the second, whatever the factors."""
    return {n: factor for n, factor in a.items() if n not in b}


def _strength(factor: float) -> tuple[float, float]:
    """Sort key of factors; different factors have different keys."""
    return abs(factor - 1), -factor


UNION, INTERSECTION, DIFFERENCE = "union", "intersection", "difference"
# The sign in the label of the result, and what becomes of the factors of two edits.
RULES: dict[str, tuple[str, Callable[[Factors, Factors], Factors]]] = {
    UNION: (" | ", stronger),
    INTERSECTION: (" & ", weaker),
    DIFFERENCE: (" - ", without),
}


def combined(rule: str, *edits: Edit) -> Edit:
    """Several edits as one by a rule of `RULES`, from the first to the last.

    Raises:
        SnipbiasError: the edits are of different models, or there are none.
    """
    if not edits:
        raise SnipbiasError(f"a {rule} needs edits: give at least one.")
    first, (sign, step) = edits[0], RULES[rule]
    for edit in edits[1:]:
        refuse_other_model(first, edit)
    found = [edit.found_on for edit in edits if edit.found_on]
    factors = reduce(step, (edit.by_neuron for edit in edits))
    return replace(
        first,
        factors=by_site(sorted(factors.items(), key=_place)),
        found_on=reduce(_together, found) if found else None,
        label=sign.join(f"({edit.label})" if edit.made_of else edit.label for edit in edits),
        made_of=tuple(MadeOf(edit.label, edit.fingerprint, rule) for edit in edits),
    )


def _together(a: Provenance, b: Provenance) -> Provenance:
    """Both, listing no row twice; of a difference too, whose neurons depend on both."""
    both = a + b
    return a if a == b else replace(both, items=tuple(dict.fromkeys(both.items)))


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
