"""The command `reproduce`: its options (imports nothing heavy)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from snipbias.cli import options as o

PANEL = "Experiment"


def reproduce(
    model: Annotated[str, typer.Argument(help="Hub id, local folder, .gguf file.")] = "demo",
    preset: Annotated[
        str, typer.Option(help="v1 (arXiv 2023), v2 (ACL 2024) or snipbias.", rich_help_panel=PANEL)
    ] = "v1",
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="bbq:SES, mini:age, a JSONL file ... (repeatable).",
            show_default="three of bbq; of mini for the demo model",
            rich_help_panel=o.TASK_PANEL,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Run these beside the original and the preset's own: CC,DC,random ...",
            show_default="all",
            rich_help_panel=PANEL,
        ),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(min=1, help="Test at most so many items a task.", rich_help_panel=PANEL),
    ] = None,
    dev_items: Annotated[
        int | None,
        typer.Option(min=1, help="Choose n on at most so many.", rich_help_panel=PANEL),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Items that neurons are found on.", rich_help_panel=PANEL),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Draws of these items.", rich_help_panel=PANEL)
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=1, help="Draws of each random control.", rich_help_panel=PANEL),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first draw.", rich_help_panel=PANEL)] = 0,
    sizes: Annotated[
        str | None,
        typer.Option(help="Numbers of neurons to try: 1,3,10,30.", rich_help_panel=PANEL),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="What n is chosen by: overall, balanced or no-harm.", rich_help_panel=PANEL
        ),
    ] = None,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="--objective balanced", rich_help_panel=PANEL)
    ] = False,
    no_harm: Annotated[
        float | None,
        typer.Option(
            metavar="MARGIN",
            help="--objective no-harm: disambiguated accuracy and retention may lose this much.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    transfer: Annotated[
        bool | None,
        typer.Option(
            "--transfer/--no-transfer",
            help="Also test each edit on the other tasks.",
            show_default="the preset's",
            rich_help_panel=PANEL,
        ),
    ] = None,
    sample_sizes: Annotated[
        str | None,
        typer.Option(
            help="Also find neurons on so many items: 5,10.",
            show_default="the preset's",
            rich_help_panel=PANEL,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Also evaluate the edits under these prompts, names or files; none: no other.",
            show_default="paper,letters",
            rich_help_panel=PANEL,
        ),
    ] = None,
    retention: Annotated[
        list[str] | None,
        typer.Option(
            help="Task that must not get worse (repeatable).",
            show_default="mini:skills",
            rich_help_panel=PANEL,
        ),
    ] = None,
    retention_items: Annotated[
        int | None,
        typer.Option(min=1, help="Of each of these at most so many.", rich_help_panel=PANEL),
    ] = None,
    refine: Annotated[
        int | None,
        typer.Option(min=0, help="Rounds of refining the sizes.", rich_help_panel=PANEL),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Layers to try steering at.", rich_help_panel=PANEL),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(help="Strengths to try it with: 0.5,1,2.", rich_help_panel=PANEL),
    ] = None,
    no_retention: Annotated[
        bool, typer.Option("--no-retention", help="No retention tasks.", rich_help_panel=PANEL)
    ] = False,
    text: Annotated[
        bool,
        typer.Option(
            "--text/--no-text", help="Perplexity and KL on neutral text.", rich_help_panel=PANEL
        ),
    ] = True,
    batch_size: o.BatchSize = "auto",
    data_dir: o.DataDir = None,
    instructions: o.Instructions = None,
    prompt: o.Prompt = None,
    column: o.Column = None,
    revision: o.Revision = None,
    dtype: o.Dtype = o.DType.auto,
    device: o.Device = None,
    device_map: o.DeviceMap = None,
    chat: o.Chat = None,
    trust_remote_code: o.TrustRemoteCode = False,
    out: o.Resumed = None,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """The paper's whole experiment: every method on every task, with controls and ablations.

    Killed at any point, the same command goes on from what it has. Writes table1.csv, table2.csv,
    tables.md, rows.parquet, every edit, plots and run.json; settings are chosen on templates of
    their own, and everything is reported on others.
    """
    arguments: dict[str, Any] = dict(locals())
    from snipbias.cli import experiment

    experiment.run_reproduce(arguments, o.model_options(arguments))
