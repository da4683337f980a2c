"""The commands `check` and `fidelity`: one table about a model, also in a file on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file, refuse_existing, write_json
from snipbias.cli import options as o
from snipbias.cli.ending import again
from snipbias.cli.run import Run, show

PROBED = (
    "Output: what it says. Probe: what it knows inside; without surface: less length and the like. "
    "Bag of words and length need no understanding. Chance is 0.50."
)


class Showing(o.Command):
    """Where the table goes."""

    heading = "Output"
    save: Path | None = o.option("Also write it to this file: .json, .csv or .md.")
    overwrite: bool = o.OVERWRITE
    as_json: bool = o.JSON
    quiet: bool = o.QUIET

    def begin(self) -> Run:
        """Begin a run.

        Raises:
            SnipbiasError: the file to save cannot be written.
        """
        if self.save:
            if self.save.suffix not in (".json", ".csv", ".md"):
                raise SnipbiasError(f"cannot write {self.save}: name a .json, .csv or .md file.")
            refuse_existing(self.save, overwrite=self.overwrite, file=True, option="--save")
        return Run(self)

    def write(self, found: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a result to the file, if one was named, and its rows where that is a .csv."""
        if not self.save:
            return
        from snipbias.experiment.tables import csv_tables

        with atomic_file(self.save) as new:
            if self.save.suffix == ".json":
                write_json(found.to_dict(), new)
            else:
                text = csv_tables.text(rows) if self.save.suffix == ".csv" else f"{found}\n"
                new.write_text(text, encoding="utf-8")


class Check(Showing, o.Running, o.Batching, o.Asking):
    """Look before you edit: can the model read these rows, is it biased, and can an edit help?

    Nothing is changed. A probe measures whether the model knows inside which questions can be
    answered. If it knows no more than it says, an edit can only shift its answers.
    """

    examples = ("snipbias check demo mini:age",)
    model: str = o.MODEL
    task: str = o.TASK
    items: int = o.option("Use at most N rows.", 40, min=2)
    probe: bool = o.option("Measure what the model knows inside (slower).", True)

    def __call__(self) -> None:
        run = self.begin()
        task, lm = run.task(self.task), run.load(self.model)
        with run.progress("checking", None) as hooks:
            found = sb.check(lm, task, items=self.items, with_probe=self.probe, **hooks)
        self.write(found, found.table())
        grids = [part for grid in found.grids() for part in ("", grid.rich())]
        grids += [PROBED] if found.probe else []
        then = again("find", self, "--n", "10,50", "--out", "edits")
        show(self, found.to_dict(), found.headline, *grids, "", *found.lines(), then=then)


class Fidelity(Showing, o.Running, o.Measuring, o.Asking):
    """Measure how well scores predict what pruning each neuron does.

    Prunes a sample of neurons one at a time, measures how much less the model then prefers the
    wrong answer to the right one, and compares that with each method's scores. Test a scorer of
    your own here before you trust it.
    """

    examples = (
        "snipbias fidelity demo mini:age",
        "snipbias fidelity demo mini:age --methods 'v1,damped gap,my_module:my_scorer'",
    )
    model: str = o.MODEL
    task: str = o.TASK
    methods: str = o.option("Recipes, or module:name of a scorer; 'all': every recipe.", "all")
    neurons: int = o.option("Neurons to prune, drawn at random.", 300, min=2)
    samples: int = o.option("Items to score them on.", 10, min=1)
    seed: int = o.option("Seed of both draws.", 0)
    instructions: int | None = 1

    def __call__(self) -> None:
        from snipbias.method.find import as_recipe

        methods = None if self.methods == "all" else o.names(self.methods)
        for name in methods or ():
            as_recipe(name)  # refuses an unknown one before the work
        run = self.begin()
        task, lm = run.task(self.task), run.load(self.model)
        with run.progress("fidelity", None) as hooks:
            drawn = self.given("samples", "neurons", "seed")
            found = sb.fidelity(lm, task, methods, **drawn, **hooks)
        self.write(found, [asdict(method) for method in found.methods])
        show(self, found.to_dict(), f"{found.headline}\n", found.grid().rich())
