"""Neurons that edits of one model share, compared with chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import hypergeom

from snipbias.base.errors import SnipbiasError
from snipbias.edits.algebra import refuse_other_model
from snipbias.edits.edit import NeuronEdit
from snipbias.models.places import Place
from snipbias.models.sites import Neuron, Site, module_by_name


@dataclass(frozen=True)
class Pair:
    """The neurons that two edits share.

    Attributes:
        first, second: their labels.
        sizes: number of neurons of each.
        shared: number of neurons in both.
        same_factor: how many of these have the same factor.
        jaccard: shared neurons divided by those in either; None if both are empty.
        expected: mean number that two random draws of these sizes from the whole model share.
        p: how often they share as many or more (hypergeometric, one-sided).
        expected_in_sites, p_in_sites: the same for draws that keep each edit's number of neurons
            per site; None if the widths of the sites are not known. Edits concentrate in few
            sites, so this is the stricter comparison.
    """

    first: str
    second: str
    sizes: tuple[int, int]
    shared: int
    same_factor: int
    jaccard: float | None
    expected: float
    p: float
    expected_in_sites: float | None = None
    p_in_sites: float | None = None


@dataclass(frozen=True)
class Overlap:
    """The neurons that each pair of edits shares, and where all of them are.

    Attributes:
        labels: labels of the edits, in order.
        neurons: number of neurons of the model.
        in_all: number of neurons in every edit.
        in_any: number of neurons in at least one edit.
        pairs: the comparison of each pair.
        places: place -> each edit's number of neurons there, then how many of these are in at
            least two edits.
    """

    labels: tuple[str, ...]
    neurons: int
    in_all: int
    in_any: int
    pairs: tuple[Pair, ...]
    places: Mapping[Place, tuple[int, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        places = [
            {
                "stack": place.side,
                "layer": place.layer,
                "module": place.module,
                "neurons": dict(zip(self.labels, counts[:-1], strict=True)),
                "shared": counts[-1],
            }
            for place, counts in self.places.items()
        ]
        pairs = [asdict(pair) for pair in self.pairs]
        return {**vars(self), "labels": list(self.labels), "pairs": pairs, "places": places}


def overlap(*edits: NeuronEdit, sites: Sequence[Site] = ()) -> Overlap:
    """Compare edits pair by pair and place by place.

    Args:
        edits: at least two, of the same model, with labels that differ.
        sites: `sb.sites(lm)`, for the roles inside fused layers and the comparison within sites;
            without them a fused layer is one module.

    Raises:
        SnipbiasError: there are fewer than two, they are of different models or another model than
            the sites, or two share a label.
    """
    if len(edits) < 2:
        raise SnipbiasError(f"an overlap needs at least two edits: {len(edits)} given.")
    labels = tuple(edit.label for edit in edits)
    if len(set(labels)) < len(labels):
        raise SnipbiasError(f"two edits have the same label ({', '.join(labels)}): relabel one.")
    for edit in edits[1:]:
        refuse_other_model(edits[0], edit)
    known = {site.name: site for site in sites}
    for edit in edits if known else ():
        for site, units in edit.factors.items():
            if site not in known or max(units) >= known[site].width:
                raise SnipbiasError(
                    f"{edit.label!r} was found on {edit.model.name} and does not fit the model "
                    f"given, which has no {site} of that width: give its own model."
                )
    every = [edit.by_neuron for edit in edits]
    holders = Counter(neuron for factors in every for neuron in factors)
    groups = [*every, [neuron for neuron, count in holders.items() if count > 1]]
    counts = [Counter(_place(neuron, known) for neuron in group) for group in groups]
    places = sorted({place for count in counts for place in count})
    places.sort(key=lambda place: place.side, reverse=True)  # the encoder first
    return Overlap(
        labels=labels,
        neurons=edits[0].model.neurons,
        in_all=sum(count == len(edits) for count in holders.values()),
        in_any=len(holders),
        pairs=tuple(_pair(a, b, known) for a, b in combinations(edits, 2)),
        places={place: tuple(count[place] for count in counts) for place in places},
    )


def _place(neuron: Neuron, sites: Mapping[str, Site]) -> Place:
    if neuron.site not in sites:
        return Place(*module_by_name(neuron.site))
    site = sites[neuron.site]
    return Place(site.side, site.layer, f"{site.block} {site.role(neuron.unit)}")


def _pair(a: NeuronEdit, b: NeuronEdit, sites: Mapping[str, Site]) -> Pair:
    one, two = a.by_neuron, b.by_neuron
    both = one.keys() & two.keys()
    whole = hypergeom(a.model.neurons, len(one), len(two))
    in_sites = _in_sites(one, two, sites) if sites else None
    either = len(one.keys() | two.keys())
    return Pair(
        first=a.label,
        second=b.label,
        sizes=(len(one), len(two)),
        shared=len(both),
        same_factor=sum(one[neuron] == two[neuron] for neuron in both),
        jaccard=len(both) / either if either else None,
        expected=float(whole.mean()),
        p=float(whole.sf(len(both) - 1)),
        expected_in_sites=None if in_sites is None else float(in_sites @ np.arange(len(in_sites))),
        p_in_sites=None if in_sites is None else min(1.0, float(in_sites[len(both) :].sum())),
    )


def _in_sites(
    one: Iterable[Neuron], two: Iterable[Neuron], sites: Mapping[str, Site]
) -> Float[np.ndarray, " shared"]:
    """Probability of each number of shared neurons if each site's are redrawn within it."""
    first, second = (Counter(neuron.site for neuron in neurons) for neurons in (one, two))
    chances = np.ones(1)
    for site in (site for site in first if site in second):  # in a fixed order: the same bytes
        a, b = first[site], second[site]
        here = hypergeom.pmf(np.arange(min(a, b) + 1), sites[site].width, a, b)
        chances = np.convolve(chances, here)
    return chances
