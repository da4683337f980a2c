"""The application: its commands, its exit status, and how errors and warnings are printed."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from copy import copy
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from snipbias.base import parallel
from snipbias.base.errors import InterruptError, SnipbiasError
from snipbias.base.markdown import printable
from snipbias.base.version import __version__
from snipbias.base.words import clipped, did_you_mean
from snipbias.cli import options as o
from snipbias.cli.algebra import Combine, Overlap
from snipbias.cli.check import Check, Fidelity
from snipbias.cli.demo import Demo
from snipbias.cli.doctor import Doctor
from snipbias.cli.evaluate import Evaluate
from snipbias.cli.export import Apply, Export
from snipbias.cli.find import Find, Learn
from snipbias.cli.pages import Audit, Play, Report
from snipbias.cli.reproduce import Reproduce
from snipbias.cli.rerun import changed_since, recorded_arguments
from snipbias.cli.share import Card, Push
from snipbias.cli.show import Show, Tasks

INTERRUPTED = 130  # typer's exit status after an interrupt
# The commands that `accelerate launch` can run in several processes.
TOGETHER = ("find", "evaluate", "reproduce", "demo", "rerun")


app = typer.Typer(
    name="snipbias",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the few neurons that bias a language model, prune them, and prove what changed.",
    epilog="Start with: snipbias demo",
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; an error that a user can fix is one sentence.

    Raises:
        SystemExit: always, with status 0 if all went well.
    """
    # A job scheduler's SIGTERM is taken as Ctrl-C.
    with warnings.catch_warnings(), parallel.sigterm_raises(KeyboardInterrupt):
        warnings.showwarning = _teller()
        left = "nothing was written."
        try:
            status = _status_of(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
        except InterruptError as stop:
            status, left = INTERRUPTED, str(stop)
        except KeyboardInterrupt:
            status = INTERRUPTED
        except OSError as error:
            status = 1
            _refused(error)
    if status == INTERRUPTED and parallel.launched_rank() == 0:
        print("interrupted:", left, file=sys.stderr)
    raise SystemExit(status)


def _teller() -> Callable[..., None]:
    """Return a handler that prints each warning once, on one line, without its source line."""
    told: set[str] = set()

    def tell(message: Warning | str, *place: object, **line: object) -> None:
        text = " ".join(printable(str(message)).split())
        if text not in told and parallel.launched_rank() == 0:
            told.add(text)
            print("warning:", text, file=sys.stderr)

    return tell


def _refused(error: OSError) -> None:
    """Report what the system refused; a closed pipe (`| head`) needs no report."""
    with suppress(OSError):  # so that Python's own last flush does not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError) and parallel.launched_rank() == 0:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}: free some space, or choose another place.")


def _complain(message: str) -> None:
    print("error:", clipped(" ".join(printable(message).split())), file=sys.stderr)


def _status_of(argv: list[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        plain = "\0" not in "".join(argv).encode().decode()
    except UnicodeError:
        plain = False
    if not plain:
        _complain("an argument is not valid text: type it again.")
        return 2
    sys.argv[1:] = argv  # for the run record
    together = argv[:1] and argv[0] in TOGETHER
    if not together and parallel.launched_rank() != 0:
        return 0  # the main process runs it alone
    try:
        with parallel.data_parallel() if together else nullcontext():
            return app(argv or ["--help"], standalone_mode=False) or 0
    except SnipbiasError as error:
        if parallel.speaks(error):
            _complain(str(error))
        return 1
    except typer.TyperException as error:
        said = error.format_message().replace("Value error, ", "")
        if choice := re.fullmatch(r"(.*'(.*)' is not one of ('.*'))\.", said):
            begin, wrong, listed = choice.groups()
            known = listed.strip("'").split("', '")
            said = f"{begin}{did_you_mean(wrong, known)}."
        _complain(said)
        return error.exit_code


def _version(asked: bool) -> None:
    if asked:
        print(f"snipbias {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


class Rerun(o.Command):
    """Repeat a recorded run into another folder.

    Code that only the record names is never run: if the recorded run was given
    --trust-remote-code or --lm-eval-path, give the option again.
    """

    examples = ("snipbias rerun age-edit --out again",)
    path: Path = o.argument("Folder of a run.")
    out: Path = o.option("Folder to write.", o.REQUIRED)
    trust_remote_code: bool = o.TRUST_REMOTE_CODE
    lm_eval_path: Path | None = o.LM_EVAL_PATH
    quiet: bool = o.QUIET

    def __call__(self) -> None:
        code = {"--trust-remote-code": self.trust_remote_code, "--lm-eval-path": self.lm_eval_path}
        again = recorded_arguments(self.path, self.out, code)
        status = _status_of([*again, "--quiet"] if self.quiet else again)
        for change in changed_since(self.path, self.out) if status == 0 else ():
            print("warning:", change, file=sys.stderr)
        raise typer.Exit(status)


def add(kind: type[o.Command], among: typer.Typer, panel: str | None = None) -> None:
    """Register a command under its class's name.

    Args:
        kind: its class.
        among: the application.
        panel: the group that the help shows it in.
    """

    def command(config: Path | None, **given: Any) -> None:
        kind(**given)()

    types, fields = get_type_hints(kind), inspect.signature(kind).parameters.values()
    options = [_declared(kind, field, types[field.name]) for field in fields]
    config = Annotated[Path | None, o.CONFIG]
    options.append(Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=config))
    options.sort(key=lambda option: option.default is not Parameter.empty)
    command.__signature__ = Signature(options)  # type: ignore[attr-defined]
    title = "Example" if len(kind.examples) == 1 else "Examples"
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    among.command(
        kind.__name__.lower(),
        help="\n\n".join(" ".join(part.split()) for part in paragraphs),  # the terminal wraps them
        epilog="\n\n".join((f"{title}:", *kind.examples)),
        rich_help_panel=panel,
    )(command)


def _declared(kind: type[o.Command], parameter: Parameter, wanted: Any) -> Parameter:
    """A field as typer's option, under the heading of the first class that has it."""
    name = parameter.name
    classes = [c for c in kind.__mro__ if name in vars(c).get("__annotations__", ())]
    fields = (vars(c)["__dataclass_fields__"][name] for c in classes)
    option = copy(next(field.metadata["typer"] for field in fields if field.metadata))
    if isinstance(option, OptionInfo):
        group = classes[-1]
        own = group is kind and group.heading and "heading" not in vars(kind)
        option.rich_help_panel = kind.__name__ if own else group.heading
        if parameter.default is False and option.default is ...:  # or typer would add --no-...
            option.default = "--" + name.replace("_", "-")
        # Short, to leave room for the help text at 80 columns; a flag takes no value.
        kinds = {bool: " ", int: "N", float: "X", str: "TEXT", Path: "PATH"}
        taken = kinds.keys() & {wanted, *get_args(wanted)}
        if option.metavar is None and len(taken) == 1:
            option.metavar = kinds[taken.pop()]
    return parameter.replace(annotation=Annotated[wanted, option])


COMMANDS = {
    "Find and prove": (Check, Find, Learn, Evaluate, Reproduce, Demo, Fidelity, Tasks),
    "Look": (Show, Report, Audit, Play, Doctor),
    "Use": (Apply, Export, Combine, Overlap),
    "Share and repeat": (Card, Push, Rerun),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        add(command, app, panel)
