"""The model card of an edit: what it was found on, what it changed, its limits, how to load it.

Nothing is computed here: figures come from an evaluation's files, and what is not known is
"unknown". Every text that comes from a file or a user is escaped (`markdown.shown`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING

from snipbias.base.files import shipped
from snipbias.base.markdown import Markdown, cell, code, fenced, printable, shown, table
from snipbias.base.version import __version__
from snipbias.base.words import plural
from snipbias.edits.card.facts import OWN_LICENCE, Data, base_on_hub, data_of, without_folders
from snipbias.edits.card.figures import Figures, command, sound
from snipbias.edits.provenance import same_weights
from snipbias.edits.record import EditRecord

if TYPE_CHECKING:
    from jinja2 import Template

    from snipbias.base.record import RunRecord

LIBRARIES = {None: "snipbias", "lora": "peft", "ia3": "peft", "checkpoint": "transformers"}
# Where the demo model is on every machine with snipbias.
DEMO_FOLDER = 'str(files("snipbias") / "data" / "demo")  # it comes with snipbias'
# This line marks a card that may be overwritten.
GENERATED = "<!-- Written by snipbias, which may write it again: delete this line to keep it. -->"


def model_card(
    edit: EditRecord,
    *,
    figures: Figures | None = None,
    record: RunRecord | None = None,
    place: str = "EDIT",
    base: str | None = None,
    licence: str | None = None,
    base_licence: str | None = None,
    exported: str | None = None,
    load: str | None = None,
    checked: str | None = None,
    export_command: str | None = None,
) -> str:
    """The card of an edit as Markdown with YAML metadata, as the hub reads it.

    Args:
        edit: the edit.
        figures: results of an evaluation: `Figures.of(edit, folder)`.
        record: the run that found it, for its seed, instructions and command.
        place: what the edit is loaded from: a hub id, or a folder.
        base: the base model's name on the hub, if the edit does not tell.
        licence: licence of the edit; by default the base model's.
        base_licence: licence of the base model according to the hub, if known.
        exported: "lora", "ia3" or "checkpoint" for the card of an export.
        load: the code that loads the export.
        checked: a sentence on how the export was checked against the edited model.
        export_command: the command that made the export.

    Raises:
        SnipbiasError: the figures are damaged.
    """
    model, found = edit.model, edit.found_on
    if model.name == "demo":  # only the hub knows the licences of other models
        base_licence = base_licence or OWN_LICENCE
    licence = licence or base_licence
    base = base or base_on_hub(model)
    tasks = found.task.split(" + ") if found else []
    data = [data_of(task) for task in tasks]
    recorded = record.data.get(record.arguments.get("task", ""), {}) if record else {}
    link = Markdown(f"[{shown(base)}](https://huggingface.co/{base})") if base else None
    made_of = (f"{p.label} ({p.operation}, {p.fingerprint[:12]})" for p in edit.made_of)
    settings = (f"{name} = {value}" for name, value in found.method.items()) if found else ()
    with sound(f"the figures of {edit.label} are") if figures else nullcontext():
        weights = figures.model.get("weights") if figures else None
        return template("card.md.jinja").render(
            metadata=Markdown(_metadata(data, base, licence, exported)),
            edit=edit,
            neurons=f"{len(edit):,} of {model.neurons:,}",
            share=f"{100 * len(edit) / max(1, model.neurons):.2g} %",
            does=_does(edit),
            base=link or code(without_folders(model.name)),
            base_name=base or without_folders(model.name),
            is_pinned=base is not None and base_on_hub(model) == base,
            auto=_auto_class(edit),
            made_of="; ".join(made_of),
            tasks=tasks,
            seed=record.seeds.get("sample of items") if record else None,
            settings=", ".join(settings),
            instructions=recorded.get("instructions", []) if found else [],
            results=figures,
            tables=[table(t["header"], t["rows"]) for t in figures.tables] if figures else [],
            is_other_model=not (weights and same_weights(weights, model.weights)),
            place=place,
            exported=exported,
            load=load,
            checked=checked,
            licence=licence,
            base_licence=base_licence,
            data=data,
            command=command(record) if record else None,
            version=record.versions.get("snipbias", __version__) if record else None,
            export_command=export_command,
        )


def _metadata(
    data: Sequence[Data], base: str | None, licence: str | None, exported: str | None
) -> str:
    """The YAML fields that the hub sorts and searches by; unknown ones are left out."""
    from huggingface_hub import ModelCardData

    languages = sorted({part.language for part in data if part.language})
    datasets = sorted({part.repository for part in data if part.repository})
    relation = "finetune" if exported == "checkpoint" else "adapter"
    formats = [exported] if exported in ("lora", "ia3") else []
    return ModelCardData(
        license=printable(licence or "unknown"),
        library_name=LIBRARIES[exported],
        tags=["snipbias", "debiasing", "pruning", "model-editing", *formats],
        base_model=base,
        base_model_relation=relation if base else None,
        language=languages or None,
        datasets=datasets or None,
    ).to_yaml()


@cache
def template(name: str) -> Template:
    """A template of text or code, which escapes what it is given, except Markdown."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"DEMO": Markdown(DEMO_FOLDER), "MARKER": Markdown(GENERATED)}
    environment.filters |= {
        "block": lambda text, language: Markdown(f"{fenced(text, language)}\n"),
        "cell": cell,
        "code": code,
        "fenced": fenced,
        "json": lambda value: Markdown(json.dumps(value, ensure_ascii=False)),
        "plural": plural,
        "portable": without_folders,
        "py": lambda value: Markdown(repr(value)),
        "sh": lambda text: Markdown(shlex.quote(text)),
        "word": lambda text: Markdown(shlex.quote(without_folders(text))),
    }
    return environment.from_string(shipped(name))


def _does(edit: EditRecord) -> str:
    """How the outputs of the neurons change, in words."""
    factors = set(edit.by_neuron.values())
    if factors == {0.0}:
        return "sets to zero (prunes) the outputs of"
    if len(factors) == 1:
        return f"multiplies by {next(iter(factors)):g} the outputs of"
    return f"multiplies by factors from {min(factors):g} to {max(factors):g} the outputs of"


def _auto_class(edit: EditRecord) -> str:
    """The class of transformers that loads the base, told by its name and its layers' names."""
    split = {"encoder", "decoder"} & {part for site in edit.factors for part in site.split(".")}
    conditional = edit.model.architecture.endswith("ForConditionalGeneration")
    return "AutoModelForSeq2SeqLM" if conditional and split else "AutoModelForCausalLM"
