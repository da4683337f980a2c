"""The command `find`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.cli import options as o
from snipbias.cli.found import LABEL, write_found

GLANCE = 16  # rows that are asked before anything is found


@dataclass(kw_only=True)
class Find(o.Writing, o.Running, o.Measuring, o.Asking):
    """Find the neurons that push a model to biased answers; write an edit that prunes them.

    Items are drawn from the templates set aside for finding; 'snipbias evaluate' reports on others.
    With several numbers of neurons, each edit gets a folder of its own (n3, n10, n50).
    """

    panel = o.FIND
    heading = "Finding"
    examples = (
        "snipbias find demo mini:age --n 10 --out age-edit",
        "snipbias find google/flan-t5-base bbq:SES --n 10,50 --method v2 --samples 20 --out ses",
    )
    model: str = o.MODEL
    task: str = o.TASK
    n: str = o.option("Neurons to prune; several as 3,10,50.", "50")
    method: str = o.option("v1 (arXiv 2023), v2 (ACL 2024), v2 as coded, or another recipe.", "v1")
    samples: int = o.option("Items to find the neurons on.", 10, min=1)
    seed: int = o.option("Seed of the draw of items.", 0)
    stable: float | None = o.option(
        "Stop early, once two halves of the items agree on this share of the top n: 0.6.",
        min=0.0,
        max=1.0,
    )
    label: str | None = LABEL
    factor: float = o.option("Multiply outputs by this; 0 prunes.", 0.0)
    target: str | None = o.option("prob or logprob.")
    biased: str | None = o.option(
        "automatic (Eq. 3), or manual: the biased option that the row names."
    )
    tokens: str | None = o.option("max, prompt, mean, sum, last or quantile over tokens.")
    terms: str | None = o.option("Reduce Eq. 2 over tokens (together), or each term (apart).")
    skill: float | None = o.option("Weight of the skill term.")
    clamp: bool | None = o.option("Clamp the skill term at 0.")
    weight: str | None = o.option("none or confusion.")
    aggregate: str | None = o.option("mean or max over instructions.")

    def __call__(self) -> None:
        from snipbias.cli.ending import again
        from snipbias.cli.run import run
        from snipbias.cli.show import edit_head, layer_map
        from snipbias.evaluation.check import check
        from snipbias.method.equations import Method
        from snipbias.method.find import as_recipe, scored

        sizes, method = neurons(self.n), self._method()
        how = method.to_dict() if isinstance(method, Method) else method
        effective = {**vars(self), "sizes": sizes, "method": how}
        chosen = as_recipe(method)
        with run("find", effective, self) as (this, folder):
            this.record.seeds = {"sample of items": self.seed}
            task = this.task(self.task, **self.task_options)
            drawn = task.sample(self.samples, self.seed, balance=chosen.balance)
            lm = this.load(self.model, self.model_options)
            before = check(lm, task.find, items=GLANCE, with_controls=False)
            with this.progress("attributing", len(drawn) * len(drawn.instructions)) as progress:
                scores = scored(
                    lm,
                    drawn,
                    max(sizes),
                    self.stable,
                    chosen,
                    batch_size=self.batch_size,
                    progress=progress,
                )
            this.record.lap("attribute")
            written, edits = write_found(
                this,
                folder,
                lm,
                {f"n{n}": (f"n={n}", scores.top(n, self.factor)) for n in sizes},
                label=self.label,
                out=self.out,
                column=self.column,
            )
        largest = edits[-1]
        asked = [word for path in written for word in ("--edit", str(path))]
        places = ", ".join(map(str, written))
        this.show(
            {
                "edits": list(map(str, written)),
                "before": {row["figure"]: row["value"] for row in before.table()},
                "found_on": asdict(scores.found_on),
                "notes": list(task.notes),
            },
            before.in_short,
            *edit_head(largest),
            *(f"note: {note}" for note in task.notes),
            "",
            layer_map(largest, lm.sites),
            f"\nwritten  {places} (list the neurons: snipbias show {written[-1]})",
            then=again("evaluate", self, *asked, "--out", f"{this.folder}-result"),
        )

    def _method(self) -> Any:
        """A version of CRISPR with single deviations, or the name of another recipe."""
        from snipbias.method.equations import VERSIONS

        own = ("target", "biased", "tokens", "terms", "skill", "clamp", "weight")
        names = {**{name: name for name in own}, "instructions": "aggregate"}
        changes = {ours: getattr(self, name) for ours, name in names.items()}
        changes = {ours: value for ours, value in changes.items() if value is not None}
        if self.method in VERSIONS:
            return VERSIONS[self.method](**changes)
        if changes:
            known = ", ".join(VERSIONS)
            raise SnipbiasError(f"{self.method!r} has no such settings: they belong to {known}.")
        return self.method


def neurons(text: str) -> list[int]:
    """The numbers of neurons that `--n` asks for.

    Raises:
        SnipbiasError: they are not numbers of at least 1.
    """
    sizes = o.numbers("--n", text, example="50, or 3,10,50")
    if not sizes:
        raise SnipbiasError(f"--n {text!r} is not a list of numbers: write 50, or 3,10,50.")
    if sizes[0] < 1:
        raise SnipbiasError(f"--n {text!r} asks for fewer than one neuron: ask for at least 1.")
    return sizes
