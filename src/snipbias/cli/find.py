"""The command `find`, and how edits that were found are written: named, with a card each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.cli import options as o
from snipbias.cli.ending import again
from snipbias.cli.run import Run, columns, run, show

LABEL = o.option("Name of the edit in tables.", show_default="the folder's name")
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
        from snipbias.cli.show import edit_head, layer_map
        from snipbias.method.find import as_recipe, scored

        sizes, method = neurons(self.n), self._method()
        how = method.to_dict() if isinstance(method, sb.Method) else method
        chosen = as_recipe(method)
        with run(self, sizes=sizes, method=how) as (this, folder):
            this.record.seeds = {"sample of items": self.seed}
            task = this.task(self.task)
            drawn = task.sample(self.samples, self.seed, balance=chosen.balance)
            lm = this.load(self.model)
            before = sb.check(lm, task.find, items=GLANCE, with_controls=False)
            with this.progress("attributing", len(drawn) * len(drawn.instructions)) as progress:
                watched = {"batch_size": self.batch_size, "progress": progress}
                scores = scored(lm, drawn, max(sizes), self.stable, chosen, **watched)
            this.record.lap("attribute")
            edits = {f"n{n}": (f"n={n}", scores.top(n, self.factor)) for n in sizes}
            found = write_found(this, folder, lm, edits)
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
        show(self, result, *parts, then=evaluate_them(this, found))

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


def neurons(text: str) -> tuple[int, ...]:
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


def write_found(
    this: Run, folder: Path, lm: sb.LanguageModel, edits: Mapping[str, tuple[str, sb.NeuronEdit]]
) -> dict[str, sb.NeuronEdit]:
    """Write one edit into the run's folder, or several into a folder each.

    Args:
        this: the run of a command with the options `label` (by default its folder's name) and
            `column`, which the edits get.
        folder: the folder to fill.
        lm: the edits' model.
        edits: folder -> (what tells the edit from its siblings, the edit).

    Returns:
        The edits under their names, by the folder that each will be in.
    """
    from snipbias.edits.card.card import model_card
    from snipbias.edits.run_folder import write_sites
    from snipbias.edits.sharing import CARD_FILE

    found, options = {}, this.command
    call = options.label or (options.out.name if options.out else "")
    renamed = columns(options.column) or {}  # so that `evaluate` need not be told again
    for name, (tells, edit) in edits.items():
        if edit.found_on and renamed:
            edit = replace(edit, found_on=replace(edit.found_on, columns=renamed))
        if call:
            edit = replace(edit, label=f"{call} {tells}" if len(edits) > 1 else call)
        inside = "" if len(edits) == 1 else name
        (folder / inside).mkdir(exist_ok=True)
        edit.write_into(folder / inside)
        found[str(this.folder / inside)] = edit
        this.record.data.setdefault("edits", {})[name] = edit.fingerprint
    for place, edit in found.items():  # only now does the record list all edits
        card = folder / Path(place).relative_to(this.folder) / CARD_FILE
        card.write_text(model_card(edit, record=this.record, place=place), encoding="utf-8")
    write_sites(lm.sites, folder)
    return found


def evaluate_them(this: Run, found: Iterable[str]) -> str:
    """The command that evaluates the edits in these folders."""
    edits = [word for place in found for word in ("--edit", place)]
    return again("evaluate", this.command, *edits, "--out", f"{this.folder}-result")
