"""What the command `play` does; imported only when it runs."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from typing import Any

from snipbias.base.errors import require
from snipbias.cli.run import columns
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import distinct
from snipbias.models.loading import load
from snipbias.play.guard import is_loopback
from snipbias.play.server import serve
from snipbias.play.session import Session
from snipbias.tasks import task as read_task
from snipbias.tasks.prompts import DEFAULT

DEFAULT_TASKS = ("mini",)


def run_play(arguments: dict[str, Any], model_options: dict[str, Any]) -> None:
    """Load everything, then serve the page until the user interrupts it."""
    require("nicegui", "the playground needs", "play")
    # Called what the user called them: several may be "v1 n=10".
    edits = [replace(NeuronEdit.load(place), label=place) for place in arguments["edit"] or ()]
    tasks = [
        read_task(
            name,
            data_dir=arguments["data_dir"],
            instructions=arguments["instruction"] or None,
            prompt=arguments["prompt"] or DEFAULT,
            columns=columns(arguments["column"]),
        )
        for name in arguments["task"] or DEFAULT_TASKS
    ]
    host = arguments["host"]
    if not is_loopback(host):
        warnings.warn(
            f"with --host {host} whoever reads this machine's traffic can use the page and read "
            "the tasks: leave --host out to keep it to yourself.",
            stacklevel=2,
        )
    session = Session(load(arguments["model"], **model_options), distinct(edits), tasks)
    serve(
        session,
        host=host,
        port=arguments["port"],
        open_browser=arguments["browser"],
        say=lambda url: print(f"playing at {url} (Ctrl-C ends it)", flush=True),
    )
    print("ended.", file=sys.stderr)
