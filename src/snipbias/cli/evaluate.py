"""The command `evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import snipbias as sb
from snipbias.base.parallel import workers
from snipbias.cli import options as o
from snipbias.cli.ending import Tracked, after_comparison, again, written
from snipbias.cli.run import Run, run, show


class Evaluate(Tracked, o.Writing, o.Running, o.Answering, o.Asking):
    """Compare a model with and without edits, and with random controls, on held-out templates.

    Writes rows.parquet and retention.parquet (every option's log-probability), summary.json,
    tables.md and run.json.
    """

    heading = "Evaluation"
    examples = (
        "snipbias evaluate demo mini:age --edit age-edit",
        "snipbias evaluate google/flan-t5-base bbq:SES --edit ses/n10 --edit ses/n50 --items 200",
        "snipbias evaluate google/flan-t5-base bbq:SES --edit ses/n10 --lm-eval piqa --margin 0.01",
    )
    model: str = o.MODEL
    task: str = o.TASK
    edit: list[str] | None = o.EDITS
    items: int | None = o.ITEMS
    whole: bool = o.flag("Use all templates, for edits that come from other tasks.")
    controls: int = o.option("Draws of each random control.", 1, min=0)
    normalize: Literal["sum", "token", "byte"] = o.option(
        "Divide an option's log-probability by its length.", "sum"
    )
    options: Literal["text", "letters"] = o.option("How options are listed.", "text")
    generate: bool = o.flag("Let the model write, and match its text to the options.")
    text: Path | None = o.option("Your own neutral text for perplexity and KL.")
    no_text: bool = o.NO_TEXT
    retention: list[str] | None = o.option(
        "Task on which the model must not get worse (repeatable).",
        show_default="mini:facts; mini:skills for the demo model",
    )
    retention_items: int = o.option("Use at most N rows of each retention task.", 100, min=1)
    no_retention: bool = o.NO_RETENTION
    no_control_rows: bool = o.NO_CONTROL_ROWS
    probe: bool = o.flag("Also measure what the original model knows inside (slower).")
    elsewhere: int = o.option(
        "Items of each small task that shows side effects elsewhere; 0: none.", 24, min=0
    )
    margin: float = o.option(
        "Largest acceptable loss (0.02: 2 points of accuracy, 2 % of perplexity, 0.02 nats of KL).",
        0.02,
        min=0.0,
    )
    lm_eval: str | None = o.option("Tasks of lm-evaluation-harness, before and after: piqa,boolq.")
    lm_eval_limit: int | None = o.option("Use at most N samples of each of them.", min=1)
    lm_eval_path: Path | None = o.LM_EVAL_PATH
    records: bool = o.flag("Also write records/ in the formats of Every Eval Ever and lm-eval.")
    full: bool = o.FULL

    def __call__(self) -> None:
        from snipbias.cli.combining import read_edits
        from snipbias.edits.run_folder import write_edits, write_sites
        from snipbias.evaluation import tables
        from snipbias.evaluation.answer import answer
        from snipbias.evaluation.harness_scores import harness_renderable
        from snipbias.evaluation.records import write_records

        self.ready()
        with run(self) as this:
            edits = read_edits(self.edit or [], this)
            this.record.data["text"] = str(self.text or "shipped with the package")
            this.record.seeds = {"sample of items": 0, "controls": list(range(self.controls))}
            self.column = self.column or self._remembered(edits)
            task = this.task(self.task)
            kept = self._retention(this, len(task.instructions))
            texts = () if self.no_text else sb.passages(self.text)
            lm = this.load(self.model)
            harness = self._harness(this, lm, edits)  # first: its data may be missing
            with this.progress("evaluating", 0) as hooks:
                comparison = sb.compare(
                    lm,
                    task,
                    *edits,
                    reading=sb.Reading(self.normalize, self.options, self.generate),
                    texts=texts,
                    retention=[task.subsample(self.retention_items) for task in kept],
                    control_rows=not self.no_control_rows,
                    with_probe=self.probe,
                    **self.given("items", "whole", "controls", "elsewhere", "margin"),
                    **hooks,
                )
            this.record.lap("evaluate")
            comparison.save(this.new)
            write_sites(lm.sites, this.new)
            write_edits(edits, this.new)
            if harness:
                harness.save(this.new, self.margin)
        if self.records:
            write_records(this.folder)
        self.log(this.folder.name, this.record.arguments, comparison.to_dict())
        parts = [answer(comparison, {task.name: len(task.templates) for task in kept})]
        parts += ["", tables.comparison_renderable(comparison)] if self.full else []
        parts += ["", harness_renderable(harness, self.margin)] if harness else []
        then = again("find", self, "--n", "10,50", "--out", "edits")
        if edits:
            then = after_comparison(comparison, self.model, self.edit or [], edits, this.folder)
        result = {"out": str(this.folder), **comparison.to_dict()}
        result |= {"lm_eval": harness.to_dict(self.margin)} if harness else {}
        show(self, result, *parts, written(this.folder), then=then)

    def _harness(
        self, this: Run, lm: sb.LanguageModel, edits: list[sb.NeuronEdit]
    ) -> sb.HarnessScores | None:
        """Scores on tasks of lm-evaluation-harness, if any are asked for."""
        from snipbias.models.sharded import refuse_split

        names = o.names(self.lm_eval)
        if names is None:
            return None
        refuse_split()  # the other processes would not take part
        how = {"limit": self.lm_eval_limit, "include_path": self.lm_eval_path}
        with this.progress("lm-evaluation-harness", 1 + len(edits)) as hooks:
            how |= {"batch_size": self.batch_size, "progress": hooks["progress"]}
            ask = partial(sb.harness_scores, lm, names, edits, **how)
            scores = workers().from_main(ask)  # it has its own way of using several processes
        this.record.data["lm-eval"] = dict(scores.versions)
        this.record.lap("lm-eval")
        return scores

    def _remembered(self, edits: list[sb.NeuronEdit]) -> list[str] | None:
        """The column mapping that an edit was found with, if it was found on these rows."""
        names = (self.task, Path(self.task).name)
        for edit in edits:
            if edit.found_on and edit.found_on.columns and edit.found_on.task in names:
                return [f"{ours}={theirs}" for ours, theirs in edit.found_on.columns.items()]
        return None

    def _retention(self, this: Run, instructions: int) -> list[sb.Task]:
        """Held-out rows of the retention tasks, under as many instructions as the task itself."""
        if self.no_retention:
            return []
        names = self.retention or ["mini:skills" if self.model == "demo" else "mini:facts"]
        asked = self.given("data_dir", "prompt")
        return [this.task(name, **asked, instructions=instructions).test for name in names]
