"""A tokenizer's chat template: how it changes a prompt, and where the answer starts.

A template is a program from the model's repository. It is tried once, on a question of our own, in
a process with limited time and memory. The outcome decides how it is used, or that it is refused.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import listed, one_line

SECONDS = 10
BYTES = 1 << 28  # of memory beyond what the process already uses
LETTERS = 100_000  # most characters for a prompt of one line
QUESTION, ANSWER = "Who was it, Ann or Bo?", "Nobody knows that."

_TAG = re.compile(r"[<\[]\|?(/?)[\w:]*(?:think|thought|reason|reflect)\w*\|?[>\]]", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|?channel\|?>\s*(?:analysis|thought)\b[^<]*(?:<\|message\|>\s*)?$")


@dataclass(frozen=True)
class ChatTemplate:
    """How one tokenizer's template is used."""

    tokenizer: PreTrainedTokenizerBase  # the tokenizer that has the template
    name: str  # name of the model, for messages
    in_parts: bool  # whether it reads a message's content as a list of parts instead of a text
    header: str  # text that the template adds before an answer by itself
    gap: str  # spaces between the header and the answer; tokenizers join them with its first word

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, name: str) -> ChatTemplate:
        """Try a tokenizer's template.

        Raises:
            SnipbiasError: it fails, does not end, drops the question or leaves a thought open.
        """
        found = _bounded(lambda: _tried(tokenizer))
        if "fault" in found:
            raise _refusal(name, found["fault"])
        if found.pop("has_date"):
            warnings.warn(
                f"the chat template of {name} writes today's date into every prompt, so results "
                "differ from day to day: fix the date in tokenizer.chat_template, or use "
                "--no-chat (chat=False).",
                stacklevel=2,
            )
        return cls(tokenizer, name, **found)

    def prompt(self, question: str) -> str:
        """The text that the model reads before its answer, without the gap.

        Raises:
            SnipbiasError: the template fails on this question, or changes it.
        """
        try:
            text = _render(self.tokenizer, question, in_parts=self.in_parts)
        except Exception as error:
            raise _refusal(self.name, one_line(error)) from error
        if not _holds(text, question):
            raise _refusal(self.name, f"it changes or drops the question {question[:40]!r}")
        return (text + self.header).rstrip(" ")


def _refusal(name: str, fault: str) -> SnipbiasError:
    return SnipbiasError(
        f"the chat template of {name} cannot be used ({fault}): set another "
        "tokenizer.chat_template, or turn it off with --no-chat (chat=False)."
    )


def _render(
    tokenizer: PreTrainedTokenizerBase, question: str, answer: str = "", *, in_parts: bool
) -> str:
    def message(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text}

    said = [message("assistant", answer)] if answer else []
    text = tokenizer.apply_chat_template(
        [message("user", question), *said],
        tokenize=False,
        add_generation_prompt=not answer,
        enable_thinking=False,  # Qwen3: answer at once; other templates ignore it
    )
    assert isinstance(text, str)
    return text


def _holds(text: str, question: str) -> bool:
    """Whether a text contains the question, ignoring spaces, which templates trim."""
    return "".join(question.split()) in "".join(text.split())


def _tried(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The fields of a ChatTemplate and `has_date`, or its `fault` in words."""
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and "default" not in templates:
        return {"fault": f"there are several, and none of {listed(list(templates))} is 'default'"}
    text, in_parts, fault = "", False, ""
    for in_parts in (False, True):
        try:
            text = _render(tokenizer, QUESTION, in_parts=in_parts)
        except MemoryError:
            raise
        except Exception as error:
            fault = fault or one_line(error)
            continue
        if _holds(text, QUESTION) and not (in_parts and re.search(r"['\"]type['\"]", text)):
            break
    else:
        return {"fault": fault or "it drops the question"}
    if len(text) > LETTERS:
        return {"fault": f"it turns a question of {len(QUESTION)} characters into {len(text):,}"}
    try:
        whole = _render(tokenizer, QUESTION, ANSWER, in_parts=in_parts)
    except Exception:  # it accepts no answers, and so does not show what comes before them
        whole = ""
    between, is_answered, _ = whole.removeprefix(text).partition(ANSWER)
    between = between if is_answered and whole.startswith(text) else ""
    start = text + between
    end = start[start.rfind(QUESTION.split()[-1]) :]
    tags = _TAG.findall(end)  # "/" of those that close
    if (tags and not tags[-1]) or _CHANNEL.search(end):
        return {"fault": "it makes the model write a thought before it answers"}
    header = between.rstrip(" ")
    gap = start[len(start.rstrip(" ")) :]
    long_ago = mock.Mock(now=lambda tz=None: datetime(1999, 1, 1, tzinfo=tz))
    with mock.patch.object(chat_template_utils, "datetime", long_ago):
        again = {_render(tokenizer, QUESTION, in_parts=in_parts) for _ in range(8)}
    if len(again) > 1:
        return {"fault": "it writes something at random into every prompt"}
    return {"in_parts": in_parts, "header": header, "gap": gap, "has_date": text not in again}


def _bounded(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run work in a process that is stopped after `SECONDS` or beyond `BYTES`.

    Returns:
        The result, a dictionary that JSON can hold; its `fault` says what went wrong, if anything.
        On systems without `fork`, the work is done here without limits.
    """
    if not hasattr(os, "fork"):
        return work()
    end, start = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads, which the child does not use
        child = os.fork()
    if child == 0:
        try:
            _limit_memory()
            os.write(start, json.dumps(work()).encode())
        except MemoryError:
            pass  # the missing answer says so
        except BaseException as error:
            os.write(start, json.dumps({"fault": one_line(error)}).encode())
        finally:
            os._exit(0)  # skip the parent's own exit handlers
    os.close(start)
    try:
        with open(end, "rb") as pipe:  # the answer is written at once, when the work is done
            answer = pipe.read() if select.select([pipe], [], [], SECONDS)[0] else b""
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    limits = f"it takes more than {SECONDS} seconds or {BYTES >> 20} MB"
    return json.loads(answer) if answer else {"fault": limits}


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGESIZE") + BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))
