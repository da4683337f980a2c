"""The YAML metadata of a model card."""

from __future__ import annotations

from typing import Any

from snipbias.base.markdown import printable
from snipbias.edits.card.facts import data_of
from snipbias.edits.card.figures import Figures, damaged
from snipbias.edits.record import EditRecord

LIBRARIES = {None: "snipbias", "lora": "peft", "ia3": "peft", "checkpoint": "transformers"}
RESULTS_FILE = ".eval_results/snipbias.yaml"


def metadata(
    edit: EditRecord,
    base: str | None,
    licence: str | None,
    exported: str | None,
) -> str:
    """The fields that the hub sorts and searches by; unknown ones are left out.

    Args:
        edit: the edit.
        base: the base model's name on the hub, if known.
        licence: licence of the edit.
        exported: format of the export, if it is one.
    """
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


def eval_results(figures: Figures) -> dict[str, str]:
    """File name -> the edit's accuracy in the format of the hub's leaderboards.

    Empty if the rows are not a dataset on the hub, which the format must name.

    Source: the hub's documentation, "Evaluation Results".

    Raises:
        SnipbiasError: the figures are damaged.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    dataset = data_of(figures.task)
    if dataset.repository is None:
        return {}
    try:
        accuracy = round(100 * figures.accuracy["overall"], 2)
    except (KeyError, TypeError) as error:
        raise damaged(figures.label, error) from None
    entry = EvalResultEntry(
        dataset_id=dataset.repository,
        task_id=dataset.config or "default",
        value=accuracy,
        date=figures.date,
        notes=f"{figures.label}: {figures.on}. {figures.headline[0]}",
    )
    entries = eval_result_entries_to_yaml([entry])
    return {RESULTS_FILE: yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)}
