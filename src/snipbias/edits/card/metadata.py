"""The YAML head of a model card."""

from __future__ import annotations

from typing import Any

from snipbias.base.markdown import printable
from snipbias.edits.card.facts import data_of, without_folders
from snipbias.edits.card.figures import Figures
from snipbias.edits.record import EditRecord

LIBRARIES = {None: "snipbias", "lora": "peft", "ia3": "peft", "checkpoint": "transformers"}
PARTS = {
    "overall": "accuracy",
    "ambiguous": "accuracy, ambiguous rows",
    "disambiguated": "accuracy, disambiguated rows",
}


def metadata(
    edit: EditRecord,
    base: str | None,
    figures: Figures | None,
    licence: str | None,
    exported: str | None,
) -> str:
    """The fields that the hub sorts and searches by; what is not known is left out.

    Texts are on one line each, so that none can end the head.
    """
    from huggingface_hub import ModelCardData

    tasks = edit.found_on.task.split(" + ") if edit.found_on else []
    data = [data_of(task) for task in tasks]
    languages = sorted({part.language for part in data if part.language})
    datasets = sorted({part.repository for part in data if part.repository})
    relation = "finetune" if exported == "checkpoint" else "adapter"
    fields: dict[str, Any] = {
        "license": printable(licence or "unknown"),
        "library_name": LIBRARIES[exported],
        "tags": ["snipbias", "debiasing", "pruning", "model-editing", *_exported_tags(exported)],
        "base_model": base,
        "base_model_relation": relation if base else None,
        "language": languages or None,
        "datasets": datasets or None,
        "model_name": printable(edit.label) if figures else None,
        "eval_results": _results(figures) if figures else None,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return ModelCardData(**given).to_yaml()


def _exported_tags(exported: str | None) -> list[str]:
    return [exported] if exported in ("lora", "ia3") else []


def _results(figures: Figures) -> list[Any]:
    """The edit's accuracies in percent, as the hub's index of evaluations has them."""
    from huggingface_hub import EvalResult

    task = printable(without_folders(figures.task))
    return [
        EvalResult(
            task_type="question-answering",
            dataset_type=data_of(task).repository or task,
            dataset_name=task,
            dataset_split=figures.part,
            metric_type="accuracy",
            metric_name=name,
            metric_value=round(100 * figures.accuracy[part], 2),
        )
        for part, name in PARTS.items()
        if part in figures.accuracy
    ]
