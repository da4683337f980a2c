"""Scores: one number per neuron, which can be added up over parts of the work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.table import SHOWN, Grid, Shown
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, Provenance
from snipbias.method import equations as crispr
from snipbias.method.equations import Method, Scoring
from snipbias.models.places import count_places, neuron_map
from snipbias.models.sites import Neuron, Site, neuron_at

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from snipbias.models.language_model import LanguageModel
    from snipbias.tasks.items import Task


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Shown):
    """Bias scores of all neurons, kept as sums so that two halves of the work add to the whole.

    Attributes:
        sites: the model's sites, in order.
        sums: site -> weighted sums over instances, one row per instruction, in float64.
        counts: number of instances per instruction.
        method: how they were computed.
        found_on: the task, templates and rows they were computed on.
        model: the model they belong to.
    """

    sites: tuple[Site, ...]
    sums: Mapping[str, Float[Tensor, "i d"]]
    counts: Int[Tensor, " i"]
    method: Method | Scoring
    found_on: Provenance
    model: ModelId

    @classmethod
    def zeros(cls, lm: LanguageModel, task: Task, method: Method | Scoring) -> Scores:
        """Scores over no instance, to which batches are added.

        Args:
            task: the task, for the number of instructions and the provenance.
            method: how the scores will be computed.
        """
        shape = len(task.instructions)
        return cls(
            sites=lm.sites,
            sums={s.name: torch.zeros(shape, s.width, dtype=torch.float64) for s in lm.sites},
            counts=torch.zeros(shape, dtype=torch.long),
            method=method,
            found_on=Provenance.of(task, method.to_dict()),
            model=ModelId.of(lm),
        )

    def add(
        self, bias: Mapping[str, Float[Tensor, "b d"]], instructions: Int[Tensor, " b"]
    ) -> None:
        """Add a batch's scores; `instructions` gives the index of each instance's instruction."""
        for site, values in bias.items():
            rows = torch.zeros_like(self.sums[site], device=values.device)
            rows.index_add_(0, instructions.to(values.device), values)
            self.sums[site].add_(rows.cpu())
        self.counts.add_(instructions.bincount(minlength=len(self.counts)))

    def __add__(self, other: Scores) -> Scores:
        """Scores over both parts' instances.

        Raises:
            SnipbiasError: their models, methods or numbers of instructions differ.
        """
        if self._kind != other._kind:
            raise SnipbiasError(
                "scores of different models, methods or numbers of instructions cannot be added: "
                "compute both with the same ones."
            )
        return replace(
            self,
            sums={site: total + other.sums[site] for site, total in self.sums.items()},
            counts=self.counts + other.counts,
            found_on=self.found_on + other.found_on,
        )

    @property
    def _kind(self) -> tuple[object, ...]:
        """What scores must share to be added; the model's name may differ."""
        return self.method, self.sites, self.model.weights, len(self.counts)

    def __getitem__(self, site: str | Site) -> Float[Tensor, " d"]:
        """The scores of one site's neurons."""
        name = site.name if isinstance(site, Site) else site
        if name not in self.sums:
            raise SnipbiasError(f"there is no site {name!r}: see sb.sites(lm) for their names.")
        return crispr.over_instructions(self.sums[name], self.counts, self.method.instructions)

    @cached_property
    def flat(self) -> Float[Tensor, " n"]:
        """All neurons' scores, site after site."""
        return torch.cat([self[site] for site in self.sites])

    def __len__(self) -> int:
        """Number of neurons."""
        return sum(site.width for site in self.sites)

    def __repr__(self) -> str:
        task, instances = self.found_on.task, int(self.counts.sum())
        return f"<Scores {self.method.name}: {len(self):,} neurons, {instances} prompts of {task}>"

    def _shown(self) -> Iterator[Grid]:
        best = self.ranking(min(SHOWN, self.allowed))
        yield Grid(
            f"{self!r}"[1:-1],
            ("rank", "site", "unit", "score"),
            tuple(
                (str(rank), site, str(unit), f"{self[site][unit]:.4g}")
                for rank, (site, unit) in enumerate(best, start=1)
            ),
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        for site in self.sites:
            for unit, score in enumerate(self[site].tolist()):
                yield {"site": site.name, "unit": unit, "score": score}

    def plot(self, n: int = 100) -> Figure:
        """Where the `n` neurons with the highest scores sit."""
        there = count_places(self.sites, [self.ranking(min(n, self.allowed))])
        return neuron_map(there, f"The top {n} of {self.method.name}").drawn()

    def keep(self, allowed: Mapping[str, Bool[Tensor, " d"]]) -> Scores:
        """The scores, with every neuron that is not allowed ranked behind all others.

        Args:
            allowed: site -> which neurons may be picked; none of a site that is left out.
        """
        nobody = torch.zeros(1, dtype=torch.bool)
        return replace(
            self,
            sums={
                site: total.masked_fill(~allowed.get(site, nobody), -torch.inf)
                for site, total in self.sums.items()
            },
        )

    @property
    def allowed(self) -> int:
        """Number of neurons that may be picked: all except those that a filter left out."""
        return int((self.flat > -torch.inf).sum())

    def ranking(self, n: int) -> list[Neuron]:
        """The `n` neurons with the highest scores; ties go to the earlier site and unit.

        Raises:
            SnipbiasError: `n` is not between 1 and the number of neurons that may be picked.
        """
        there = self.allowed
        if n not in range(1, there + 1):
            raise SnipbiasError(f"asked for {n} of {there} neurons: ask for 1 to {there}.")
        order = self.flat.sort(descending=True, stable=True).indices[: int(n)]
        return [neuron_at(self.sites, int(i)) for i in order]

    def top(self, n: int, factor: float = 0.0) -> NeuronEdit:
        """The edit that scales the `n` highest-scoring neurons by `factor` (0 prunes)."""
        label = f"{self.method.name} n={n}"
        return NeuronEdit.of(self.ranking(n), self.model, factor, self.found_on, label)

    def save(self, path: str | Path) -> None:
        """Write sums, counts and provenance to a safetensors file."""
        described = {
            "method": self.method.to_dict(),
            "is_crispr": isinstance(self.method, Method),
            "found_on": asdict(self.found_on),
            "model": asdict(self.model),
        }
        tensors = {"counts": self.counts, **{f"sum/{site}": t for site, t in self.sums.items()}}
        with atomic_file(path) as new:
            new.write_bytes(save(tensors, {"snipbias": json.dumps(described)}))

    @classmethod
    def load(cls, path: str | Path, sites: tuple[Site, ...]) -> Scores:
        """Read scores of a model with these sites.

        Raises:
            SnipbiasError: there are none, they are damaged, or they belong to another model.
        """
        try:
            with safe_open(path, "pt") as file:
                described = json.loads(file.metadata()["snipbias"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            of_crispr, method = described["is_crispr"], dict(described["method"])
            scores = cls(
                sites=sites,
                sums={site.name: tensors[f"sum/{site.name}"] for site in sites},
                counts=tensors["counts"],
                method=Method(**method) if of_crispr else Scoring(method.pop("name"), method),
                found_on=Provenance.from_dict(described["found_on"]),
                model=ModelId(**described["model"]),
            )
        except Exception as error:  # a damaged file fails in many ways
            raise SnipbiasError(
                f"{path} does not hold scores of this model ({error}): attribute again."
            ) from None
        instructions = len(scores.counts) if scores.counts.dim() == 1 else -1
        shapes = [(instructions, site.width) for site in sites]
        if [tuple(total.shape) for total in scores.sums.values()] != shapes:
            raise SnipbiasError(f"{path} holds scores of another model: attribute again.")
        return scores

    def check(self) -> None:
        """Refuse scores by which neurons cannot be ranked.

        Raises:
            SnipbiasError: one is not finite, or all are 0.
        """
        for site, total in self.sums.items():
            if not torch.isfinite(total).all():
                raise SnipbiasError(
                    f"scores of {site} are not finite: the model overflows in its number type; "
                    "load it in a wider one (--dtype float32 or bfloat16)."
                )

        if not any(total.any() for total in self.sums.values()):
            raise SnipbiasError(
                "every score is 0, so neurons cannot be ranked: if the options' probabilities are "
                "so small that they vanish, attribute their logarithms (--target logprob)."
            )
