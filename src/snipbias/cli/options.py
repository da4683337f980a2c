"""The options that several commands share, each declared once."""

from __future__ import annotations

import os
import re
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import typer

from snipbias.base.answers import SWITCH
from snipbias.base.errors import SnipbiasError
from snipbias.cli.config import take

DType = Literal["auto", "stored", "float32", "mixed", "bfloat16", "float16"]


def argument(says: str, default: Any = REQUIRED, **more: Any) -> Any:
    """A positional argument as a field of a command, with its help."""
    return field(default=default, metadata={"typer": typer.Argument(help=says, **more)})


def option(says: str, default: Any = None, *names: str, **more: Any) -> Any:
    """An option as a field of a command: its help, default, names if not the field's, and limits.

    Several classes may share one, under one name; a subclass may change only the default.
    """
    return field(default=default, metadata={"typer": typer.Option(*names, help=says, **more)})


def flag(says: str, *names: str) -> Any:
    """An option that is off by default, and that only its presence turns on."""
    return option(says, False, *names)


def _batch_size(given: str | int) -> int | str:
    text = str(given)  # a settings file may hold a number
    if text == "auto":
        return text
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise typer.BadParameter(f"{text!r} is neither 'auto' nor a number of 1 or more.")
    return int(text)


# The options that several commands share.
MODEL = argument("Hub id, local folder, .gguf file, or 'demo'.")
TASK = argument(
    "bbq:SES, mini:age, rte, a JSONL or CSV file, hf:owner/name (list: 'snipbias tasks')."
)
TRUST_REMOTE_CODE = flag("Run code from the model's repository.")
DATA_DIR = option(
    "Folder with the BBQ or GLUE files.", show_default="SNIPBIAS_DATA_DIR, the cache, a download"
)
LM_EVAL_PATH = option("Folder with your own lm-eval task files (YAML), which can run code.")
EVALUATION = option(
    "Folder that 'snipbias evaluate' wrote for this edit; the card shows its figures.",
    show_default="the figures next to the edit",
)
NO_CONTROL_ROWS = flag(
    "Skip the unanswerable questions that are as long as answerable ones (filler and mismatch "
    "rows).",
    "--no-control-rows",
    "--no-controls",
)
JSON = flag("Print one JSON object instead of tables.", "--json")
FULL = flag("Print all tables (they are in tables.md too).")
QUIET = flag("Hide progress bars.", "--quiet", "-q")
OVERWRITE = flag("Replace what is there.")
EDIT = argument("Folder of an edit, or owner/name on the hub.")
EDITS = option("Folder of an edit, or owner/name on the hub (repeatable).")
ITEMS = option("Use at most N held-out items.", None, "--items", "--limit", min=1)
NO_TEXT = flag("Skip neutral text.")
NO_RETENTION = flag("Skip retention tasks.")
CONFIG = typer.Option(
    callback=take, is_eager=True, help="Read settings from a TOML file; every run writes one."
)


@dataclass(kw_only=True)
class Command:
    """A command: its fields are its options, its docstring is its help, and calling it runs it.

    Every class of options is a dataclass by being below this one.
    """

    heading: ClassVar[str | None] = None
    examples: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        dataclass(kw_only=True)(cls)

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return type(self).__name__.lower()

    def given(self, *names: str) -> dict[str, Any]:
        """Its options of these names, to be passed on; a name that it does not have is left out."""
        return {name: value for name, value in vars(self).items() if name in names}

    def __call__(self) -> None:
        """Run it. Slow imports belong here, so that --help stays quick."""
        raise NotImplementedError


class TaskReading(Command):
    """How a task is read."""

    heading = "Task"
    data_dir: Path | None = DATA_DIR
    column: list[str] | None = option(
        "Read a column under another name: ours=yours, such as gold=answer (repeatable)."
    )
    prompt: str | None = option(
        "Prompt template: list, paper, letters, letters-text, plain, a .txt or .json file, or a "
        "text with {instruction} {context} {question} {options}.",
        show_default="list",
    )


class Asking(TaskReading):
    """How a task is read, and under which instruction."""

    instruction: list[str] | None = option("Use this instruction (repeatable).")


class Batching(Command):
    """How many prompts run at once."""

    batch_size: Any = option(
        "Prompts per pass; auto: the fastest that fits. Never changes a result.",
        "auto",
        parser=_batch_size,
        metavar="auto|N",
    )


class Measuring(Batching):
    """How many prompts there are, and how many run at once."""

    instructions: int | None = option("Use only the first N of the task's instructions.", min=1)


class Answering(Measuring):
    """Whether answers of earlier runs are used."""

    no_cache: bool = flag("Ignore answers kept from earlier runs.")

    def __post_init__(self) -> None:
        if self.no_cache:
            os.environ[SWITCH] = "off"


class Loading(Command):
    """How a model is loaded."""

    heading = "Model"
    revision: str | None = option("Branch, tag or commit on the hub.")
    dtype: DType = option(
        "auto (float32 on a CPU, else stored), stored (the checkpoint's), float32, mixed (float32, "
        "products in bfloat16), bfloat16 or float16.",
        "auto",
        metavar="<type>",  # all of them in one word break at 80 columns
    )
    device: str | None = option("cpu, cuda, cuda:1 ...", show_default="best")
    trust_remote_code: bool = TRUST_REMOTE_CODE


class Running(Loading):
    """How a model is loaded, spread over devices and prompted."""

    device_map: str | None = option("Spread the model over devices with accelerate: auto.")
    tensor_parallel: bool = flag("Split every layer across torchrun's processes.")
    chat: bool | None = option("Use the chat template.", show_default="if it has one")


class Writing(Command):
    """Where results go."""

    heading = "Output"
    out: Path | None = option("Folder to write.", show_default="snipbias-runs/<time>-<command>")
    overwrite: bool = OVERWRITE
    as_json: bool = JSON
    quiet: bool = QUIET


# The options that say how a model is loaded, and how a task is read.
LOADING = [each.name for each in fields(Running)]
READING = [*(each.name for each in fields(Asking)), "instructions"]


def numbers(
    option: str, text: str | None, kind: type[Any] = int, example: str = "3,10,50"
) -> tuple[Any, ...] | None:
    """The numbers of a comma-separated option, in order, each once; None if it was not given.

    Args:
        option: name of the option, for messages.
        text: the numbers.
        kind: `int` or `float`.
        example: an example, for messages.

    Raises:
        SnipbiasError: one of them is no number.
    """
    if text is None:
        return None
    try:
        return tuple(sorted({kind(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise SnipbiasError(
            f"{option} {text!r} is not a list of numbers: write {example}."
        ) from None


def names(text: str | None) -> tuple[str, ...] | None:
    """The names of a comma-separated option, each once; None if it was not given."""
    if text is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
