"""The answers of one method in one trial, from which every figure is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from snipbias.evaluation.neutral_text import TextShift
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Summary, summarize


@dataclass(frozen=True, eq=False)
class Trial:
    """Answers of one method on one task, in one trial and draw.

    Attributes:
        rows: on the held-out rows.
        text: on neutral text, if it was measured.
        chat: on the original's own answers to requests, if they were measured.
        retention, elsewhere: rows on other tasks, by task.
        dev: rows on the development part at the chosen setting, if there was one to choose.
        trial: number of the draw of items that neurons were found on; None where there is none.
        size: neurons that are scaled; None for a method that scales none.
    """

    rows: Rows
    text: TextShift | None = None
    chat: TextShift | None = None
    retention: Mapping[str, Rows] = field(default_factory=dict)
    elsewhere: Mapping[str, Rows] = field(default_factory=dict)
    dev: Rows | None = None
    trial: int | None = None
    size: int | None = None

    @cached_property
    def summary(self) -> Summary:
        """Every figure of these answers."""
        return summarize(
            self.rows,
            perplexity=self.text and self.text.perplexity,
            kl_per_token=self.text and self.text.kl_per_token,
            chat_kl=self.chat and self.chat.kl_per_token,
        )
