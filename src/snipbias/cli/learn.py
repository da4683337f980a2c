"""The command `learn`."""

from __future__ import annotations

import csv
from contextlib import suppress
from dataclasses import dataclass

import snipbias as sb
from snipbias.cli import options as o
from snipbias.cli.find import LABEL, evaluate_them, neurons, write_found
from snipbias.cli.run import kept_in, run, show


@dataclass(kw_only=True)
class Learn(o.Writing, o.Running, o.Measuring, o.Asking):
    """Learn a factor for every neuron, so that the model declines only what it cannot know.

    No weight changes. Training uses the templates set aside for finding and stops on those set
    aside for choosing; 'snipbias evaluate' reports on others. The rows must come in pairs: a
    question with and without the fact that answers it. Run a killed training again to resume it.
    """

    panel = o.FIND
    heading = "Learning"
    examples = (
        "snipbias learn demo mini:age --out age-learned",
        "snipbias learn Qwen/Qwen2.5-1.5B-Instruct bbq:SES --also bbq:Age --n 300,3000",
    )
    model: str = o.MODEL
    task: str = o.TASK
    also: list[str] | None = o.option("Another task to train on (repeatable).")
    n: str | None = o.option("Keep only N neurons and train again: 300 or 300,3000.")
    label: str | None = LABEL
    pick: str = o.option(
        "learned, grafting, first order, or the control learned random.", "learned"
    )
    steps: int = o.option("Training steps, a group of rows each.", 60, min=1)
    fillings: int = o.option("Groups of rows per template.", 2, min=1)
    layers: float | None = o.option("Share of layers to train, from the top; half for a decoder.")
    roles: str | None = o.option("Only layers of these roles: gate,up,down.")
    rate: float = o.option("Adam's largest step of a factor.", 0.01)
    pair: float = o.option("Weight of the pair loss; 0 leaves only cross-entropy.", 1.0)
    answerable: float = o.option("Weight of answerable rows relative to unanswerable ones.", 3.0)
    seed: int = o.option("Seed of the rows and their order.", 0)

    def __call__(self) -> None:
        from snipbias.method.learned.check import LEGEND
        from snipbias.method.learned.train import STATE

        sizes = neurons(self.n) if self.n else ()
        training = sb.Training(**self.given("steps", "rate", "pair", "answerable"))
        # Next to the result, which appears only when it is complete.
        out = self.out
        state = out.with_name(f"{out.name}.learning") if out is not None and out.name else None
        with run(self, sizes=sizes, training=training.to_dict()) as (this, folder):
            this.record.seeds = {"sample of items": self.seed}
            tasks = [this.task(name) for name in (self.task, *(self.also or ()))]
            lm = this.load(self.model)
            total = self.steps * (len(sizes) + (self.pick == "learned" or not sizes))
            with this.progress("learning", total) as progress, kept_in(state):
                learned = sb.learn(
                    lm,
                    tasks,
                    sizes,
                    roles=self.roles.split(",") if self.roles else (),
                    training=training,
                    progress=progress,
                    folder=state,
                    **self.given("pick", "fillings", "layers", "seed"),
                )
            this.record.lap("learn")
            edits = {
                "all" if n is None else f"n{n}": ("all" if n is None else f"n={n}", edit)
                for n, edit in learned.edits.items()
            }
            found = write_found(this, folder, lm, edits)
            checks = list(learned.records())
            with open(folder / "curve.csv", "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(checks[0]))
                writer.writeheader()
                writer.writerows(checks)
        for place in () if state is None else (*state.glob("*/"), state):
            with suppress(OSError):  # something else lies there too
                (place / STATE).unlink(missing_ok=True)
                place.rmdir()
        curves = (curve.rich() for curve in learned.curves())
        written = f"\nwritten  {', '.join(found)}"
        result = {"edits": list(found), "checks": checks}
        show(self, result, *curves, LEGEND, written, then=evaluate_them(this, found))
