"""`sb.export`: write an edit in a form that other software can load."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.files import atomic_folder, write_json
from snipbias.base.markdown import Markdown
from snipbias.edits.card.card import model_card
from snipbias.edits.card.figures import Figures
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.adapters import has_bias, write_adapter
from snipbias.edits.export.base import Base, Exported, Format
from snipbias.edits.export.check import check_export
from snipbias.edits.export.checkpoint import write_checkpoint
from snipbias.edits.given import GivenEdit, GivenModel, as_edit, as_model
from snipbias.edits.record import by_site
from snipbias.edits.sharing import EXPORT_FILE, record_of, with_card
from snipbias.edits.sharing import write as write_files
from snipbias.models.language_model import LanguageModel


def export(
    lm: GivenModel,
    edit: GivenEdit,
    format: Format,
    out: str | Path,
    *,
    base: str | None = None,
    one_rank: bool = False,
    check: bool = True,
    overwrite: bool = False,
    evaluation: str | Path | None = None,
) -> Exported:
    """Write an edit as a folder that works without this package.

    Args:
        lm: the model it belongs to, which is not changed.
        edit: the edit, or its folder.
        format: `lora` or `ia3`, adapters for PEFT; `checkpoint`, the whole model with the edit.
        out: the folder; it also holds the edit itself, so that nothing is lost.
        base: name of the base model in an adapter; by default where `lm` was loaded from.
        one_rank: give all layers of a LoRA adapter the largest rank, for servers that ignore
            `rank_pattern`.
        check: compare the export with the hooked model in float32.
        overwrite: replace the folder if it exists.
        evaluation: folder that `snipbias evaluate` wrote for this edit, for the card's figures.

    Raises:
        SnipbiasError: the edit does not fit or changes nothing, weights are quantised, the export
            answers differently, `out` holds the model itself, or PEFT is not installed.
    """
    lm, found = as_model(lm), as_edit(edit)
    asked = {"base": base, "one_rank": one_rank, "check": check, "evaluation": evaluation}
    with atomic_folder(out, overwrite=overwrite) as folder:
        return fill(folder, Path(out), lm, found, format, **asked)


def fill(
    folder: Path,
    out: Path,
    lm: LanguageModel,
    edit: NeuronEdit,
    format: Format,
    *,
    base: str | None = None,
    one_rank: bool = False,
    check: bool = True,
    evaluation: str | Path | None = None,
    command: str | None = None,
    beside: Path | None = None,
) -> Exported:
    """Write the files of an export into an existing folder; see `export` for the other arguments.

    Args:
        folder: the folder to fill, which is to become `out`.
        command: the command line, for the card.
        beside: folder of the edit, with its figures and the record of the run that found it.

    Raises:
        SnipbiasError: as for `export`.
    """
    if format not in get_args(Format):
        raise SnipbiasError(f"there is no format {format!r}: give one of {get_args(Format)}.")
    own = Base.of(lm).name
    if own and os.path.isdir(own) and Path(own).resolve().is_relative_to(out.resolve()):
        raise SnipbiasError(f"{out} holds the model itself, which would be lost: choose another.")
    edit.check(lm)
    figures = Figures.beside(edit, beside, evaluation)
    changed = by_site(pair for pair in edit.by_neuron.items() if pair[1] != 1)
    if not changed:
        raise SnipbiasError(f"{edit.label} multiplies by 1 only: there is nothing to export.")
    changes = replace(edit, factors=changed)
    place = Base.of(lm, base)
    if format == "checkpoint":
        write_checkpoint(lm, changes, folder)
    else:
        require("peft", "writing an adapter needs")
        write_adapter(lm, changes, folder, format, place, one_rank=one_rank)
    exported = Exported(
        format=format,
        base=place,
        neurons=len(changes),
        modules=len(changes.factors),
        rank=max(map(len, changes.factors.values())) if format == "lora" else None,
        bias=format == "lora" and has_bias(lm, changes),
        check=check_export(lm, changes, folder, format) if check else None,
    )
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes them readable for their owner only
    name = out.absolute().name
    card = model_card(
        edit,
        figures=figures,
        record=record_of(edit, beside) if beside else None,
        place=name,
        base=place.name if place.on_hub else None,
        exported=format,
        load=exported.loading_code(name),
        checked=Markdown(exported.checked),
        export_command=command,
    )
    write_files(with_card(edit, card, figures), folder)
    write_json(exported.to_dict(), folder / EXPORT_FILE)
    return exported
