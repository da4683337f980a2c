"""Edits that a command found: named, written with a card each, and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from snipbias.cli import options as o

if TYPE_CHECKING:
    from snipbias.cli.run import Run
    from snipbias.edits.edit import NeuronEdit
    from snipbias.models.language_model import LanguageModel

LABEL = o.option("Name of the edit in tables.", show_default="the folder's name")


def write_found(
    this: Run,
    folder: Path,
    lm: LanguageModel,
    edits: Mapping[str, tuple[str, NeuronEdit]],
    *,
    label: str | None,
    out: Path | None,
    column: list[str] | None,
) -> tuple[list[Path], list[NeuronEdit]]:
    """Write one edit into the run's folder, or several into a folder each.

    Args:
        edits: folder -> (what tells the edit from its siblings, the edit).
        label: name of the edits; by default that of the folder.
        column: the user's column mapping, so that `evaluate` does not need it again.

    Returns:
        The folders they will be in, and the edits under their names.
    """
    from snipbias.cli.run import columns
    from snipbias.edits.card.card import model_card
    from snipbias.edits.run_folder import write_sites
    from snipbias.edits.sharing import CARD_FILE

    places, named = [], []
    call = label or (out.name if out else "")
    for name, (tells, edit) in edits.items():
        if edit.found_on and column:
            edit = replace(edit, found_on=replace(edit.found_on, columns=columns(column) or {}))
        if call:
            edit = replace(edit, label=f"{call} {tells}" if len(edits) > 1 else call)
        named.append(edit)
        inside = "" if len(edits) == 1 else name
        (folder / inside).mkdir(exist_ok=True)
        edit.write_into(folder / inside)
        places.append(this.folder / inside)
        this.record.data.setdefault("edits", {})[name] = edit.fingerprint
    for place, edit in zip(places, named, strict=True):  # only now does the record list all edits
        text = model_card(edit, record=this.record, place=str(place))
        card = folder / place.relative_to(this.folder) / CARD_FILE
        card.write_text(text, encoding="utf-8")
    write_sites(lm.sites, folder)
    return places, named
