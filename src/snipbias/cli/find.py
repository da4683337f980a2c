"""The commands `find` and `learn`: edits, each with a name and a card."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.cli import options as o
from snipbias.cli.ending import again
from snipbias.cli.run import Run, columns, kept_in, run, show

LABEL = o.option("Name of the edit in tables.", show_default="the folder's name")
GLANCE = 16  # rows that are asked before anything is found


class Finding(o.Writing, o.Running, o.Measuring, o.Asking):
    """What `find` and `learn` share: both write edits, each with a card."""

    model: str = o.MODEL
    task: str = o.TASK

    def _write(
        self, this: Run, lm: sb.LanguageModel, edits: Mapping[str, sb.NeuronEdit], label: str | None
    ) -> dict[str, sb.NeuronEdit]:
        """Write one edit into the run's folder, or several into folders "n10" and "n50".

        Returns:
            The edits under their names, by the folder that each will be in.
        """
        from snipbias.edits.card.card import model_card
        from snipbias.edits.run_folder import write_sites
        from snipbias.edits.sharing import CARD_FILE

        found: dict[str, sb.NeuronEdit] = {}
        call = label or (self.out.name if self.out else "")
        renamed = columns(self.column) or {}  # so that `evaluate` need not be told again
        for name, edit in edits.items():
            if edit.found_on and renamed:
                edit = replace(edit, found_on=replace(edit.found_on, columns=renamed))
            if call:
                tells = f" {name.replace('n', 'n=')}" if len(edits) > 1 else ""
                edit = replace(edit, label=call + tells)
            inside = "" if len(edits) == 1 else name
            (this.new / inside).mkdir(exist_ok=True)
            edit.write_into(this.new / inside)
            found[str(this.folder / inside)] = edit
            this.record.data.setdefault("edits", {})[name] = edit.fingerprint
        for place, edit in found.items():  # only now does the record list all edits
            card = this.new / Path(place).relative_to(this.folder) / CARD_FILE
            card.write_text(model_card(edit, record=this.record, place=place), encoding="utf-8")
        write_sites(lm.sites, this.new)
        return found

    @staticmethod
    def _sizes(text: str) -> tuple[int, ...]:
        """The numbers of neurons that `--n` asks for."""
        sizes = o.numbers("--n", text, example="50, or 3,10,50")
        if not sizes:
            raise SnipbiasError(f"--n {text!r} is not a list of numbers: write 50, or 3,10,50.")
        if sizes[0] < 1:
            raise SnipbiasError(f"--n {text!r} asks for fewer than one neuron: ask for at least 1.")
        return sizes

    def _evaluate(self, this: Run, found: Iterable[str]) -> str:
        """The command that evaluates the edits in these folders."""
        edits = [word for place in found for word in ("--edit", place)]
        return again("evaluate", self, *edits, "--out", f"{this.folder}-result")


class Find(Finding):
    """Find the neurons that push a model to biased answers; write an edit that prunes them.

    Items are drawn from the templates set aside for finding; 'snipbias evaluate' reports on others.
    With several numbers of neurons, each edit gets a folder of its own (n3, n10, n50).
    """

    heading = "Finding"
    examples = (
        "snipbias find demo mini:age --n 10 --out age-edit",
        "snipbias find google/flan-t5-base bbq:SES --n 10,50 --method v2 --samples 20 --out ses",
    )
    n: str = o.option("Neurons to prune; several as 3,10,50.", "50")
    method: str = o.option("v1 (arXiv 2023), v2 (ACL 2024), v2 as coded, or another recipe.", "v1")
    samples: int = o.option("Items to find the neurons on.", 10, min=1)
    seed: int = o.option("Seed of the draw of items.", 0)
    stable: float | None = o.option(
        "Stop reading items once two halves of them share this much of their top n, such as 0.6.",
        min=0.0,
        max=1.0,
    )
    label: str | None = LABEL
    factor: float = o.option("Multiply outputs by this; 0 prunes.", 0.0)
    target: str | None = o.option(
        "Score by an option's probability (prob) or its logarithm (logprob)."
    )
    biased: str | None = o.option(
        "The biased answer: automatic (the likeliest wrong option, Eq. 3), or manual (the column "
        "'biased')."
    )
    tokens: str | None = o.option(
        "One score from all tokens: max, prompt (max over the prompt's), mean, sum, last or "
        "quantile."
    )
    terms: str | None = o.option(
        "Compute Eq. 2 at each token (together), or reduce its two terms over tokens first (apart)."
    )
    skill: float | None = o.option(
        "Weight of what the right answer needs (the skill term of Eq. 2)."
    )
    clamp: bool | None = o.option("Clamp the skill term at 0.")
    weight: str | None = o.option(
        "Weight of an item: none, or confusion (the biased answer's probability)."
    )
    aggregate: str | None = o.option("One score from all instructions: mean or max.")

    def __call__(self) -> None:
        from snipbias.cli.edit_view import edit_head, layer_map
        from snipbias.method.find import as_recipe
        from snipbias.method.stable import scored

        sizes, method = self._sizes(self.n), self._method()
        how = method.to_dict() if isinstance(method, sb.Method) else method
        chosen = as_recipe(method)
        with run(self, sizes=sizes, method=how) as this:
            this.record.seeds = {"sample of items": self.seed}
            task = this.task(self.task)
            drawn = task.sample(self.samples, self.seed, balance=chosen.balance)
            lm = this.load(self.model)
            before = sb.check(lm, task.find, items=GLANCE, with_controls=False)
            with this.progress("attributing", len(drawn) * len(drawn.instructions)) as hooks:
                watched = {"batch_size": self.batch_size, "progress": hooks["progress"]}
                scores = scored(lm, drawn, max(sizes), self.stable, chosen, **watched)
            this.record.lap("attribute")
            edits = {f"n{n}": scores.top(n, self.factor) for n in sizes}
            found = self._write(this, lm, edits, self.label)
        *_, (last, largest) = found.items()
        result = {
            "edits": list(found),
            "before": {row["figure"]: row["value"] for row in before.table()},
            "found_on": asdict(scores.found_on),
            "notes": list(task.notes),
        }
        said = [*edit_head(largest), *(f"note: {note}" for note in task.notes)]
        written = f"\nwritten  {', '.join(found)} (list the neurons: snipbias show {last})"
        parts = (before.in_short, *said, "", layer_map(largest, lm.sites), written)
        show(self, result, *parts, then=self._evaluate(this, found))

    def _method(self) -> Any:
        """A version of CRISPR with single deviations, or the name of another recipe."""
        from snipbias.method.equations import VERSIONS

        own = self.given("target", "biased", "tokens", "terms", "skill", "clamp", "weight")
        own["instructions"] = self.aggregate
        changes = {name: value for name, value in own.items() if value is not None}
        if self.method in VERSIONS:
            return VERSIONS[self.method](**changes)
        if changes:
            known = ", ".join(VERSIONS)
            raise SnipbiasError(f"{self.method!r} has no such settings: they belong to {known}.")
        return self.method


class Learn(Finding):
    """Learn a factor for every neuron, so that the model declines only what it cannot know.

    No weight changes. Training uses the templates set aside for finding, and those set aside for
    choosing decide when it stops; 'snipbias evaluate' reports on others. The rows must come in
    pairs: a question with and without the fact that answers it. If the training is killed, the same
    command resumes it.
    """

    heading = "Learning"
    examples = (
        "snipbias learn demo mini:age --out age-learned",
        "snipbias learn Qwen/Qwen2.5-1.5B-Instruct bbq:SES --also bbq:Age --n 300,3000",
    )
    also: list[str] | None = o.option("Another task to train on (repeatable).")
    n: str | None = o.option("Keep only N neurons and train again: 300 or 300,3000.")
    label: str | None = LABEL
    pick: str = o.option(
        "What to train: learned, grafting, first order, or the control learned random.", "learned"
    )
    steps: int = o.option("Training steps; each reads one group of rows.", 60, min=1)
    fillings: int = o.option("Groups of rows (the same people) per template.", 2, min=1)
    layers: float | None = o.option(
        "Share of layers to train, from the top.", show_default="all; 0.5 for a decoder-only model"
    )
    roles: str | None = o.option("Only layers of these roles: gate,up,down.")
    rate: float = o.option("Largest change of a factor in one step (Adam's learning rate).", 0.01)
    pair: float = o.option(
        "Weight of telling unanswerable from answerable rows; 0 leaves only cross-entropy.", 1.0
    )
    answerable: float = o.option("Weight of answerable rows relative to unanswerable ones.", 3.0)
    seed: int = o.option("Seed of the rows and their order.", 0)

    def __call__(self) -> None:
        from snipbias.method.learned.check import LEGEND
        from snipbias.method.learned.train import STATE

        sizes = self._sizes(self.n) if self.n else ()
        training = sb.Training(**self.given("steps", "rate", "pair", "answerable"))
        # Next to the result, which appears only when it is complete.
        out = self.out
        state = out.with_name(f"{out.name}.learning") if out is not None and out.name else None
        with run(self, sizes=sizes, training=training.to_dict()) as this:
            this.record.seeds = {"sample of items": self.seed}
            tasks = [this.task(name) for name in (self.task, *(self.also or ()))]
            lm = this.load(self.model)
            total = self.steps * (len(sizes) + (self.pick == "learned" or not sizes))
            with this.progress("learning", total) as hooks, kept_in(state):
                learned = sb.learn(
                    lm,
                    tasks,
                    sizes,
                    roles=self.roles.split(",") if self.roles else (),
                    training=training,
                    progress=hooks["progress"],
                    folder=state,
                    **self.given("pick", "fillings", "layers", "seed"),
                )
            this.record.lap("learn")
            edits = {f"n{n}" if n else "all": edit for n, edit in learned.edits.items()}
            found = self._write(this, lm, edits, self.label)
            checks = list(learned.records())
            with open(this.new / "curve.csv", "w", newline="", encoding="utf-8") as file:
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
        show(self, result, *curves, LEGEND, written, then=self._evaluate(this, found))
