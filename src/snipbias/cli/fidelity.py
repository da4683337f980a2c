"""The command `fidelity`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from snipbias.cli import options as o
from snipbias.cli.showing import Showing


@dataclass(kw_only=True)
class Fidelity(Showing, o.Running, o.Measuring, o.Asking):
    """Measure how well scores predict what pruning each neuron does.

    A sample of neurons is pruned one at a time, and the drop in the margin of the biased answer is
    compared with each method's scores. Test a scorer of your own here before you trust it.
    """

    panel = o.FIND
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
        from snipbias.experiment.fidelity import fidelity
        from snipbias.method.find import as_recipe

        methods = None if self.methods == "all" else o.names(self.methods)
        for name in methods or ():
            as_recipe(name)  # refuses an unknown one before the work
        run = self.begin("fidelity")
        task = run.task(self.task, **self.task_options)
        lm = run.load(self.model, self.model_options)
        with run.progress("fidelity", None) as progress:
            found = fidelity(
                lm,
                task,
                methods,
                samples=self.samples,
                neurons=self.neurons,
                seed=self.seed,
                batch_size=self.batch_size,
                stage=progress.stage,
                progress=progress,
            )
        rows = [asdict(method) for method in found.methods]
        shown = f"{found.headline}\n", found.grid().rich()
        self.end(run, found.to_dict(), rows, str(found), *shown)
