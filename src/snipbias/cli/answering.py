"""The option of commands that ask a model what it may have been asked before."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import typer

from snipbias.base.answers import SWITCH
from snipbias.cli import options as o


@dataclass(kw_only=True)
class Answering(o.Measuring):
    """How much is asked, and whether again."""

    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ask again what was answered before.")
    ] = False

    def __post_init__(self) -> None:
        if self.no_cache:
            os.environ[SWITCH] = "off"
