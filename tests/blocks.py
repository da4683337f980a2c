"""The code blocks of a document, and what runs them in order in one folder.

A block in ```python or ```sh is run, unless the line before it says why not:

    <!-- not run: needs the hub -->

The Python blocks of a document share their names, as a reader's session does. A line that installs
something (`pip install`) is left out: what is installed is the environment's matter. Each command
of snipbias runs in a process forked from this one, which need not load torch again.
"""

from __future__ import annotations

import multiprocessing
import re
import shlex
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LANGUAGES = ("python", "sh")  # which are run
SHOWN = ("text", "json", "csv", "yaml", "toml")  # which are only shown
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?"
    r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INSTALL = re.compile(r"^pip install .*\n", re.MULTILINE)
PLAIN = re.compile(r"snipbias [^|<>$`;&*]+")  # a command that needs no shell


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, code, first line in the document, and why it is not run."""

    language: str
    code: str
    line: int
    reason: str | None


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(
            match["language"].strip(),
            INSTALL.sub("", match["code"]) if match["reason"] is None else match["code"],
            text.count("\n", 0, match.start("code")) + 1,
            match["reason"],
        )
        for match in FENCE.finditer(text)
    ]


def runs(block: Block) -> bool:
    """Whether a block is to be run."""
    return block.language in LANGUAGES and block.reason is None


def commands(code: str) -> list[list[str]] | None:
    """The arguments of the commands of a block, or None where it takes a shell to run them."""
    lines = code.replace("\\\n", " ").splitlines()
    found = [line.split(" #")[0].strip() for line in lines]
    found = [line for line in found if line and not line.startswith("#")]
    if not all(PLAIN.fullmatch(line) for line in found):
        return None
    return [shlex.split(line)[1:] for line in found]


def _session(asked: Connection) -> None:
    """Run the Python blocks that come, in one namespace; answer with the error or None."""
    names: dict[str, Any] = {"__name__": "__main__"}
    while True:
        code, place = asked.recv()
        try:
            exec(compile(code, place, "exec"), names)
            answer = None
        except BaseException:
            answer = traceback.format_exc()
        sys.stdout.flush()
        asked.send(answer)


def _command(arguments: list[str]) -> None:
    from snipbias.cli.app import main

    main(arguments)


def run(document: Path, settings: Path | None = None) -> None:
    """Run a document's blocks in the working directory; the first that fails ends it.

    Args:
        settings: file with what the commands of snipbias do not say themselves (`--config`).
    """
    given = ["--config", str(settings)] if settings else []
    chosen = list(filter(runs, blocks(document)))
    forked = multiprocessing.get_context("fork")
    session, asked = forked.Pipe()
    forked.Process(target=_session, args=(asked,), daemon=True).start()
    for block in chosen:
        place, start, error = f"{document.name}:{block.line}", time.monotonic(), None
        print(f"=== {place}", flush=True)
        if block.language == "python":
            session.send((block.code, place))
            error = session.recv()
        elif (plain := commands(block.code)) is None:
            status = subprocess.run(["bash", "-euo", "pipefail", "-c", block.code]).returncode
            error = f"exit status {status}" if status else None
        else:
            for arguments in plain:
                process = forked.Process(target=_command, args=(arguments + given,))
                process.start()
                process.join()
                if process.exitcode:
                    error = f"snipbias {shlex.join(arguments)}: exit status {process.exitcode}"
                    break
        if error:
            sys.exit(f"{place} failed: {error}")
        print(f"=== {place} took {time.monotonic() - start:.1f} s", flush=True)
