"""An edit as data, without a model: neurons, their factors, and where they come from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import SnipbiasError
from snipbias.edits import format as edit_json
from snipbias.edits.provenance import MadeOf, ModelId, Provenance
from snipbias.models.sites import Neuron

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class EditRecord:
    """The data of a `NeuronEdit`: what its file holds, its card says and its algebra combines.

    Attributes:
        factors: site -> unit -> factor; 0 prunes, 1 changes nothing.
        model: the model it was found on.
        found_on: the rows it was found on; None for a control.
        label: its name in tables.
        made_of: the edits that it was made from, if any.
    """

    factors: Mapping[str, Mapping[int, float]]
    model: ModelId
    found_on: Provenance | None = None
    label: str = "edit"
    made_of: tuple[MadeOf, ...] = ()

    @classmethod
    def of(
        cls,
        neurons: Iterable[Neuron],
        model: ModelId,
        factor: float = 0.0,
        found_on: Provenance | None = None,
        label: str = "edit",
    ) -> Self:
        """An edit that scales all neurons by one factor.

        Args:
            neurons: the neurons.
            model: the model they belong to.
            factor: factor of every neuron; 0 prunes.
            found_on: the data they were found on, if any.
            label: its name in tables.
        """
        factors = by_site((neuron, float(factor)) for neuron in neurons)
        return cls(factors, model, found_on, label)

    def __post_init__(self) -> None:
        for site, units in self.factors.items():
            if not units:
                raise SnipbiasError(f"{site} is listed without neurons: leave the site out.")
            for unit, factor in units.items():
                if not isinstance(unit, (int, Integral)):  # int first: the other one is slow
                    raise SnipbiasError(f"{site} has no unit {unit!r}: give whole numbers from 0.")
                if isinstance(factor, str) or factor is None or not math.isfinite(factor):
                    raise SnipbiasError(f"the factor {factor!r} is not a finite number: change it.")

    def __len__(self) -> int:
        """Number of neurons."""
        return sum(map(len, self.factors.values()))

    @property
    def by_neuron(self) -> dict[Neuron, float]:
        """Neuron -> factor, site after site."""
        return {
            Neuron(site, unit): factor
            for site, units in self.factors.items()
            for unit, factor in units.items()
        }

    @property
    def neurons(self) -> list[Neuron]:
        """Its neurons, site after site."""
        return list(self.by_neuron)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the neurons and their factors."""
        return hashlib.sha256(json.dumps(self.to_dict()["sites"]).encode()).hexdigest()

    def files(self) -> dict[str, bytes]:
        """File name -> content: `edit.json`, and a file of factors if there are many.

        Raises:
            SnipbiasError: it has no neuron.
        """
        if not len(self):
            raise SnipbiasError(f"{self.label} has no neurons: there is nothing to write.")
        data, files = self.to_dict(), {}
        if len(self) >= edit_json.DENSE_FROM:
            content = edit_json.pack(self.factors)
            counts = {site: len(units) for site, units in self.factors.items()}
            named = {"sha256": hashlib.sha256(content).hexdigest(), "sites": counts}
            data |= {"format": edit_json.DENSE, "sites": {}, "factors": named}
            files[edit_json.FACTORS_FILE] = content
        return {edit_json.FILE: (json.dumps(data, indent=1) + "\n").encode(), **files}

    def to_json(self) -> str:
        """The text of `edit.json`, which for a dense edit names the file of factors."""
        return self.files()[edit_json.FILE].decode()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an edit from its `edit.json`, and from the file of factors if it is dense.

        Raises:
            SnipbiasError: a file is missing or damaged.
        """
        data = edit_json.read(path)
        edit = cls.from_dict(data, path)
        named = data.get("factors") if data["format"] == edit_json.DENSE else None
        if named is None:
            return edit
        file = path.parent / edit_json.FACTORS_FILE
        try:
            content = file.read_bytes()
        except OSError:
            raise SnipbiasError(
                f"{path} needs {file.name} next to it: find or download the edit again."
            ) from None
        return replace(edit, factors=edit_json.unpack(content, named, path))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as described by `data/edit.schema.json`."""
        return {
            "format": edit_json.MAJOR,
            "minor": edit_json.MINOR,
            "label": self.label,
            "model": asdict(self.model),
            "found_on": self.found_on and self.found_on.to_dict(),
            "sites": {
                # As they will be read (0 as 0.0), so that the fingerprint stays the same.
                site: {
                    "units": list(map(int, units)),
                    "factors": list(map(float, units.values())),
                }
                for site, units in self.factors.items()
            },
            **({"made_of": list(map(asdict, self.made_of))} if self.made_of else {}),
        }

    @classmethod
    def from_dict(cls, data: Any, source: str | Path = "the edit") -> Self:
        """Make an edit from its JSON form, which `format.check` validates."""
        fields = edit_json.check(data, source)
        found_on = fields["found_on"]
        return cls(
            {
                site: dict(zip(part["units"], map(float, part["factors"]), strict=True))
                for site, part in fields["sites"].items()
            },
            ModelId(**fields["model"]),
            None if found_on is None else Provenance.from_dict(found_on),
            fields["label"],
            tuple(MadeOf(**part) for part in fields.get("made_of", ())),
        )


def by_site(factors: Iterable[tuple[Neuron, float]]) -> dict[str, dict[int, float]]:
    """Site -> unit -> factor, of neurons with their factors in this order."""
    found: dict[str, dict[int, float]] = {}
    for (site, unit), factor in factors:
        found.setdefault(site, {})[unit] = factor
    return found
