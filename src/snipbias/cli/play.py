"""The command `play`: its options (imports nothing heavy)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from snipbias.cli import options as o

PANEL = "Page"


def play(
    model: o.Model,
    edit: Annotated[
        list[str] | None,
        typer.Option(help="Folder of an edit, or owner/name on the hub (repeatable)."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What questions are picked from (repeatable).",
            show_default="mini",
            rich_help_panel=o.TASK_PANEL,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to serve at.", rich_help_panel=PANEL)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port to serve at; 0: any free one.", rich_help_panel=PANEL
        ),
    ] = 8080,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it.", rich_help_panel=PANEL)
    ] = True,
    data_dir: o.DataDir = None,
    instruction: o.Instruction = None,
    prompt: o.Prompt = None,
    column: o.Column = None,
    revision: o.Revision = None,
    dtype: o.Dtype = o.DType.auto,
    device: o.Device = None,
    device_map: o.DeviceMap = None,
    chat: o.Chat = None,
    trust_remote_code: o.TrustRemoteCode = False,
) -> None:
    """Open a page on this machine: ask one question of a model with and without its edits.

    Type or pick a question, switch edits on and off, change their strength, and see what the model
    answers and which neurons fired. It ends with Ctrl-C.
    """
    arguments: dict[str, Any] = dict(locals())
    from snipbias.cli import playing

    playing.run_play(arguments, o.model_options(arguments))
