"""Arguments that several commands share, each defined once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class DType(str, Enum):
    """Number types a model can be loaded in."""

    auto = "auto"
    stored = "stored"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Normalize(str, Enum):
    """What an option's log-probability is divided by."""

    sum = "sum"
    token = "token"
    byte = "byte"


class Options(str, Enum):
    """How options are listed."""

    text = "text"
    letters = "letters"


MODEL_PANEL, TASK_PANEL, OUT_PANEL = "Model", "Task", "Output"

Model = Annotated[
    str, typer.Argument(help="Hub id, local folder, .gguf file, or 'demo'.", show_default=False)
]
Task = Annotated[
    str,
    typer.Argument(
        help="bbq:SES, mini:age, rte, a JSONL or CSV file, hf:owner/name ('snipbias tasks').",
        show_default=False,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit on the hub.", rich_help_panel=MODEL_PANEL),
]
Dtype = Annotated[
    DType,
    typer.Option(
        metavar="<type>",  # all of them in one word break at 80 columns
        help="auto (float32 on a CPU, else stored), stored, float32, bfloat16 or float16.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1 ...", rich_help_panel=MODEL_PANEL, show_default="best"),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(help="Spread the model by accelerate: auto.", rich_help_panel=MODEL_PANEL),
]
Chat = Annotated[
    bool | None,
    typer.Option(
        "--chat/--no-chat",
        help="Use the chat template.",
        rich_help_panel=MODEL_PANEL,
        show_default="where there is one",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run the model repository's code.", rich_help_panel=MODEL_PANEL
    ),
]


def _batch_size(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither 'auto' nor a number of 1 or more.")
    return int(text)


BatchSize = Annotated[
    Any,
    typer.Option(
        parser=_batch_size,
        metavar="auto|N",
        help="Prompts per pass; auto: as is fastest and fits. Never changes a result.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with BBQ's or GLUE's files; else SNIPBIAS_DATA_DIR, the cache, or a download.",
        rich_help_panel=TASK_PANEL,
    ),
]
Instruction = Annotated[
    list[str] | None,
    typer.Option(help="Ask under this instruction (repeatable).", rich_help_panel=TASK_PANEL),
]
Instructions = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Use only the first so many of the task's instructions.",
        rich_help_panel=TASK_PANEL,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help="Wording of the prompts: list, paper, letters, letters-text, plain, a .txt or .json "
        "file, or a text with {instruction} {context} {question} {options}.",
        show_default="list",
        rich_help_panel=TASK_PANEL,
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        help="ours=theirs, where the file's columns have other names (repeatable).",
        rich_help_panel=TASK_PANEL,
    ),
]
LmEvalPath = Annotated[
    Path | None,
    typer.Option(help="Folder with task files (YAML) of your own for lm-eval; may hold code."),
]
EvaluationRun = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a run of 'snipbias evaluate' with this edit: the card's figures.",
        show_default="those beside the edit",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder to write.",
        rich_help_panel=OUT_PANEL,
        show_default="snipbias-runs/<time>-<command>",
    ),
]
Resumed = Annotated[
    Path | None,
    typer.Option(
        help="Folder to write, or to go on with.",
        rich_help_panel=OUT_PANEL,
        show_default="snipbias-runs/reproduce-<model>-<preset>-<settings>",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace the folder if it is there.", rich_help_panel=OUT_PANEL
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object and no table.", rich_help_panel=OUT_PANEL),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bars.", rich_help_panel=OUT_PANEL)
]


def model_options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's arguments that say how a model is loaded."""
    names = ("revision", "dtype", "device", "device_map", "chat", "trust_remote_code")
    chosen = {name: arguments[name] for name in names if name in arguments}
    return {**chosen, "dtype": chosen["dtype"].value}
