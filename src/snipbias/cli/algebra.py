"""The commands `combine` and `overlap`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import refuse_alike, slug, write_json
from snipbias.cli import options as o
from snipbias.cli.run import Run, run, show

EDITS = o.argument("Folders of edits of one model, or owner/name.")


class Combine(o.Writing):
    """Combine edits of one model into one, or change the strength of one edit."""

    examples = (
        "snipbias combine edits/age edits/ses --out edits/both",
        "snipbias combine edits/both edits/age --how difference --strength 0.5 --out edits/half",
    )
    edits: list[str] = EDITS
    how: Literal["union", "difference", "intersection"] = o.option(
        "union: neurons in any edit, with the strongest factor; intersection: neurons in all, "
        "with the weakest; difference: neurons in the first edit only.",
        "union",
        metavar="<how>",
    )
    strength: float = o.option(
        "Strength of the result: 0 changes nothing, 1 is the whole edit.", 1.0
    )
    label: str | None = o.option("Name of the result.", show_default="made from the labels")

    def __call__(self) -> None:
        from snipbias.cli.combining import read_edits
        from snipbias.cli.edit_view import edit_table
        from snipbias.edits.algebra import combined

        with run(self) as this:
            edits = read_edits(self.edits, this)
            if len(edits) == 1 and self.strength == 1:
                raise SnipbiasError(
                    "one edit at strength 1 stays as it is: name a second edit, or a --strength."
                )
            edit: Any = combined(self.how, *edits) if len(edits) > 1 else edits[0]
            if not len(edit):
                shared = self.how == "intersection"
                none = "they share no neuron" if shared else "the others hold it all"
                raise SnipbiasError(f"the {self.how} is empty ({none}): there is nothing to write.")
            edit = edit.scaled(self.strength) if self.strength != 1 else edit
            edit = replace(edit, label=self.label or edit.label)
            edit.write_into(this.new)
        result = {"out": str(this.folder), "neurons": len(edit), "edit": edit.to_dict()}
        show(self, result, edit_table(edit), f"\nwritten  {this.folder}")


class Overlap(o.Writing, o.Running, o.Measuring, o.Asking):
    """Show how many neurons edits share, against chance, and what their union does to each task.

    With --task it writes a folder: rows, tables and summary of each task, overlap.json, run.json.
    """

    examples = (
        "snipbias overlap edits/age edits/ses",
        "snipbias overlap edits/age edits/ses --model demo --task mini:age --task mini:ses",
    )
    edits: list[str] = EDITS
    model: str | None = o.option(
        "The edits' model. Adds the roles inside fused layers and the comparison with chance "
        "within sites; --task needs it.",
    )
    task: list[str] | None = o.option(
        "Also evaluate the original, each edit, their union and their intersection on this task's "
        "held-out templates (repeatable).",
    )
    items: int | None = o.ITEMS
    no_text: bool = o.NO_TEXT
    no_retention: bool = o.NO_RETENTION

    def __call__(self) -> None:
        from snipbias.cli import combining as views

        if self.task:
            if not self.model:
                raise SnipbiasError("--task evaluates a model: name it with --model.")
            with run(self) as this:
                result, parts = self._on_tasks(this, self.model)
            show(self, result, *parts, f"\nwritten  {this.folder}")
            return
        if self.out:
            raise SnipbiasError("without --task nothing is written: drop --out, or name a task.")
        edits = views.read_edits(self.edits)
        lm = sb.load(self.model, **self.given(*o.LOADING)) if self.model else None
        found = sb.overlap(*edits, sites=lm.sites if lm else ())
        show(self, found.to_dict(), *views.overlap_parts(found))

    def _on_tasks(self, this: Run, model: str) -> tuple[dict[str, Any], list[Any]]:
        """Evaluate and write; return the result and the parts to show."""
        from snipbias.cli import combining as views
        from snipbias.evaluation.combinations import compare_combinations

        edits = views.read_edits(self.edits, this)
        this.record.seeds = {"sample of items": 0}
        tasks = [this.task(name) for name in dict.fromkeys(self.task or ())]
        refuse_alike(tuple(task.name for task in tasks))
        kept = [] if self.no_retention else [this.task("mini:skills", prompt=self.prompt).test]
        texts = () if self.no_text else sb.passages()
        lm = this.load(model)
        found = sb.overlap(*edits, sites=lm.sites)
        with this.progress("evaluating", 0) as hooks:
            comparisons = compare_combinations(
                lm, tasks, edits, items=self.items, texts=texts, retention=kept, **hooks
            )
        this.record.lap("evaluate")
        result = {
            "out": str(this.folder),
            "overlap": found.to_dict(),
            "tasks": {task: comparison.to_dict() for task, comparison in comparisons.items()},
        }
        for task, comparison in comparisons.items():
            place = this.new / slug(task)
            place.mkdir()
            comparison.save(place)
        write_json(result, this.new / "overlap.json")
        tables = views.markdown(found, comparisons)
        (this.new / "tables.md").write_text(tables, encoding="utf-8")
        return result, [*views.overlap_parts(found), "", *views.comparison_parts(comparisons)]
