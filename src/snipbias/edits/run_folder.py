"""Edits and the model's sites in the folder of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from snipbias.base.files import slug
from snipbias.edits.edit import NeuronEdit
from snipbias.models.sites import Site

SITES = "sites.json"
EDITS = "edits"


def write_sites(sites: Sequence[Site], folder: Path) -> None:
    """Write the model's sites, so that neurons can be mapped without the model."""
    lines = ",\n".join(json.dumps(asdict(site)) for site in sites)
    (folder / SITES).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_sites(folder: Path) -> tuple[Site, ...]:
    """Read the sites that `write_sites` wrote."""
    kept = json.loads((folder / SITES).read_text(encoding="utf-8"))
    return tuple(
        Site(**{**site, "layout": tuple((role, n) for role, n in site["layout"])}) for site in kept
    )


def write_edits(edits: Sequence[NeuronEdit], folder: Path) -> None:
    """Write edits in order, each into a folder that `snipbias show` can read."""
    for number, edit in enumerate(edits):
        name = slug(edit.label)
        edit.save(folder / EDITS / f"{number}-{name}")


def edit_places(folder: Path) -> list[Path]:
    """The folders that `write_edits` wrote, in order."""
    places = (folder / EDITS).glob("[0-9]*-*/")  # nothing that a file manager put next to them
    return sorted(places, key=lambda place: int(place.name.partition("-")[0]))


def read_edits(folder: Path) -> list[NeuronEdit]:
    """Read the edits that `write_edits` wrote, in order."""
    return [NeuronEdit.load(place) for place in edit_places(folder)]
