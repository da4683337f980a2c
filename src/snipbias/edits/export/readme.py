"""The README.md of an export: what it is, its base model, and how to load it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from snipbias.base.markdown import Markdown
from snipbias.base.record import RunRecord
from snipbias.edits.card.card import model_card
from snipbias.edits.card.figures import Figures
from snipbias.edits.card.usage import DEMO_FOLDER, DEMO_IMPORT
from snipbias.edits.edit import NeuronEdit

if TYPE_CHECKING:
    from snipbias.edits.export.base import Exported

PEFT_BASE = "PeftConfig.from_pretrained(folder).base_model_name_or_path"


def readme(
    edit: NeuronEdit,
    exported: Exported,
    name: str,
    *,
    figures: Figures | None,
    record: RunRecord | None,
    command: str | None,
) -> str:
    """The edit's card, with how to load this folder and how it was checked.

    Args:
        edit: the edit.
        exported: the export.
        name: name of the folder.
        figures: results of an evaluation.
        record: the run that found the edit.
        command: the command line that made the folder, if any.
    """
    return model_card(
        edit,
        figures=figures,
        record=record,
        place=name,
        base=exported.base.name if exported.base.on_hub else None,
        exported=exported.format,
        load=_code(exported, name),
        checked=Markdown(_checked(exported)),
        export_command=command,
    )


def _code(exported: Exported, name: str) -> str:
    """Code that loads the folder, without paths of this machine: an adapter names its base."""
    base = exported.base
    auto = base.auto_class
    folder = f"folder = {json.dumps(name, ensure_ascii=False)}  # where this file is"
    if exported.format == "checkpoint":
        return (
            f"from transformers import {auto}, AutoTokenizer\n\n{folder}\n"
            f"model = {auto}.from_pretrained(folder)\n"
            "tokenizer = AutoTokenizer.from_pretrained(folder)"
        )
    first, classes = "", "PeftModel"
    if base.on_hub:
        found = json.dumps(base.name, ensure_ascii=False)
    elif base.is_demo:
        first, found = f"{DEMO_IMPORT}\n\n", DEMO_FOLDER
    elif base.name:
        classes, found = "PeftConfig, PeftModel", PEFT_BASE
    else:
        found = '"the base model"'
    where = ["base"]
    where += [f"gguf_file={json.dumps(base.gguf_file)}"] if base.gguf_file else []
    where += [f"revision={json.dumps(base.revision)}"] if base.revision else []
    return (
        f"{first}from peft import {classes}\n"
        f"from transformers import {auto}, AutoTokenizer\n\n{folder}\nbase = {found}\n"
        f"model = {auto}.from_pretrained({', '.join(where)})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({', '.join(where)})\n"
        "model = PeftModel.from_pretrained(model, folder)"
    )


def _checked(exported: Exported) -> str:
    check = exported.check
    merging = (
        " It has bias terms, which PEFT's `add_weighted_adapter` ignores: combine edits with "
        "snipbias and export the result."
    )
    merging = merging if exported.bias else ""
    if check is None:
        return "It was not checked against the edited model." + merging
    return (
        f"Checked in float32 on {check.tokens} tokens: its logits differ from those of the edited "
        f"model by at most {check.difference:.1e} of the largest; the edit itself moves them by "
        f"{check.effect:.1e}." + merging
    )
