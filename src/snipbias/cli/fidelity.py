"""The command `fidelity`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from snipbias.cli import options as o
from snipbias.cli.showing import Showing


@dataclass(kw_only=True)
class Fidelity(Showing, o.Running, o.Measuring, o.Asking):
    """Show how well scores say what pruning each neuron does.

    A sample of neurons is pruned one by one, and what the margin of the biased answer loses is laid
    beside the scores of each method. Try a scorer of your own here before you believe it.
    """

    panel = o.FIND
    examples = (
        "snipbias fidelity demo mini:age",
        "snipbias fidelity demo mini:age --methods 'v1,damped gap,my_module:my_scorer'",
    )
    model: o.Model
    task: o.Task
    methods: Annotated[
        str, typer.Option(help="Recipes, module:name of a scorer; 'all' takes every recipe.")
    ] = "all"
    neurons: Annotated[int, typer.Option(min=2, help="Neurons to prune, drawn evenly.")] = 300
    samples: Annotated[int, typer.Option(min=1, help="Items to score them on.")] = 10
    seed: Annotated[int, typer.Option(help="Of both draws.")] = 0
    instructions: Annotated[
        int | None,
        typer.Option(min=1, help="Use only the first so many of the task's instructions."),
    ] = 1

    def __call__(self) -> None:
        """Prune, score, compare."""
        from rich.console import Group
        from rich.text import Text

        from snipbias.experiment.fidelity import fidelity
        from snipbias.method.find import as_recipe

        names = None
        if self.methods != "all":
            names = [name.strip() for name in self.methods.split(",")]
            for name in names:
                as_recipe(name)  # before the work
        run = self.begin("fidelity")
        task = run.task(self.task, **self.task_options)
        lm = run.load(self.model, self.model_options)
        with run.progress("fidelity", None) as progress:
            found = fidelity(
                lm,
                task,
                names,
                samples=self.samples,
                neurons=self.neurons,
                seed=self.seed,
                batch_size=self.batch_size,
                stage=progress.stage,
                progress=progress,
            )
        rows = [asdict(method) for method in found.methods]
        shown = Group(Text(found.headline + "\n"), found.grid().rich())
        self.end(run, found.to_dict(), rows, str(found), shown)
