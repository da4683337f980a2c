"""Texts of others in a card stay text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from carded import EDIT, head
from shared_edit import FOUND_ON, MODEL
from snipbias.base.markdown import code, fenced, shown
from snipbias.base.record import RunRecord
from snipbias.edits.card.card import GENERATED, model_card


def tokens(text: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def kinds(text: str) -> set[str]:
    return {token.type for token in tokens(text)}


HOSTILE = [
    "<script>alert(1)</script>",
    "[click](javascript:x)",
    "![i](http://e/x.png)",
    "```\n# a heading\n",
    "a | b | c",
    "| --- |",
    "# heading",
    "1. one\n2. two",
    "- a list",
    "> quoted",
    "*a* _b_ **c** `d` ~~e~~",
    "{{ 7 * 7 }} {% raw %}",
    "---\nlicense: mit\n---",
    GENERATED,
    "&lt;b&gt;",
    "\u202eturned\u0007",
    "\\",
    "",
]


def visible(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_others_is_shown_as_it_is(text: str) -> None:
    for begin in ("- ", "before ", "1. "):
        inline = [t for t in MarkdownIt("commonmark").parse(begin + shown(text)) if t.children]
        children = [child for token in inline for child in token.children or ()]
        assert {child.type for child in children} <= {"text", "text_special"}
        said = "".join(child.content for child in children).removeprefix("before")
        assert said.split() == visible(text).split()


@pytest.mark.parametrize("text", HOSTILE)
def test_code_of_others_stays_code(text: str) -> None:
    (paragraph,) = [t for t in MarkdownIt("commonmark").parse(f"x {code(text)} y") if t.children]
    assert [child.type for child in paragraph.children] == ["text", "code_inline", "text"]
    assert [token.type for token in MarkdownIt("commonmark").parse(fenced(text))] == ["fence"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_of_hostile_names_has_the_form_of_any_other(text: str) -> None:
    record = RunRecord("find", ["find", text], {"task": text})
    record.data[text] = {"instructions": [text, text]}
    edit = replace(
        EDIT,
        label=text,
        model=replace(MODEL, name=text, architecture=text, weights=text, revision=text),
        found_on=replace(FOUND_ON, task=text, templates=(text,), method={text: text}),
    )
    harmless = RunRecord("find", ["find", "x"], {"task": "x"})
    harmless.data["x"] = {"instructions": ["x", "x"]}
    plain = replace(
        EDIT,
        label="x",
        model=replace(MODEL, name="x", architecture="x", weights="x", revision="x"),
        found_on=replace(FOUND_ON, task="x", templates=("x",), method={"x": "x"}),
    )
    card = model_card(edit, record=record, place=text or "EDIT", licence=text or None)
    other = model_card(plain, record=harmless, place="x", licence="x")
    ours, theirs = card.split(GENERATED, 1)[1], other.split(GENERATED, 1)[1]
    blocks = [t.type for t in MarkdownIt("commonmark").enable("table").parse(ours) if t.block]
    expected = [t.type for t in MarkdownIt("commonmark").enable("table").parse(theirs) if t.block]
    if text:  # an empty name leaves an empty heading's or item's paragraph out
        assert blocks == expected
    assert not {"html_inline", "html_block", "image", "link_open"} & kinds(ours)
    assert "\u202e" not in ours
    assert head(card)["license"] == (visible(text) or "unknown")
