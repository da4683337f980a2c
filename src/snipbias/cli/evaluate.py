"""The command `evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snipbias.cli import options as o
from snipbias.cli.tracking import Tracked

if TYPE_CHECKING:
    from snipbias.cli.run import Run
    from snipbias.edits.edit import NeuronEdit
    from snipbias.evaluation.harness_scores import HarnessScores
    from snipbias.models.language_model import LanguageModel
    from snipbias.tasks.items import Task


@dataclass(kw_only=True)
class Evaluate(Tracked, o.Writing, o.Running, o.Answering, o.Asking):
    """Compare a model with and without edits, and with random controls, on held-out templates.

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
    edit: o.Edits = None
    items: o.Items = None
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Use all templates, for edits that come from other tasks."),
    ] = False
    controls: Annotated[int, typer.Option(min=0, help="Draws of each random control.")] = 1
    normalize: Annotated[
        o.Normalize, typer.Option(help="Divide an option's log-probability by its length.")
    ] = o.Normalize.sum
    options: Annotated[o.Options, typer.Option(help="How options are listed.")] = o.Options.text
    generate: Annotated[
        bool,
        typer.Option("--generate", help="Let the model write, and match its text to the options."),
    ] = False
    text: Annotated[
        Path | None, typer.Option(help="Your own neutral text for perplexity and KL.")
    ] = None
    no_text: o.NoText = False
    retention: Annotated[
        list[str] | None,
        typer.Option(
            help="Task on which the model must not get worse (repeatable).",
            show_default="mini:facts; mini:skills for the demo model",
        ),
    ] = None
    retention_items: Annotated[
        int, typer.Option(min=1, help="Use at most N rows of each retention task.")
    ] = 100
    no_retention: o.NoRetention = False
    no_control_rows: o.NoControlRows = False
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Also measure what the original model knows inside (slower)."),
    ] = False
    elsewhere: Annotated[
        int,
        typer.Option(
            min=0, help="Items of each small task that shows side effects elsewhere; 0: none."
        ),
    ] = 24
    margin: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Largest acceptable loss (0.02: 2 points of accuracy, 2 % of perplexity, 0.02 "
            "nats of KL).",
        ),
    ] = 0.02
    lm_eval: Annotated[
        str | None,
        typer.Option(help="Tasks of lm-evaluation-harness, before and after: piqa,boolq."),
    ] = None
    lm_eval_limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most N samples of each of them.")
    ] = None
    lm_eval_path: o.LmEvalPath = None
    records: Annotated[
        bool,
        typer.Option(
            "--records", help="Also write records/ in the formats of Every Eval Ever and lm-eval."
        ),
    ] = False
    full: o.Full = False

    def __call__(self) -> None:
        from snipbias.cli.combining import read_edits
        from snipbias.cli.ending import after_comparison, again, written
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
            texts = () if self.no_text else passages(self.text)
            lm = this.load(self.model, self.model_options)
            harness = self._harness(this, lm, edits)  # first: its data may be missing
            with this.progress("evaluating", 0) as progress:
                comparison = compare(
                    lm,
                    task,
                    *edits,
                    reading=Reading(self.normalize.value, self.options.value, self.generate),
                    items=self.items,
                    whole=self.whole,
                    controls=self.controls,
                    texts=texts,
                    retention=[task.subsample(self.retention_items) for task in kept],
                    control_rows=not self.no_control_rows,
                    with_probe=self.probe,
                    elsewhere=self.elsewhere,
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
        parts = [answer(comparison, {task.name: len(task.templates) for task in kept})]
        parts += ["", tables.comparison_renderable(comparison)] if self.full else []
        parts += ["", harness_renderable(harness, self.margin)] if harness else []
        then = again("find", self, "--n", "10,50", "--out", "edits")
        if edits:
            then = after_comparison(comparison, self.model, self.edit or [], edits, this.folder)
        this.show(
            {
                "out": str(this.folder),
                **comparison.to_dict(),
                **({"lm_eval": harness.to_dict(self.margin)} if harness else {}),
            },
            *parts,
            written(this.folder),
            then=then,
        )

    def _harness(
        self, this: Run, lm: LanguageModel, edits: list[NeuronEdit]
    ) -> HarnessScores | None:
        """Scores on tasks of lm-evaluation-harness, if any are asked for."""
        from snipbias.base.parallel import workers
        from snipbias.evaluation.harness import harness_scores

        if self.lm_eval is None:
            return None
        names = o.names(self.lm_eval)
        with this.progress("lm-evaluation-harness", 1 + len(edits)) as progress:
            scores = workers().from_main(  # the harness has its own way of using several processes
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
        """The column mapping that an edit was found with, if it was found on these rows."""
        names = (self.task, Path(self.task).name)
        for edit in edits:
            if edit.found_on and edit.found_on.columns and edit.found_on.task in names:
                return [f"{ours}={theirs}" for ours, theirs in edit.found_on.columns.items()]
        return None

    def _retention(self, this: Run, instructions: int) -> list[Task]:
        """Held-out rows of the retention tasks, under as many instructions as the task itself."""
        if self.no_retention:
            return []
        names = self.retention or ["mini:skills" if self.model == "demo" else "mini:facts"]
        options = {"data_dir": self.data_dir, "prompt": self.prompt, "instructions": instructions}
        return [this.task(name, **options).test for name in names]


def _write_harness(scores: HarnessScores, folder: Path, margin: float) -> None:
    """Write the scores into lm_eval.json, and append their table to tables.md."""
    from snipbias.evaluation.harness_scores import harness_markdown

    text = json.dumps(scores.to_dict(margin), indent=1)
    (folder / "lm_eval.json").write_text(text + "\n", encoding="utf-8")
    with open(folder / "tables.md", "a", encoding="utf-8") as file:
        file.write("\n" + harness_markdown(scores, margin))
