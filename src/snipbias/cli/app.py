"""snipbias: the commands."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from snipbias.base import parallel
from snipbias.base.errors import InterruptError, SnipbiasError
from snipbias.base.markdown import printable
from snipbias.base.words import clipped, did_you_mean
from snipbias.cli import options as o
from snipbias.cli.algebra import Combine, Overlap
from snipbias.cli.audit import Audit
from snipbias.cli.check import Check
from snipbias.cli.demo import Demo
from snipbias.cli.doctor import Doctor
from snipbias.cli.evaluate import Evaluate
from snipbias.cli.export import Apply, Export
from snipbias.cli.fidelity import Fidelity
from snipbias.cli.find import Find
from snipbias.cli.learn import Learn
from snipbias.cli.play import Play
from snipbias.cli.report import Report
from snipbias.cli.reproduce import Reproduce
from snipbias.cli.rerun import changed_since, recorded_arguments
from snipbias.cli.share import Card, Push
from snipbias.cli.show import Show, Tasks

INTERRUPTED = 130  # what typer makes of an interrupt
# The commands that the processes of `accelerate launch` share.
TOGETHER = ("find", "evaluate", "reproduce", "demo", "rerun")


app = typer.Typer(
    name="snipbias",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the few neurons that bias a language model, prune them, and prove what changed.",
    epilog="Start with: snipbias demo",
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; what the user can mend is one sentence and an exit status above 0."""
    with warnings.catch_warnings(), _stopped_as_by_ctrl_c():
        warnings.showwarning = _teller()
        left = "nothing was written."
        try:
            status = status_of(sys.argv[1:] if argv is None else argv)
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


@contextmanager
def _stopped_as_by_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM (of a job scheduler, say) is what Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not cut short by a second
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refused(error: OSError) -> None:
    """Say what the system refused, such as to print; a reader that went away needs no word."""
    with suppress(OSError):  # so that Python's own last flush finds no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError) and parallel.launched_rank() == 0:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}: free some space, or choose another place.")


def status_of(argv: list[str]) -> int:
    """The exit status of a command line."""
    try:
        plain = "\0" not in "".join(argv).encode().decode()
    except UnicodeError:
        plain = False
    if not plain:
        _complain("an argument holds characters that are no text: write it anew.")
        return 2
    sys.argv[1:] = argv  # for the run record
    together = argv[:1] and argv[0] in TOGETHER
    if not together and parallel.launched_rank() != 0:
        return 0  # of several processes the main one does it alone
    try:
        with parallel.data_parallel() if together else nullcontext():
            return app(argv or ["--help"], standalone_mode=False) or 0
    except SnipbiasError as error:
        if parallel.speaks(error):
            _complain(str(error))
        return 1
    except typer.TyperException as error:
        _complain(_misuse(error.format_message()))
        return error.exit_code


def _misuse(message: str) -> str:
    """Typer's message about a wrong option, with the nearest valid choice."""
    message = message.replace("Value error, ", "")
    choice = re.fullmatch(r"(.*'(.*)' is not one of ('.*'))\.", message)
    if choice is None:
        return message
    said, wrong, listed = choice.groups()
    known = listed.strip("'").split("', '")
    return f"{said}{did_you_mean(wrong, known)}."


def _complain(message: str) -> None:
    print("error:", clipped(" ".join(printable(message).split())), file=sys.stderr)


def _teller() -> Callable[..., None]:
    """A handler that shows each warning once, on one line and without its place in the source."""
    told: set[str] = set()

    def tell(message: Warning | str, *place: object, **line: object) -> None:
        text = " ".join(printable(str(message)).split())
        if text not in told and parallel.launched_rank() == 0:
            told.add(text)
            print("warning:", text, file=sys.stderr)

    return tell


def _version(asked: bool) -> None:
    if asked:
        from snipbias.base.version import __version__

        print(f"snipbias {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@dataclass(kw_only=True)
class Rerun(o.Command):
    """Run again what a run record says, into another folder.

    A record that others wrote runs none of their code: where the recorded run was given
    --trust-remote-code or --lm-eval-path, give the option again.
    """

    panel = o.SHARE
    examples = ("snipbias rerun age-edit --out again",)
    path: Annotated[Path, typer.Argument(help="Folder of a run.")]
    out: Annotated[Path, typer.Option(help="Folder to write.")]
    trust_remote_code: o.TrustRemoteCode = False
    lm_eval_path: o.LmEvalPath = None
    quiet: o.Quiet = False

    def __call__(self) -> None:
        """Run it, and tell what is not what it was."""
        code = {"--trust-remote-code": self.trust_remote_code, "--lm-eval-path": self.lm_eval_path}
        again = recorded_arguments(self.path, self.out, code)
        status = status_of([*again, "--quiet"] if self.quiet else again)
        for change in changed_since(self.path, self.out) if status == 0 else ():
            print("warning:", change, file=sys.stderr)
        raise typer.Exit(status)


COMMANDS = (
    *(Check, Find, Learn, Evaluate, Reproduce, Demo, Fidelity, Tasks),
    *(Show, Report, Audit, Play, Doctor),
    *(Apply, Export, Combine, Overlap),
    *(Card, Push, Rerun),
)
for command in COMMANDS:
    o.add(app, command)
