"""Edits and the model's sites, as the folder of a run keeps them beside its figures."""

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
    """Keep the model's sites, so that a map of its neurons can be drawn without the model."""
    lines = ",\n".join(json.dumps(asdict(site)) for site in sites)
    (folder / SITES).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_sites(folder: Path) -> tuple[Site, ...]:
    """The sites that `write_sites` kept."""
    kept = json.loads((folder / SITES).read_text(encoding="utf-8"))
    return tuple(
        Site(**{**site, "layout": tuple((role, n) for role, n in site["layout"])}) for site in kept
    )


def write_edits(edits: Sequence[NeuronEdit], folder: Path) -> None:
    """Keep edits in their order, each in a folder that `snipbias show` reads."""
    for number, edit in enumerate(edits):
        name = slug(edit.label)
        edit.save(folder / EDITS / f"{number}-{name}")


def read_edits(folder: Path) -> list[NeuronEdit]:
    """The edits that `write_edits` kept, in their order; none where it kept none."""
    places = (folder / EDITS).iterdir() if (folder / EDITS).is_dir() else ()
    in_order = sorted(places, key=lambda place: int(place.name.partition("-")[0]))
    return [NeuronEdit.load(place) for place in in_order]
