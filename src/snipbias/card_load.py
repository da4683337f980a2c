"""The part of a model card that says how to load the edit, with snipbias and without it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from snipbias.card_facts import without_folders
from snipbias.markdown import Markdown, fenced

if TYPE_CHECKING:
    from snipbias.edit import NeuronEdit

ADAPTERS = ("lora", "ia3")


def loading(edit: NeuronEdit, place: str, exported: str | None) -> Markdown:
    """Commands and code, with the names of this edit and its base."""
    base = without_folders(edit.model.name)
    parts = []
    if exported == "checkpoint":
        parts.append(_part("With transformers", _checkpoint(edit, place)))
    elif exported in ADAPTERS:
        parts.append(_part("With PEFT", _peft(edit, base, place)))
    parts.append(_part("With snipbias", _snipbias(base, place)))
    if exported is None:
        words = ("snipbias", "export", place, "--model", base, "--format", "lora", "--out")
        export = fenced(f"{shlex.join(words)} adapter", "sh")
        said = "Written as an adapter, which needs no snipbias from then on:"
        parts.append(
            Markdown(
                f"### With PEFT\n\n{said}\n\n{export}\n\n{_peft(edit, base, 'adapter')}\n\n"
                "Where a layer has a bias term that LoRA cannot express, `--format ia3` can; "
                "`--format checkpoint` writes the whole model for plain transformers."
            )
        )
    return Markdown("\n\n".join(parts))


def _part(title: str, body: Markdown) -> Markdown:
    return Markdown(f"### {title}\n\n{body}")


def _snipbias(base: str, place: str) -> Markdown:
    return fenced(
        f"""import snipbias as sb

lm = sb.load({base!r})
edit = sb.NeuronEdit.from_pretrained({place!r})
with edit.applied(lm):  # outside of it, the model is as it was
    ...""",
        "python",
    )


def _peft(edit: NeuronEdit, base: str, adapter: str) -> Markdown:
    auto = _auto_class(edit)
    return fenced(
        f"""from peft import PeftModel
from transformers import {auto}, AutoTokenizer

base = {auto}.from_pretrained({base!r}){_where(base)}
tokenizer = AutoTokenizer.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, {adapter!r})
with model.disable_adapter():  # inside of it, the model is as it was
    ...""",
        "python",
    )


def _where(base: str) -> str:
    return "  # the folder data/demo of the package" if base == "demo" else ""


def _checkpoint(edit: NeuronEdit, place: str) -> Markdown:
    auto = _auto_class(edit)
    return fenced(
        f"""from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained({place!r})
tokenizer = AutoTokenizer.from_pretrained({place!r})""",
        "python",
    )


def _auto_class(edit: NeuronEdit) -> str:
    """Which of transformers' classes loads the base; encoder-decoders name their layers so."""
    split = {"encoder", "decoder"} & {part for site in edit.factors for part in site.split(".")}
    conditional = edit.model.architecture.endswith("ForConditionalGeneration")
    return "AutoModelForSeq2SeqLM" if conditional and split else "AutoModelForCausalLM"
