"""The commands `card` and `push`: their options, and what they do."""

from __future__ import annotations

from typing import Annotated

import typer

from snipbias.cli import options as o

Edit = Annotated[str, typer.Argument(help="Folder of an edit.", show_default=False)]
License = Annotated[
    str | None, typer.Option(help="Of the edit: apache-2.0 ...", show_default="its base's")
]


def card(
    edit: Edit,
    run: o.EvaluationRun = None,
    license: License = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a README.md that was written by hand.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Write the model card of an edit, README.md, again: with the figures of an evaluation.

    The figures are kept beside it as evaluation.json.
    """
    from rich.text import Text

    from snipbias.base.errors import SnipbiasError
    from snipbias.cli.run import show
    from snipbias.edits import sharing as share
    from snipbias.edits.edit import NeuronEdit

    if share.hub_id(edit):
        raise SnipbiasError(f"there is no folder {edit}: save the edit into one, or `push` it.")
    folder = share.locate(edit).parent
    found = NeuronEdit.load(edit)
    if not (share.is_generated(folder) or overwrite):
        raise SnipbiasError(
            f"{folder / share.CARD_FILE} was written by hand: replace it by --overwrite."
        )
    figures = share.figures_for(found, run, folder)
    record = share.record_of(found, folder)
    share.write_card(found, folder, figures=figures, record=record, licence=license)
    result = {"card": str(folder / share.CARD_FILE), "figures": figures is not None}
    said = "with figures" if figures else "without figures: give an evaluation by --run"
    show(result, Text(f"written: {result['card']}, {said}"), as_json=as_json)


def push(
    edit: Edit,
    repo: Annotated[
        str, typer.Argument(help="Repository of the hub: owner/name.", show_default=False)
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    run: o.EvaluationRun = None,
    license: License = None,
    message: Annotated[
        str | None, typer.Option(help="Of the commit.", show_default="Upload <label>")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch to write to.", show_default="main")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Upload an edit and its model card to the hub of Hugging Face, as who is logged in there.

    Uploads edit.json, README.md and, where there are figures, evaluation.json; no run record, and
    no path of this machine. Log in by 'hf auth login', or set HF_TOKEN.
    """
    from rich.text import Text

    from snipbias.cli.run import show
    from snipbias.edits import sharing as share
    from snipbias.edits.edit import NeuronEdit

    folder = share.locate(edit).parent
    found = NeuronEdit.load(edit)
    commit = share.push(
        found,
        repo,
        private=private or None,
        commit_message=message,
        revision=revision,
        evaluation=run,
        record=share.record_of(found, folder),
        licence=license,
        folder=folder,
    )
    result = {"repository": commit.repo_url.repo_id, "commit": commit.oid, "url": str(commit)}
    load = f"sb.NeuronEdit.from_pretrained({result['repository']!r})"
    show(result, Text(f"pushed: {result['url']}\nload it by {load}"), as_json=as_json)
