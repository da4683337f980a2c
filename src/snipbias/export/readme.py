"""The README.md of an exported folder: what it is, on which model, and how to load it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from snipbias.edit import NeuronEdit

if TYPE_CHECKING:
    from snipbias.export.write import Exported

KINDS = {"lora": "a LoRA adapter", "ia3": "an (IA)3 adapter", "checkpoint": "a checkpoint"}


def readme(edit: NeuronEdit, exported: Exported, command: str | None) -> str:
    """The text; `command` is the command line that made the folder, if one did."""
    base = exported.base.name or "the model it was made on, which has no name"
    body = [
        f"# {_one_line(edit.label)}: {KINDS[exported.format]}",
        f"Neurons (outputs of linear layers) of {_one_line(base)} that are multiplied by a "
        f"constant: {exported.neurons}, in layers: {exported.modules}{_zeros(edit)}. No training. "
        "`edit.json` says which neurons, and what they were found on.",
        "To load it, without snipbias:",
        f"```python\n{_code(exported)}\n```",
        _checked(exported),
        f"Made by:\n\n```sh\n{command}\n```" if command else "Made by `snipbias.export`.",
    ]
    return _header(exported) + "\n\n".join(part for part in body if part) + "\n"


def _header(exported: Exported) -> str:
    lines = [f"library_name: {'transformers' if exported.format == 'checkpoint' else 'peft'}"]
    if exported.base.on_hub:
        lines.append(f"base_model: {json.dumps(exported.base.name)}")  # JSON is YAML
    lines.append("tags: [snipbias, bias, fairness]")
    return "\n".join(["---", *lines, "---", "", ""])


def _zeros(edit: NeuronEdit) -> str:
    factors = {factor for units in edit.factors.values() for factor in units.values()}
    return "; every constant is 0" if factors == {0.0} else ""


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


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
