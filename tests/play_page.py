"""The playground served by the real command, and what its page shows."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snipbias as sb
from snipbias.play.answers import EditSetting, together
from snipbias.tasks.items import Item, Task

MINUS = "\N{MINUS SIGN}"
TEN, THIRTY = "age/n10", "age/n30"


@dataclass(frozen=True)
class Served:
    url: str
    process: subprocess.Popen
    folder: Path
    lm: sb.LanguageModel
    edits: dict[str, sb.NeuronEdit]

    def numbers(self, item: Item, instruction: str, *switches: EditSetting) -> list[list[float]]:
        """What `evaluate` says of one item: a log-probability an option, before and after."""
        edit = together(self.lm, switches)
        one = Task("one", (item,), (instruction,))
        table = sb.evaluate(self.lm, one, [edit] if edit else []).table
        return table["logprob"].to_pylist()


def number(text: str) -> float:
    return float(re.sub(r"log P|%|[<>]", "", text).strip().replace(MINUS, "-"))


def shown(page: Any) -> list[list[tuple[float, float]]]:
    """(percent, log P) of each option by each answer that the page shows."""
    bars = page.locator("ul.options .bar").evaluate_all(
        "bars => bars.map(bar => ['.name', '.share', '.logp']"
        ".map(part => bar.querySelector(part).textContent))"
    )
    names = list(dict.fromkeys(name for name, _, _ in bars))
    return [[(number(p), number(lp)) for name, p, lp in bars if name == n] for n in names]


def agree(page: Any, expected: list[list[float]]) -> bool:
    """Whether the page shows these log-probabilities and their shares, as far as it writes them."""
    found = shown(page)
    if [len(answer) for answer in found] != [len(answer) for answer in expected]:
        return False
    shares = [[100 * 2.718281828459045**lp for lp in answer] for answer in expected]
    wanted = [
        [(100 * share / sum(row), lp) for share, lp in zip(row, answer, strict=True)]
        for row, answer in zip(shares, expected, strict=True)
    ]
    return all(
        abs(a - b) < tolerance
        for got, want in zip(found, wanted, strict=True)
        for pair in zip(got, want, strict=True)
        for a, b, tolerance in zip(*pair, (0.101, 0.0051), strict=True)
    )


def eventually(check: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def item_shown(page: Any, task: Task) -> Item:
    """The row whose context and question the page shows, and whose options it has answered."""

    def found() -> Item | None:
        parts = (page.locator(f".item .{part}") for part in ("context", "asked"))
        context, question = (part.text_content() for part in parts)
        options = tuple(page.locator(".option .text").all_text_contents())
        key = (context, question, options)
        return next((i for i in task.items if (i.context, i.question, i.options) == key), None)

    eventually(lambda: found() is not None)
    item = found()
    assert item is not None
    return item


def root(served: Served) -> str:
    return served.url.partition("?")[0]


def focused(page: Any) -> str:
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    )


# A field thickens its line; all else is framed. The page's own body comes after its last control.
MARKED = """((e) => e === document.body || e.closest(".q-field--focused") !== null ||
    getComputedStyle(e).outlineStyle !== "none")(document.activeElement)"""


def tab_to(page: Any, name: str) -> None:
    """Press the tabulator until something of that name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        assert page.evaluate(MARKED), f"{focused(page)!r} does not show that it has the focus"
        if focused(page).strip() == name:
            return
    raise AssertionError(f"the keyboard does not reach {name!r}")


# What the complaint and the status say, as it changes.
LISTEN = """() => {
    window.heard = [];
    const parts = [".error", ".status"].map((name) => document.querySelector(name));
    const note = () => heard.push(parts.map((part) => part.textContent));
    const all = { childList: true, characterData: true, subtree: true };
    new MutationObserver(note).observe(parts[1], all);
}"""


# Of every text to the ground behind it (the first ancestor that has an opaque one), by WCAG 2.
CONTRASTS = """() => {
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = parts(color).slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (e) => {
        const color = getComputedStyle(e).backgroundColor;
        return (parts(color)[3] ?? 1) === 1 ? color : ground(e.parentElement);
    };
    const texts = [...document.querySelectorAll("main *, header *")].filter((e) =>
        e.checkVisibility() && !e.closest(".disabled, .tokens") &&
        [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
    return texts.map((e) => {
        const pair = [light(getComputedStyle(e).color), light(ground(e))];
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    });
}"""


def status(url: str, headers: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
