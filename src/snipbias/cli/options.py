"""The options that several commands share, each declared once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from snipbias.base.answers import SWITCH
from snipbias.base.errors import SnipbiasError
from snipbias.cli.config import take


class DType(str, Enum):
    """Number types a model can be loaded in."""

    auto = "auto"
    stored = "stored"
    float32 = "float32"
    mixed = "mixed"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Normalize(str, Enum):
    """The divisor of an option's log-probability."""

    sum = "sum"
    token = "token"
    byte = "byte"


class Options(str, Enum):
    """How options are listed."""

    text = "text"
    letters = "letters"


# The commands in their groups, as the help shows them.
FIND, LOOK, USE, SHARE = "Find and prove", "Look", "Use", "Share and repeat"

Model = Annotated[
    str, typer.Argument(help="Hub id, local folder, .gguf file, or 'demo'.", show_default=False)
]
Task = Annotated[
    str,
    typer.Argument(
        help="bbq:SES, mini:age, rte, a JSONL or CSV file, hf:owner/name (list: 'snipbias tasks').",
        show_default=False,
    ),
]
Dtype = Annotated[
    DType,
    typer.Option(
        metavar="<type>",  # all of them in one word break at 80 columns
        help="auto (float32 on a CPU, else stored), stored, float32, mixed (float32, products in "
        "bfloat16), bfloat16 or float16.",
    ),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code from the model's repository.")
]


def _batch_size(given: str | int) -> int | str:
    text = str(given)  # a settings file may hold a number
    if text == "auto":
        return text
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise typer.BadParameter(f"{text!r} is neither 'auto' nor a number of 1 or more.")
    return int(text)


DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the BBQ or GLUE files.",
        show_default="SNIPBIAS_DATA_DIR, the cache, a download",
    ),
]
LmEvalPath = Annotated[
    Path | None,
    typer.Option(help="Folder with your own lm-eval task files (YAML), which can run code."),
]
EvaluationRun = Annotated[
    Path | None,
    typer.Option(
        help="Folder that 'snipbias evaluate' wrote for this edit; the card shows its figures.",
        show_default="the figures next to the edit",
    ),
]
Resumed = Annotated[
    Path | None,
    typer.Option(
        help="Folder to write, or to resume.",
        show_default="snipbias-runs/reproduce-<model>-<preset>-<settings>",
    ),
]
NoControlRows = Annotated[
    bool,
    typer.Option(
        "--no-control-rows",
        "--no-controls",
        help="Skip the unanswerable questions that are as long as answerable ones (filler and "
        "mismatch rows).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Full = Annotated[bool, typer.Option("--full", help="Print all tables (they are in tables.md too).")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress bars.")]


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Edit = Annotated[
    str, typer.Argument(help="Folder of an edit, or owner/name on the hub.", show_default=False)
]
Edits = Annotated[
    list[str] | None, typer.Option(help="Folder of an edit, or owner/name on the hub (repeatable).")
]
Items = Annotated[
    int | None, typer.Option("--items", "--limit", min=1, help="Use at most N held-out items.")
]
NoText = Annotated[bool, typer.Option("--no-text", help="Skip neutral text.")]
NoRetention = Annotated[bool, typer.Option("--no-retention", help="Skip retention tasks.")]
Instructions = Annotated[
    int | None, typer.Option(min=1, help="Use only the first N of the task's instructions.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        callback=take, is_eager=True, help="Read settings from a TOML file; every run writes one."
    ),
]


@dataclass(kw_only=True)
class Command:
    """A command: its fields are its options, its docstring is its help, and calling it runs it."""

    panel: ClassVar[str]
    heading: ClassVar[str | None] = None
    examples: ClassVar[tuple[str, ...]]

    def __call__(self) -> None:
        """Run it. Slow imports belong here, so that --help stays quick."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Reading(Command):
    """How a task is read."""

    heading = "Task"
    data_dir: DataDir = None
    column: Annotated[
        list[str] | None,
        typer.Option(help="Our name and yours for a column of the file: ours=theirs (repeatable)."),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Prompt template: list, paper, letters, letters-text, plain, a .txt or "
            ".json file, or a text with {instruction} {context} {question} {options}.",
            show_default="list",
        ),
    ] = None

    @property
    def task_options(self) -> dict[str, Any]:
        """The options that `Run.task` takes."""
        names = ("data_dir", "column", "instruction", "instructions", "prompt")
        return {name: value for name, value in vars(self).items() if name in names}


@dataclass(kw_only=True)
class Asking(Reading):
    """How a task is read, and under which instruction."""

    instruction: Annotated[
        list[str] | None, typer.Option(help="Use this instruction (repeatable).")
    ] = None


@dataclass(kw_only=True)
class Batching(Command):
    """How many prompts run at once."""

    batch_size: Annotated[
        Any,
        typer.Option(
            parser=_batch_size,
            metavar="auto|N",
            help="Prompts per pass; auto: the fastest that fits. Never changes a result.",
        ),
    ] = "auto"


@dataclass(kw_only=True)
class Measuring(Batching):
    """How many prompts there are, and how many run at once."""

    instructions: Instructions = None


@dataclass(kw_only=True)
class Answering(Measuring):
    """Whether answers of earlier runs are used."""

    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ignore answers kept from earlier runs.")
    ] = False

    def __post_init__(self) -> None:
        if self.no_cache:
            os.environ[SWITCH] = "off"


@dataclass(kw_only=True)
class Loading(Command):
    """How a model is loaded."""

    heading = "Model"
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None
    dtype: Dtype = DType.auto
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ...", show_default="best")
    ] = None
    trust_remote_code: TrustRemoteCode = False

    @property
    def model_options(self) -> dict[str, Any]:
        """The options that `load` takes."""
        names = ("revision", "device", "device_map", "chat", "trust_remote_code", "tensor_parallel")
        chosen = {name: value for name, value in vars(self).items() if name in names}
        return {**chosen, "dtype": self.dtype.value}


@dataclass(kw_only=True)
class Running(Loading):
    """How a model is loaded, spread over devices and prompted."""

    device_map: Annotated[
        str | None, typer.Option(help="Spread the model over devices with accelerate: auto.")
    ] = None
    tensor_parallel: Annotated[
        bool,
        typer.Option("--tensor-parallel", help="Split every layer across torchrun's processes."),
    ] = False
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat", help="Use the chat template.", show_default="if it has one"
        ),
    ] = None


@dataclass(kw_only=True)
class Writing(Command):
    """Where results go."""

    heading = "Output"
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write.", show_default="snipbias-runs/<time>-<command>"),
    ] = None
    overwrite: Overwrite = False
    as_json: Json = False
    quiet: Quiet = False


def numbers(option: str, text: str, kind: type[Any] = int, example: str = "3,10,50") -> list[Any]:
    """The numbers of a comma-separated option, in order, each once.

    Args:
        option: name of the option, for messages.
        text: the numbers.
        kind: `int` or `float`.
        example: an example, for messages.

    Raises:
        SnipbiasError: one of them is no number.
    """
    try:
        return sorted({kind(part) for part in text.split(",") if part.strip()})
    except ValueError:
        raise SnipbiasError(
            f"{option} {text!r} is not a list of numbers: write {example}."
        ) from None


def names(text: str) -> tuple[str, ...]:
    """The names of a comma-separated option, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
