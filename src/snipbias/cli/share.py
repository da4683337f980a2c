"""The commands `card` and `push`."""

from __future__ import annotations

from pathlib import Path

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.cli import options as o
from snipbias.cli.run import show

EDIT = o.argument("Folder of an edit.")
LICENSE = o.option("License of the edit: apache-2.0 ...", show_default="the base model's")


class Card(o.Command):
    """Rewrite the model card of an edit (README.md), with the figures of an evaluation.

    The figures are kept next to it as evaluation.json.
    """

    examples = ("snipbias card age-edit --run snipbias-runs/result",)
    edit: str = EDIT
    run: Path | None = o.EVALUATION
    license: str | None = LICENSE
    overwrite: bool = o.flag("Replace a README.md that was written by hand.")
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from snipbias.edits import sharing as share

        if share.hub_id(self.edit):
            raise SnipbiasError(
                f"there is no folder {self.edit}: save the edit into one, or `push` it."
            )
        folder = share.locate(self.edit).parent
        found = sb.NeuronEdit.load(self.edit)
        card = folder / share.CARD_FILE
        if not (share.is_generated(folder) or self.overwrite):
            raise SnipbiasError(f"{card} was written by hand: replace it with --overwrite.")
        figures = sb.Figures.beside(found, folder, self.run)
        share.write(share.card_files(found, folder, figures, self.license), folder)
        result = {"card": str(card), "figures": figures is not None}
        said = "with figures" if figures else "without figures: name an evaluation with --run"
        show(self, result, f"written  {card}, {said}")


class Push(o.Command):
    """Upload an edit and its model card to the Hugging Face hub.

    Uploads edit.json, README.md and, if there are figures, evaluation.json; no run record and no
    path of this machine. Log in with 'hf auth login', or set HF_TOKEN.
    """

    examples = ("snipbias push age-edit jane/age-edit --private --run result",)
    edit: str = EDIT
    repo: str = o.argument("Repository on the hub: owner/name.")
    private: bool = o.flag("Make a new repository private.")
    run: Path | None = o.EVALUATION
    license: str | None = LICENSE
    message: str | None = o.option("Commit message.", show_default="Upload <label>")
    revision: str | None = o.option("Branch to write to.", show_default="main")
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from snipbias.edits.sharing import locate

        folder = locate(self.edit).parent
        commit = sb.NeuronEdit.load(self.edit).push_to_hub(
            self.repo,
            private=self.private or None,
            commit_message=self.message,
            revision=self.revision,
            evaluation=self.run,
            licence=self.license,
            folder=folder,
        )
        result = {"repository": commit.repo_url.repo_id, "commit": commit.oid, "url": str(commit)}
        load = f"sb.NeuronEdit.from_pretrained({result['repository']!r})"
        show(self, result, f"pushed: {result['url']}\nload it with {load}")
