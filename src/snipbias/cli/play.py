"""The command `play`."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import snipbias as sb
from snipbias.base.errors import require
from snipbias.cli import options as o
from snipbias.cli.run import Run


@dataclass(kw_only=True)
class Play(o.Running, o.Asking):
    """Open a page on this machine: ask a model one question, with and without its edits.

    Type or pick a question, switch edits on and off, change their strength, and see what the model
    answers and which neurons fired. Stop it with Ctrl-C.
    """

    panel = o.LOOK
    heading = "Page"
    examples = (
        "snipbias play demo --edit age-edit",
        "snipbias play google/flan-t5-base --edit ses/n10 --edit ses/n50 --task bbq:SES",
    )
    model: str = o.MODEL
    edit: list[str] | None = o.EDITS
    task: list[str] | None = o.option(
        "Task to pick questions from (repeatable).", show_default="mini"
    )
    host: str = o.option("Address to serve at.", "127.0.0.1")
    port: int = o.option("Port to serve at; 0: any free one.", 8080, min=0, max=65535)
    browser: bool = o.option("Open the page in a browser.", True)

    def __call__(self) -> None:
        from snipbias.evaluation.compare import distinct
        from snipbias.play.guard import is_loopback
        from snipbias.play.server import serve
        from snipbias.play.session import Session

        require("nicegui", "the playground needs", "play")
        # Named by their paths, since several may have the label "v1 n=10".
        edits = [replace(sb.NeuronEdit.load(place), label=place) for place in self.edit or ()]
        this = Run(self, Path())
        tasks = [this.task(name, **self.task_options) for name in self.task or ("mini",)]
        if not is_loopback(self.host):
            warnings.warn(
                f"with --host {self.host}, anyone who can read this machine's network traffic can "
                "use the page and read the tasks: leave --host out to keep them private.",
                stacklevel=2,
            )
        session = Session(sb.load(self.model, **self.model_options), distinct(edits), tasks)
        serve(
            session,
            host=self.host,
            port=self.port,
            open_browser=self.browser,
            say=lambda url: print(f"playing at {url} (stop with Ctrl-C)", flush=True),
        )
        print("stopped.", file=sys.stderr)
