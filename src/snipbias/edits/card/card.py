"""The model card of an edit: what it was found on, what it changed, its limits, how to load it.

Nothing is computed here: figures come from an evaluation's files, and what is not known is
"unknown". Every text that comes from a file or a user is escaped (`markdown.shown`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from snipbias.base.files import shipped
from snipbias.base.markdown import Markdown, code, fenced, printable, shown, table
from snipbias.base.version import __version__
from snipbias.base.words import plural
from snipbias.edits.card.facts import OWN_LICENCE, base_on_hub, data_of, without_folders
from snipbias.edits.card.figures import Figures, command, damaged
from snipbias.edits.card.usage import usage
from snipbias.edits.provenance import same_weights
from snipbias.edits.record import EditRecord

if TYPE_CHECKING:
    from jinja2 import Template

    from snipbias.base.record import RunRecord

UNKNOWN = "unknown"
LIBRARIES = {None: "snipbias", "lora": "peft", "ia3": "peft", "checkpoint": "transformers"}
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
    if edit.model.name == "demo":  # only the hub knows the licences of other models
        base_licence = base_licence or OWN_LICENCE
    licence = licence or base_licence
    base = base or base_on_hub(edit.model)
    tasks = edit.found_on.task.split(" + ") if edit.found_on else []
    recorded = record.data.get(record.arguments.get("task", ""), {}) if record else {}
    link = Markdown(f"[{shown(base)}](https://huggingface.co/{base})") if base else None
    try:
        return _template().render(
            metadata=Markdown(_metadata(edit, base, licence, exported)),
            marker=Markdown(GENERATED),
            label=edit.label,
            neurons=f"{len(edit):,} of {edit.model.neurons:,} neurons",
            share=f"{100 * len(edit) / max(1, edit.model.neurons):.2g} %",
            does=_does(edit),
            base=link or code(without_folders(edit.model.name)),
            exported=exported,
            facts=table(("what", "which"), _facts(edit, record), figures=False),
            instructions=recorded.get("instructions", []) if edit.found_on else [],
            results=figures,
            tables=[table(t["header"], t["rows"]) for t in figures.tables] if figures else [],
            results_command=fenced(figures.command, "sh") if figures else None,
            other_model=_evaluated(edit, figures.model) if figures else "",
            found_on=edit.found_on,
            loading=usage(edit, base, place, exported, load),
            checked=checked,
            evaluate=fenced(
                f"snipbias evaluate {_word(edit.model.name)} {_word((tasks or ['TASK'])[0])} "
                f"--edit {_word(place)} --out RUN\n{_renewed(place, exported)}",
                "sh",
            ),
            licence=licence or UNKNOWN,
            base_licence=base_licence or f"{UNKNOWN}; see the base",
            data=[data_of(task) for task in tasks],
            command=fenced(command(record), "sh") if record else None,
            export_command=fenced(export_command, "sh") if export_command else None,
            version=record.versions.get("snipbias", __version__) if record else None,
            place=code(place),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if figures is None:
            raise
        raise damaged(edit.label, error) from None


def _metadata(edit: EditRecord, base: str | None, licence: str | None, exported: str | None) -> str:
    """The YAML fields that the hub sorts and searches by; unknown ones are left out."""
    from huggingface_hub import ModelCardData

    tasks = edit.found_on.task.split(" + ") if edit.found_on else []
    data = [data_of(task) for task in tasks]
    languages = sorted({part.language for part in data if part.language})
    datasets = sorted({part.repository for part in data if part.repository})
    relation = "finetune" if exported == "checkpoint" else "adapter"
    formats = [exported] if exported in ("lora", "ia3") else []
    fields: dict[str, Any] = {
        "license": printable(licence or "unknown"),
        "library_name": LIBRARIES[exported],
        "tags": ["snipbias", "debiasing", "pruning", "model-editing", *formats],
        "base_model": base,
        "base_model_relation": relation if base else None,
        "language": languages or None,
        "datasets": datasets or None,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return ModelCardData(**given).to_yaml()


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(shipped("card.md.jinja"))


def _does(edit: EditRecord) -> str:
    """How the outputs of the neurons change, in words."""
    factors = {factor for units in edit.factors.values() for factor in units.values()}
    if factors == {0.0}:
        return "sets to zero (prunes) the outputs of"
    if len(factors) == 1:
        return f"multiplies by {next(iter(factors)):g} the outputs of"
    return f"multiplies by factors from {min(factors):g} to {max(factors):g} the outputs of"


def _facts(edit: EditRecord, record: RunRecord | None) -> list[tuple[str, object]]:
    """The rows of the table of facts."""
    model, found = edit.model, edit.found_on
    rows: list[tuple[str, object]] = [
        ("base model", f"{without_folders(model.name)} ({model.architecture})"),
        ("its revision", code(model.revision) if model.revision else UNKNOWN),
        ("hash of its weights", code(model.weights)),
        ("neurons", f"{len(edit):,} of {model.neurons:,}, in {len(edit.factors)} layers"),
        ("hash of neurons and factors", code(edit.fingerprint)),
    ]
    if edit.made_of:
        parts = (f"{p.label} ({p.operation}, {p.fingerprint[:12]})" for p in edit.made_of)
        rows.append(("combined from", "; ".join(parts)))
    if found is None:
        return [*rows, ("found on", "no data: it is a control, or its origin is unknown")]
    items = f"{plural(len(found.items), 'item')} of {plural(len(found.templates), 'template')}"
    seed = record.seeds.get("sample of items", UNKNOWN) if record else UNKNOWN
    settings = ", ".join(f"{name} = {value}" for name, value in found.method.items())
    return [
        *rows,
        ("found on", f"{items} of {' + '.join(map(without_folders, found.task.split(' + ')))}"),
        ("the templates", ", ".join(found.templates)),
        ("each asked under", plural(found.instructions, "instruction")),
        ("prompt", ", ".join(prompt.name for prompt in found.prompts)),
        ("seed of the draw of items", seed),
        ("settings of the method", settings or UNKNOWN),
        ("hash of the rows", code(found.fingerprint)),
    ]


def _evaluated(edit: EditRecord, model: Mapping[str, Any]) -> Markdown:
    """A remark if the evaluated model is not the one that the edit was found on."""
    weights = model.get("weights")
    if weights and same_weights(weights, edit.model.weights):
        return Markdown("")
    return Markdown(
        f"It was evaluated on other weights ({code(weights or UNKNOWN)}) than it was found on."
    )


def _renewed(place: str, exported: str | None) -> str:
    """The command that rewrites the card with the figures of RUN."""
    if exported is None:
        return f"snipbias card {_word(place)} --run RUN"
    return f"snipbias export {_word(place)} --format {exported} --run RUN --out NEW"


def _word(text: str) -> str:
    return shlex.quote(without_folders(text))
