"""The README.md of an exported folder: what it is, on which model, and how to load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from snipbias.card import model_card
from snipbias.card_figures import Figures
from snipbias.edit import NeuronEdit
from snipbias.share import record_of

if TYPE_CHECKING:
    from snipbias.export.write import Exported


def readme(
    edit: NeuronEdit, exported: Exported, command: str | None, beside: Path | None = None
) -> str:
    """The edit's card, with how to load this folder and how it was checked.

    Args:
        command: the command line that made the folder, if one did.
        beside: where the edit lies, with its figures and the record of how it was found.
    """
    return model_card(
        edit,
        figures=Figures.beside(edit, beside) if beside else None,
        record=record_of(edit, beside) if beside else None,
        place="this folder",
        base=exported.base.name if exported.base.on_hub else None,
        exported=exported.format,
        load=_code(exported),
        checked=_checked(exported),
        export_command=command,
    )


def _code(exported: Exported) -> str:
    base = exported.base
    auto = base.auto_class
    if exported.format == "checkpoint":
        return (
            f"from transformers import {auto}, AutoTokenizer\n\n"
            f'model = {auto}.from_pretrained("this folder")\n'
            'tokenizer = AutoTokenizer.from_pretrained("this folder")'
        )
    where = [json.dumps(base.name or "the base model", ensure_ascii=False)]
    where += [f"gguf_file={json.dumps(base.gguf_file)}"] if base.gguf_file else []
    where += [f"revision={json.dumps(base.revision)}"] if base.revision else []
    return (
        "from peft import PeftModel\n"
        f"from transformers import {auto}, AutoTokenizer\n\n"
        f"model = {auto}.from_pretrained({', '.join(where)})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({', '.join(where)})\n"
        'model = PeftModel.from_pretrained(model, "this folder")'
    )


def _checked(exported: Exported) -> str:
    check = exported.check
    if check is None:
        return "It was not checked against the edited model."
    return (
        f"Checked in float32 on {check.tokens} tokens: its logits differ from those of the edited "
        f"model by {check.difference:.1e} of the largest; the edit itself moves them by "
        f"{check.effect:.1e}."
    )
