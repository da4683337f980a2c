"""The command `check`."""

from __future__ import annotations

from dataclasses import dataclass

from snipbias.cli import options as o
from snipbias.cli.showing import Showing

PROBED = (
    "Output: what it says. Probe: what it knows inside; without surface, less length and the like. "
    "Bag of words and length need no understanding. Chance is 0.50."
)


@dataclass(kw_only=True)
class Check(Showing, o.Running, o.Batching, o.Asking):
    """Look before you edit: can the model read these rows, is it biased, and can an edit help?

    Nothing is changed. A probe measures whether the model knows inside which questions can be
    answered. If it knows no more than it says, an edit can only shift its answers.
    """

    panel = o.FIND
    examples = ("snipbias check demo mini:age",)
    model: str = o.MODEL
    task: str = o.TASK
    items: int = o.option("Use at most N rows.", 40, min=2)
    probe: bool = o.option("Measure what the model knows inside (slower).", True)

    def __call__(self) -> None:
        from snipbias.cli.ending import again
        from snipbias.evaluation.check import check

        run = self.begin("check")
        task = run.task(self.task, **self.task_options)
        lm = run.load(self.model, self.model_options)
        with run.progress("checking", None) as progress:
            found = check(
                lm,
                task,
                items=self.items,
                with_probe=self.probe,
                batch_size=self.batch_size,
                stage=progress.stage,
                progress=progress,
            )
        grids = [part for grid in found.grids() for part in ("", grid.rich())]
        grids += [PROBED] if found.probe else []
        shown = (found.headline, *grids, "", *found.lines())
        then = again("find", self, "--n", "10,50", "--out", "edits")
        self.end(run, found.to_dict(), found.table(), str(found), *shown, then=then)
