"""The command `evaluate`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snipbias.cli import options as o
from snipbias.cli.answering import Answering
from snipbias.cli.tracking import Tracked

if TYPE_CHECKING:
    from snipbias.cli.run import Run
    from snipbias.edits.edit import NeuronEdit
    from snipbias.evaluation.harness_scores import HarnessScores
    from snipbias.models.language_model import LanguageModel
    from snipbias.tasks.items import Task


@dataclass(kw_only=True)
class Evaluate(Tracked, o.Writing, o.Running, Answering, o.Asking):
    """Evaluate a model with and without edits, beside random controls, on held-out templates.

    Writes rows.parquet and retention.parquet (every option's log-probability), summary.json,
    tables.md and run.json.
    """

    panel = o.FIND
    heading = "Evaluation"
    examples = (
        "snipbias evaluate demo mini:age --edit age-edit",
        "snipbias evaluate google/flan-t5-base bbq:SES --edit ses/n10 --edit ses/n50 --items 200",
        "snipbias evaluate google/flan-t5-base bbq:SES --edit ses/n10 --lm-eval piqa --margin 0.01",
    )
    model: o.Model
    task: o.Task
    edit: Annotated[
        list[str] | None,
        typer.Option(help="Folder of an edit, or owner/name on the hub (repeatable)."),
    ] = None
    items: Annotated[
        int | None,
        typer.Option("--items", "--limit", min=1, help="At most so many held-out items."),
    ] = None
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Use all templates: the edits come from other tasks alone."),
    ] = False
    controls: Annotated[int, typer.Option(min=0, help="Draws of each random control.")] = 1
    normalize: Annotated[o.Normalize, typer.Option(help="Divide scores by.")] = o.Normalize.sum
    options: Annotated[o.Options, typer.Option(help="Options as.")] = o.Options.text
    generate: Annotated[
        bool, typer.Option("--generate", help="Let it write, and match the text to the options.")
    ] = False
    text: Annotated[
        Path | None, typer.Option(help="Your own neutral text for perplexity and KL.")
    ] = None
    no_text: Annotated[bool, typer.Option("--no-text", help="No neutral text.")] = False
    retention: Annotated[
        list[str] | None,
        typer.Option(
            help="Task that must not get worse (repeatable).",
            show_default="mini:facts; mini:skills for the demo model",
        ),
    ] = None
    retention_items: Annotated[
        int, typer.Option(min=1, help="At most so many rows of each of these.")
    ] = 100
    no_retention: Annotated[bool, typer.Option("--no-retention", help="No retention tasks.")] = (
        False
    )
    no_control_rows: o.NoControlRows = False
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Also measure what the original knows inside (slower)."),
    ] = False
    elsewhere: Annotated[
        int,
        typer.Option(
            min=0, help="Items of each small task that says what an edit does elsewhere; 0: none."
        ),
    ] = 24
    margin: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Loss that is no harm: of retention accuracy (0.02: 2 points), of perplexity "
            "(2 %), and nats a token of KL.",
        ),
    ] = 0.02
    lm_eval: Annotated[
        str | None,
        typer.Option(help="Tasks of the lm-evaluation-harness, before and after: piqa,boolq."),
    ] = None
    lm_eval_limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many samples of each of them.")
    ] = None
    lm_eval_path: o.LmEvalPath = None
    records: Annotated[
        bool,
        typer.Option(
            "--records", help="Also write records/, for Every Eval Ever and lm-evaluation-harness."
        ),
    ] = False
    full: Annotated[
        bool, typer.Option("--full", help="Print every table; they are in tables.md anyway.")
    ] = False

    def __call__(self) -> None:
        """Compare edits with the original and the controls, and write rows and tables."""
        from rich.console import Group
        from rich.text import Text

        from snipbias.cli.again import again
        from snipbias.cli.combining import read_edits
        from snipbias.cli.run import run
        from snipbias.edits.run_folder import write_edits, write_sites
        from snipbias.evaluation import tables
        from snipbias.evaluation.answer import answer
        from snipbias.evaluation.compare import compare
        from snipbias.evaluation.harness_scores import harness_renderable
        from snipbias.evaluation.reading import Reading
        from snipbias.evaluation.records import write_records
        from snipbias.tasks.neutral_text import passages

        self.ready()
        with run("evaluate", vars(self), self) as (this, folder):
            edits = read_edits(self.edit or [], this)
            this.record.data["text"] = str(self.text or "shipped with the package")
            this.record.seeds = {"sample of items": 0, "controls": list(range(self.controls))}
            self.column = self.column or self._remembered(edits)
            task = this.task(self.task, **self.task_options)
            kept = self._retention(this, len(task.instructions))
            settings: dict[str, Any] = {
                "reading": Reading(self.normalize.value, self.options.value, self.generate),
                "items": self.items,
                "whole": self.whole,
                "controls": self.controls,
                "texts": () if self.no_text else passages(self.text),
                "retention": [task.subsample(self.retention_items) for task in kept],
                "control_rows": not self.no_control_rows,
                "with_probe": self.probe,
                "elsewhere": self.elsewhere,
            }
            lm = this.load(self.model, self.model_options)
            harness = self._harness(this, lm, edits)  # first: its data may not be to be had
            with this.progress("evaluating", 0) as progress:
                comparison = compare(
                    lm,
                    task,
                    *edits,
                    **settings,
                    margin=self.margin,
                    batch_size=self.batch_size,
                    progress=progress,
                    stage=progress.stage,
                )
            this.record.lap("evaluate")
            comparison.save(folder)
            write_sites(lm.sites, folder)
            write_edits(edits, folder)
            if harness:
                _write_harness(harness, folder, self.margin)
        if self.records:
            write_records(this.folder)
        self.log(this.folder.name, this.record.arguments, comparison.to_dict())
        margin = self.margin
        parts = [answer(comparison, {task.name: len(task.templates) for task in kept})]
        parts += [Text(), tables.comparison_renderable(comparison)] if self.full else []
        parts += [Group(Text(), harness_renderable(harness, margin))] if harness else []
        then = shlex.join(["snipbias", "report", str(this.folder), "--out", f"{this.folder}.html"])
        if not edits:
            then = again("find", self, "--n", "10,50", "--out", "edits")
        this.show(
            {
                "out": str(this.folder),
                **comparison.to_dict(),
                **({"lm_eval": harness.to_dict(margin)} if harness else {}),
            },
            Group(*parts, Text(f"written  {this.folder} (all tables: --full, or its tables.md)")),
            then=then,
        )

    def _harness(
        self, this: Run, lm: LanguageModel, edits: list[NeuronEdit]
    ) -> HarnessScores | None:
        """Scores on the tasks of the lm-evaluation-harness, if any are asked for."""
        from snipbias.base.parallel import workers
        from snipbias.evaluation.harness import harness_scores

        if self.lm_eval is None:
            return None
        names = [name.strip() for name in self.lm_eval.split(",") if name.strip()]
        with this.progress("lm-evaluation-harness", 1 + len(edits)) as progress:
            scores = workers().from_main(  # the harness has ways of its own to use several
                lambda: harness_scores(
                    lm,
                    names,
                    edits,
                    limit=self.lm_eval_limit,
                    batch_size=self.batch_size,
                    include_path=self.lm_eval_path,
                    progress=progress,
                )
            )
        this.record.data["lm-eval"] = dict(scores.versions)
        this.record.lap("lm-eval")
        return scores

    def _remembered(self, edits: list[NeuronEdit]) -> list[str] | None:
        """The columns of the rows that an edit was found on, if they are these."""
        names = (self.task, Path(self.task).name)
        for edit in edits:
            if edit.found_on and edit.found_on.columns and edit.found_on.task in names:
                return [f"{ours}={theirs}" for ours, theirs in edit.found_on.columns.items()]
        return None

    def _retention(self, this: Run, instructions: int) -> list[Task]:
        """The held-out rows of these tasks, under as many instructions as the task's own rows."""
        if self.no_retention:
            return []
        names = self.retention or ["mini:skills" if self.model == "demo" else "mini:facts"]
        options = {"data_dir": self.data_dir, "prompt": self.prompt, "instructions": instructions}
        tasks = [this.task(name, **options) for name in names]
        return [task.test for task in tasks]


def _write_harness(scores: HarnessScores, folder: Path, margin: float) -> None:
    """A file of their own, and a table more beside those of the comparison."""
    from snipbias.evaluation.harness_scores import harness_markdown

    text = json.dumps(scores.to_dict(margin), indent=1)
    (folder / "lm_eval.json").write_text(text + "\n", encoding="utf-8")
    with open(folder / "tables.md", "a", encoding="utf-8") as file:
        file.write("\n" + harness_markdown(scores, margin))
