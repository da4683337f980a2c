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
        on_hub: the base model's name on the hub, if it is there.
        place: what the edit is loaded from.
        exported: format of the export, if it is one.
        load: the code that loads the export.
    """
    base = on_hub or without_folders(edit.model.name)
    parts = {}
    if load:
        library = "transformers" if exported == "checkpoint" else "PEFT"
        parts[f"With {library}"] = fenced(load, "python")
    pinned = f", revision={edit.model.revision!r}" if base_on_hub(edit.model) == base else ""
    parts["With snipbias"] = fenced(
        f"""import snipbias as sb

lm = sb.load({base!r}{pinned})
edit = sb.NeuronEdit.from_pretrained({place!r})
with edit.applied(lm):  # outside, the model is unchanged
    ...""",
        "python",
    )
    if exported is None:
        words = ("snipbias", "export", place, "--model", base, "--format", "lora", "--out")
        export = fenced(f"{shlex.join(words)} adapter", "sh")
        parts["With PEFT"] = (
            f"Write it as an adapter, which works without snipbias:\n\n{export}\n\n"
            f"{_peft(edit, base)}\n\n`--format ia3` writes another kind of adapter, `--format "
            "checkpoint` the whole model for plain transformers."
        )
    return Markdown("\n\n".join(f"### {title}\n\n{body}" for title, body in parts.items()))


def _peft(edit: EditRecord, base: str) -> Markdown:
    # The name and the layers' names tell which class of transformers loads the base.
    split = {"encoder", "decoder"} & {part for site in edit.factors for part in site.split(".")}
    conditional = edit.model.architecture.endswith("ForConditionalGeneration")
    auto = "AutoModelForSeq2SeqLM" if conditional and split else "AutoModelForCausalLM"
    first, name = (f"{DEMO_IMPORT}\n\n", DEMO_FOLDER) if base == "demo" else ("", repr(base))
    return fenced(
        f"""{first}from peft import PeftModel
from transformers import {auto}, AutoTokenizer

name = {name}
base = {auto}.from_pretrained(name)
tokenizer = AutoTokenizer.from_pretrained(name)
model = PeftModel.from_pretrained(base, 'adapter')
with model.disable_adapter():  # inside, the model is unchanged
    ...""",
        "python",
    )
