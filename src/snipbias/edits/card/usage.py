"""The part of a model card that says how to load the edit, with snipbias and without it."""

from __future__ import annotations

import shlex

from snipbias.base.markdown import Markdown, fenced
from snipbias.edits.card.facts import base_on_hub, without_folders
from snipbias.edits.record import EditRecord

ADAPTERS = ("lora", "ia3")
# Where the demo model is on any machine that has snipbias.
DEMO_IMPORT = "from importlib.resources import files"
DEMO_FOLDER = 'str(files("snipbias") / "data" / "demo")  # it comes with snipbias'


def usage(
    edit: EditRecord, on_hub: str | None, place: str, exported: str | None, load: str | None
) -> Markdown:
    """Commands and code, with the names of this edit and its base.

    Args:
        on_hub: the base's name there, if it is there.
        load: code of the exporter's own for what it wrote.
    """
    base = on_hub or without_folders(edit.model.name)
    parts = []
    if exported == "checkpoint":
        code = fenced(load, "python") if load else _checkpoint(edit, place)
        parts.append(_part("With transformers", code))
    elif exported in ADAPTERS:
        code = fenced(load, "python") if load else _peft(edit, base, place)
        parts.append(_part("With PEFT", code))
    parts.append(_part("With snipbias", _snipbias(edit, base, place)))
    if exported is None:
        words = ("snipbias", "export", place, "--model", base, "--format", "lora", "--out")
        export = fenced(f"{shlex.join(words)} adapter", "sh")
        said = "Written as an adapter, which needs no snipbias from then on:"
        more = (
            "`--format ia3` writes an adapter of another kind, `--format checkpoint` the whole "
            "model for plain transformers."
        )
        body = Markdown(f"{said}\n\n{export}\n\n{_peft(edit, base, 'adapter')}\n\n{more}")
        parts.append(_part("With PEFT", body))
    return Markdown("\n\n".join(parts))


def _part(title: str, body: Markdown) -> Markdown:
    return Markdown(f"### {title}\n\n{body}")


def _snipbias(edit: EditRecord, base: str, place: str) -> Markdown:
    pinned = f", revision={edit.model.revision!r}" if base_on_hub(edit.model) == base else ""
    return fenced(
        f"""import snipbias as sb

lm = sb.load({base!r}{pinned})
edit = sb.NeuronEdit.from_pretrained({place!r})
with edit.applied(lm):  # outside of it, the model is as it was
    ...""",
        "python",
    )


def _peft(edit: EditRecord, base: str, adapter: str) -> Markdown:
    auto = _auto_class(edit)
    first, name = (f"{DEMO_IMPORT}\n\n", DEMO_FOLDER) if base == "demo" else ("", repr(base))
    return fenced(
        f"""{first}from peft import PeftModel
from transformers import {auto}, AutoTokenizer

name = {name}
base = {auto}.from_pretrained(name)
tokenizer = AutoTokenizer.from_pretrained(name)
model = PeftModel.from_pretrained(base, {adapter!r})
with model.disable_adapter():  # inside of it, the model is as it was
    ...""",
        "python",
    )


def _checkpoint(edit: EditRecord, place: str) -> Markdown:
    auto = _auto_class(edit)
    return fenced(
        f"""from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained({place!r})
tokenizer = AutoTokenizer.from_pretrained({place!r})""",
        "python",
    )


def _auto_class(edit: EditRecord) -> str:
    """Which of transformers' classes loads the base; encoder-decoders name their layers so."""
    split = {"encoder", "decoder"} & {part for site in edit.factors for part in site.split(".")}
    conditional = edit.model.architecture.endswith("ForConditionalGeneration")
    return "AutoModelForSeq2SeqLM" if conditional and split else "AutoModelForCausalLM"
