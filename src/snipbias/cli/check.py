"""The command `check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from snipbias.cli import options as o
from snipbias.cli.showing import Showing


@dataclass(kw_only=True)
class Check(Showing, o.Running, o.Batching, o.Asking):
    """Look before you edit: can the model read these rows, is it biased, and can an edit help?

    Nothing is changed. A probe shows what the model knows inside of whether a question can be
    answered; where that is no more than it says, an edit can only shift its answers.
    """

    panel = o.FIND
    examples = ("snipbias check demo mini:age",)
    model: o.Model
    task: o.Task
    items: Annotated[int, typer.Option(min=2, help="Rows to ask, at most.")] = 40
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Measure what it knows inside (slower).")
    ] = True

    def __call__(self) -> None:
        """Ask, probe, and say what to expect."""
        from rich.console import Group
        from rich.text import Text

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
        next_step = f"\nnext: snipbias find {self.model} {self.task}"
        parts = [part for grid in found.grids() for part in (Text(), grid.rich())]
        said = (Text(line) for line in ("", *found.lines(), next_step))
        self.end(
            run, found.to_dict(), found.table(), str(found), Group(found.headline, *parts, *said)
        )
