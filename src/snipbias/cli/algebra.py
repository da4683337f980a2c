"""The commands `combine` and `overlap`: their options (imports nothing heavy)."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from snipbias.cli import options as o


class How(str, Enum):
    """Ways of putting edits together."""

    union = "union"
    difference = "difference"
    intersection = "intersection"


Edits = Annotated[
    list[str],
    typer.Argument(help="Folders of edits of one model, or owner/name.", show_default=False),
]


def combine(
    edits: Edits,
    how: Annotated[
        How,
        typer.Option(
            metavar="<how>",  # all of them in one word break at 80 columns
            help="union: neurons of any, by the strongest factor; intersection: neurons of all, by "
            "the weakest; difference: neurons of the first that no other holds.",
        ),
    ] = How.union,
    strength: Annotated[
        float, typer.Option(help="Then scale it: 0 changes nothing, 1 is the whole edit.")
    ] = 1.0,
    label: Annotated[
        str | None, typer.Option(help="What to call it.", show_default="made from theirs")
    ] = None,
    out: o.Out = None,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Put edits of one model together into one, or give one edit another strength."""
    arguments: dict[str, Any] = dict(locals())
    from snipbias.cli import combining

    combining.combine(arguments)


def overlap(
    edits: Edits,
    model: Annotated[
        str | None,
        typer.Option(
            help="Their model: adds roles inside fused layers and chance within sites; needed for "
            "--task.",
            show_default=False,
            rich_help_panel=o.MODEL_PANEL,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Also evaluate the original, each edit, their union and their intersection on "
            "this task's held-out templates (repeatable).",
            show_default=False,
            rich_help_panel=o.TASK_PANEL,
        ),
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="At most so many held-out items of each task.")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="No neutral text.")] = False,
    no_retention: Annotated[
        bool, typer.Option("--no-retention", help="No retention task (mini:skills).")
    ] = False,
    batch_size: o.BatchSize = "auto",
    data_dir: o.DataDir = None,
    instruction: o.Instruction = None,
    instructions: o.Instructions = None,
    prompt: o.Prompt = None,
    column: o.Column = None,
    revision: o.Revision = None,
    dtype: o.Dtype = o.DType.auto,
    device: o.Device = None,
    device_map: o.DeviceMap = None,
    chat: o.Chat = None,
    trust_remote_code: o.TrustRemoteCode = False,
    out: o.Out = None,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Show what edits share beside chance, and what their union does to each benchmark.

    With --task it writes a folder: rows, tables and summary of each task, overlap.json, run.json.
    """
    arguments: dict[str, Any] = dict(locals())
    from snipbias.cli import combining

    combining.overlap_edits(arguments, o.model_options(arguments))
