"""Arguments that several commands share, each defined once."""

from __future__ import annotations

import inspect
from copy import copy
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import typer
from typer.models import OptionInfo

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
        help="bbq:SES, mini:age, rte, a JSONL or CSV file, hf:owner/name ('snipbias tasks').",
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
    bool, typer.Option("--trust-remote-code", help="Run the model repository's code.")
]


def _batch_size(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither 'auto' nor a number of 1 or more.")
    return int(text)


DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with BBQ's or GLUE's files; else SNIPBIAS_DATA_DIR, the cache, or a download."
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
Resumed = Annotated[
    Path | None,
    typer.Option(
        help="Folder to write, or to go on with.",
        show_default="snipbias-runs/reproduce-<model>-<preset>-<settings>",
    ),
]
NoControlRows = Annotated[
    bool,
    typer.Option(
        "--no-control-rows",
        "--no-controls",
        help="Ask no filler and mismatch rows (unanswerable, as long as the answerable ones).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and no table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


Config = Annotated[
    Path | None,
    typer.Option(
        callback=take, is_eager=True, help="Settings from a TOML file; every run writes one."
    ),
]


@dataclass(kw_only=True)
class Command:
    """A command: its fields are its options, its docstring is its help, and a call does it."""

    panel: ClassVar[str]
    heading: ClassVar[str | None] = None
    examples: ClassVar[tuple[str, ...]]

    def __call__(self) -> None:
        """Do it; what is heavy is imported here, so that --help stays quick."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Reading(Command):
    """How a task is read."""

    heading = "Task"
    data_dir: DataDir = None
    column: Annotated[
        list[str] | None,
        typer.Option(help="ours=theirs, where the file's columns have other names (repeatable)."),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Wording of the prompts: list, paper, letters, letters-text, plain, a .txt or "
            ".json file, or a text with {instruction} {context} {question} {options}.",
            show_default="list",
        ),
    ] = None

    @property
    def task_options(self) -> dict[str, Any]:
        """Those that `Run.task` takes."""
        names = ("data_dir", "column", "instruction", "instructions", "prompt")
        return {name: value for name, value in vars(self).items() if name in names}


@dataclass(kw_only=True)
class Asking(Reading):
    """Under which instruction."""

    instruction: Annotated[
        list[str] | None, typer.Option(help="Ask under this instruction (repeatable).")
    ] = None


@dataclass(kw_only=True)
class Batching(Command):
    """How much is asked at once."""

    batch_size: Annotated[
        Any,
        typer.Option(
            parser=_batch_size,
            metavar="auto|N",
            help="Prompts per pass; auto: as is fastest and fits. Never changes a result.",
        ),
    ] = "auto"


@dataclass(kw_only=True)
class Measuring(Batching):
    """How much is asked, and how much at once."""

    instructions: Annotated[
        int | None,
        typer.Option(min=1, help="Use only the first so many of the task's instructions."),
    ] = None


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
        """Those that `load` takes."""
        names = ("revision", "device", "device_map", "chat", "trust_remote_code", "tensor_parallel")
        chosen = {name: value for name, value in vars(self).items() if name in names}
        return {**chosen, "dtype": self.dtype.value}


@dataclass(kw_only=True)
class Running(Loading):
    """How it is spread and asked."""

    device_map: Annotated[
        str | None, typer.Option(help="Spread the model by accelerate: auto.")
    ] = None
    tensor_parallel: Annotated[
        bool,
        typer.Option("--tensor-parallel", help="Split every layer among torchrun's processes."),
    ] = False
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat", help="Use the chat template.", show_default="where there is one"
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder if it is there.")
    ] = False
    as_json: Json = False
    quiet: Quiet = False


def add(app: typer.Typer, kind: type[Command]) -> None:
    """Give the application a command, under its class's name."""
    types = get_type_hints(kind, include_extras=True)

    def command(config: Path | None, **given: Any) -> None:
        kind(**given)()

    options = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=_under_heading(kind, field.name, types[field.name]),
        )
        for field in fields(kind)
    ]
    config = Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Config)
    options.append(config)
    options.sort(key=lambda option: option.default is not Parameter.empty)
    command.__signature__ = Signature(options)  # type: ignore[attr-defined]
    title = "Example" if len(kind.examples) == 1 else "Examples"
    app.command(
        kind.__name__.lower(),
        help=_paragraphs(inspect.getdoc(kind) or ""),
        epilog="\n\n".join((f"{title}:", *kind.examples)),
        rich_help_panel=kind.panel,
    )(command)


def _paragraphs(text: str) -> str:
    """The text with one line per paragraph, for a terminal to break where it ends."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _under_heading(kind: type[Command], name: str, declared: Any) -> Any:
    """The type of an option, shown under the heading of the group that declares it."""
    group = next(c for c in reversed(kind.__mro__) if name in vars(c).get("__annotations__", ()))
    option = copy(declared.__metadata__[0])
    if isinstance(option, OptionInfo):
        option.rich_help_panel = group.heading  # type: ignore[attr-defined]
        # Short, so that what it means has room at 80 columns; a flag takes no value.
        kinds = {bool: " ", int: "N", float: "X", str: "TEXT", Path: "PATH"}
        wanted = {kind for kind in kinds if kind in (declared.__origin__, *get_args(declared))}
        wanted |= {kind for kind in kinds if kind in get_args(declared.__origin__)}
        if option.metavar is None and len(wanted) == 1:
            option.metavar = kinds[wanted.pop()]
    return Annotated[declared.__origin__, option]
