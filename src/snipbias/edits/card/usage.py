"""The part of a model card on how to load the edit, with and without snipbias."""

from __future__ import annotations

import shlex

from snipbias.base.markdown import Markdown, fenced
from snipbias.edits.card.facts import base_on_hub, without_folders
from snipbias.edits.record import EditRecord

# Where the demo model is on every machine with snipbias.
DEMO_IMPORT = "from importlib.resources import files"
DEMO_FOLDER = 'str(files("snipbias") / "data" / "demo")  # it comes with snipbias'


def usage(
    edit: EditRecord, on_hub: str | None, place: str, exported: str | None, load: str | None
) -> Markdown:
    """Commands and code with the names of this edit and its base model.

    Args:
        edit: the edit.
        on_hub: the base model's name on the hub, if it is there.
        place: what the edit is loaded from.
        exported: format of the export, if it is one.
        load: the code that loads the export.
    """
    base = on_hub or without_folders(edit.model.name)
    parts = []
    if exported:
        library, code = ("PEFT", _peft(edit, base, place))
        if exported == "checkpoint":
            library, code = ("transformers", _checkpoint(edit, place))
        parts.append(_part(f"With {library}", fenced(load, "python") if load else code))
    parts.append(_part("With snipbias", _snipbias(edit, base, place)))
    if exported is None:
        words = ("snipbias", "export", place, "--model", base, "--format", "lora", "--out")
        export = fenced(f"{shlex.join(words)} adapter", "sh")
        said = "Write it as an adapter, which works without snipbias:"
        more = (
            "`--format ia3` writes another kind of adapter, `--format checkpoint` the whole model "
            "for plain transformers."
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
with edit.applied(lm):  # outside, the model is unchanged
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
with model.disable_adapter():  # inside, the model is unchanged
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
    """The class of transformers that loads the base, told by its name and its layers' names."""
    split = {"encoder", "decoder"} & {part for site in edit.factors for part in site.split(".")}
    conditional = edit.model.architecture.endswith("ForConditionalGeneration")
    return "AutoModelForSeq2SeqLM" if conditional and split else "AutoModelForCausalLM"
