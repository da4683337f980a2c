"""The commands `export` and `apply`: an edit for other software."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import snipbias as sb
from snipbias.cli import options as o
from snipbias.cli.run import run, show

CHECK = o.option("Compare the result with the edited model in float32.", True)


class Export(o.Writing, o.Loading):
    """Write an edit as a PEFT adapter or a checkpoint, and check it against the edited model.

    The result works without snipbias. The folder also holds the edit itself, a README.md with the
    code that loads it, and export.json with the result of the check.
    """

    heading = "Export"
    examples = (
        "snipbias export age-edit --model demo --out age-lora",
        "snipbias export ses/n10 --model google/flan-t5-base --format ia3 --out ses-ia3",
        "snipbias export age-edit --model demo --format checkpoint --out fair-model",
    )
    edit: str = o.EDIT
    model: str | None = o.option(
        "Hub id, local folder, .gguf file.", show_default="the model it was found on"
    )
    format: Literal["lora", "ia3", "checkpoint"] = o.option(
        "PEFT adapter (lora, ia3), or the whole model with the edit.", "lora"
    )
    base: str | None = o.option(
        "Name of the base model in the adapter, such as a hub id.",
        show_default="where the model was loaded from",
    )
    one_rank: bool = o.flag(
        "LoRA: use the same rank in all layers, for servers that ignore rank_pattern."
    )
    check: bool = CHECK
    run: Path | None = o.EVALUATION
    dtype: o.DType = "stored"

    def __call__(self) -> None:
        _export(self, vars(self))


class Apply(o.Writing, o.Loading):
    """Bake an edit into the weights; write a checkpoint that plain transformers loads.

    Short for 'snipbias export EDIT --format checkpoint'.
    """

    examples = ("snipbias apply demo age-edit --out fair-model",)
    model: str = o.MODEL
    edit: str = o.EDIT
    check: bool = CHECK
    dtype: o.DType = "stored"

    def __call__(self) -> None:
        fixed = {"format": "checkpoint", "base": None, "one_rank": False, "run": None}
        _export(self, {**vars(self), **fixed})


def _export(command: Export | Apply, options: dict[str, Any]) -> None:
    """Load the model and the edit, write the export, and say how exact it is."""
    from snipbias.base.files import slug
    from snipbias.edits.card.figures import command as command_line
    from snipbias.edits.export.write import fill

    path, evaluation = command.edit, options["run"]
    beside = Path(path) if Path(path).is_dir() else None
    with run(command, **options) as this:
        edit = sb.NeuronEdit.load(path)
        this.record.data["edits"] = {path: edit.fingerprint}
        lm = this.load(options["model"] or edit.model.name)
        with this.progress("writing and checking", None):
            exported = fill(
                *(this.new, this.folder, lm, edit, options["format"]),
                evaluation=evaluation,
                command=command_line(this.record),
                beside=beside,
                **{name: options[name] for name in ("base", "one_rank", "check")},
            )
        this.record.lap(command.name)
        size = sum(file.stat().st_size for file in this.new.iterdir())
    result = {"out": str(this.folder), "edit": edit.label, "bytes": size, **exported.to_dict()}
    push = ["snipbias", "push", path, f"YOUR-NAME/{slug(edit.label)}", "--private"]
    then = shlex.join([*push, "--run", str(evaluation)]) if evaluation and beside else ""
    kind = {
        "lora": f"are a LoRA adapter (ranks up to {exported.rank}) in",
        "ia3": "are an (IA)3 adapter in",
        "checkpoint": "are baked into",
    }[exported.format]
    lines = [
        f"{exported.neurons} neurons of {edit.label}, in {exported.modules} layers, {kind} "
        f"{this.folder} ({size / 1000:,.0f} kB)"
    ]
    if exported.format != "checkpoint":
        lines.append(f"base model: {exported.base.name or 'none: name it with --base'}")
    if exported.bias:
        lines.append("it holds bias terms, which PEFT reads but other servers may ignore")
    if exported.check is None:
        lines.append("not checked against the edited model")
    else:
        lines.append(
            f"checked in float32: logits differ from the edited model's by at most "
            f"{exported.check.difference:.1e} of the largest; the edit itself moves them by "
            f"{exported.check.effect:.1e}"
        )
    show(command, result, "\n".join(lines), then=then)
