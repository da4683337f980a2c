"""`sb.export`: write an edit in a form that other software can load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from safetensors.torch import save
from torch import Tensor

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.files import atomic_folder
from snipbias.edits.card.metadata import eval_results
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.base import Base, Exported, Format
from snipbias.edits.export.check import check_export, load_adapter, load_checkpoint
from snipbias.edits.export.checkpoint import rounding, write_checkpoint
from snipbias.edits.export.ia3 import ia3_config, ia3_tensors
from snipbias.edits.export.lora import has_bias, lora_config, lora_tensors
from snipbias.edits.export.readme import readme
from snipbias.edits.sharing import CARD_FILE, EXPORT_FILE, FIGURES_FILE, figures_for, record_of
from snipbias.models.language_model import LanguageModel

if TYPE_CHECKING:
    from peft import PeftConfig


def export(
    lm: LanguageModel,
    edit: NeuronEdit,
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
        edit: the edit.
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
    refuse_base(lm, Path(out))
    with atomic_folder(out, overwrite=overwrite) as folder:
        return fill(
            folder,
            lm,
            edit,
            format,
            base=base,
            one_rank=one_rank,
            check=check,
            evaluation=evaluation,
            name=Path(out).absolute().name,
        )


def refuse_base(lm: LanguageModel, out: Path) -> None:
    """Refuse to overwrite the model itself, which an adapter would still need.

    Raises:
        SnipbiasError: the model's files are in `out`.
    """
    place = Base.of(lm).name
    if place and os.path.isdir(place) and Path(place).resolve().is_relative_to(out.resolve()):
        raise SnipbiasError(f"{out} holds the model itself, which would be lost: choose another.")


def fill(
    folder: Path,
    lm: LanguageModel,
    edit: NeuronEdit,
    format: Format,
    *,
    base: str | None = None,
    one_rank: bool = False,
    check: bool = True,
    evaluation: str | Path | None = None,
    name: str,
    command: str | None = None,
    beside: Path | None = None,
) -> Exported:
    """Write the files of an export into an existing folder; see `export` for the other arguments.

    Args:
        name: name that the folder will have, for the card.
        command: the command line, for the card.
        beside: folder of the edit, with its figures and the record of the run that found it.

    Raises:
        SnipbiasError: as for `export`.
    """
    if format not in get_args(Format):
        raise SnipbiasError(f"there is no format {format!r}: give one of {get_args(Format)}.")
    edit.check(lm)
    figures = figures_for(edit, evaluation, beside)
    changes = _without_ones(edit)
    place = Base.of(lm, base)
    if format == "checkpoint":
        write = partial(write_checkpoint, lm, changes, folder)
        load, tolerance = load_checkpoint(folder, type(lm.model)), rounding(lm, changes)
    else:
        write = _adapter_writer(folder, lm, changes, format, place, one_rank=one_rank)
        load, tolerance = load_adapter(folder), 0.0
    result = None
    if check:
        result = check_export(lm, changes, write, load, tolerance)
    else:
        write()
    exported = Exported(
        format=format,
        base=place,
        neurons=len(changes),
        modules=len(changes.factors),
        rank=max(map(len, changes.factors.values())) if format == "lora" else None,
        bias=format == "lora" and has_bias(lm, changes),
        check=result,
    )
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes them readable for their owner only
    edit.write_into(folder)
    text = json.dumps(exported.to_dict(), indent=1)
    (folder / EXPORT_FILE).write_text(text + "\n", encoding="utf-8")
    record = record_of(edit, beside) if beside else None
    card = readme(edit, exported, name, figures=figures, record=record, command=command)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    if figures is not None:
        for file, text in {FIGURES_FILE: figures.to_json(), **eval_results(figures)}.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    return exported


def _without_ones(edit: NeuronEdit) -> NeuronEdit:
    """The edit without neurons that are multiplied by 1."""
    kept = {
        site: {unit: factor for unit, factor in units.items() if factor != 1.0}
        for site, units in edit.factors.items()
    }
    kept = {site: units for site, units in kept.items() if units}
    if not kept:
        raise SnipbiasError(f"{edit.label} multiplies by 1 only: there is nothing to export.")
    return replace(edit, factors=kept)


def _adapter_writer(
    folder: Path, lm: LanguageModel, edit: NeuronEdit, format: Format, base: Base, *, one_rank: bool
) -> Callable[[], None]:
    """Return a function that writes the adapter; refuse at once if PEFT is missing."""
    require("peft", "writing an adapter needs")
    if format == "lora":
        config = lora_config(lm, edit, one_rank=one_rank)
        return lambda: _write_adapter(
            folder, config, lora_tensors(lm, edit, one_rank=one_rank), base
        )
    return lambda: _write_adapter(folder, ia3_config(lm, edit), ia3_tensors(lm, edit), base)


def _write_adapter(
    folder: Path, config: PeftConfig, tensors: dict[str, Tensor], base: Base
) -> None:
    config.task_type = base.task_type  # type: ignore[assignment]
    config.base_model_name_or_path = base.name
    config.revision = base.revision
    config.inference_mode = True
    config.save_pretrained(str(folder))
    (folder / "adapter_model.safetensors").write_bytes(save(tensors, {"format": "pt"}))
