"""The playground as a user meets it: the real command, and its page in a real browser."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from typing import Any

import pytest

import snipbias as sb
from browser import screenshot
from play_page import (
    CONTRASTS,
    LISTEN,
    TEN,
    THIRTY,
    Served,
    agree,
    eventually,
    focused,
    item_shown,
    root,
    status,
    tab_to,
)
from snipbias.evaluation.reading import Reading
from snipbias.play.answers import EditSetting, together
from snipbias.play.questions import held_out, own
from snipbias.tasks.items import Task

pytest.importorskip("nicegui", reason="pip install 'snipbias[play]'")

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='window.hacked=1'>"
LONG = "Donau" * 40


def test_numbers_are_those_of_evaluate(page: Any, served: Served) -> None:
    task = sb.task("mini:age")
    first, second = served.edits.values()
    left = held_out(task, [first])
    assert left is not None
    item = item_shown(page, task)
    assert item in left.items
    instruction = task.instructions[0]
    eventually(lambda: agree(page, served.numbers(item, instruction, EditSetting(first))))
    before, _ = served.numbers(item, instruction, EditSetting(first))
    assert not agree(page, [before, before])

    page.get_by_role("switch", name=TEN).click()  # off: the original alone
    eventually(lambda: agree(page, [before]))
    assert page.locator("table.neurons").count() == 0
    page.get_by_role("switch", name=THIRTY).click()
    eventually(lambda: agree(page, served.numbers(item, instruction, EditSetting(second))))
    page.get_by_role("switch", name=TEN).click()
    eventually(
        lambda: agree(
            page, served.numbers(item, instruction, EditSetting(first), EditSetting(second))
        )
    )

    page.get_by_role("button", name="Next").click()
    eventually(lambda: page.locator("input[aria-label=Row]").input_value() == "2")
    page.get_by_role("combobox", name="Instruction").click()
    page.get_by_role("option").nth(3).click()
    eventually(lambda: "answers" in page.get_by_role("status").text_content())
    another = lambda: item_shown(page, task)  # noqa: E731
    eventually(
        lambda: agree(
            page,
            served.numbers(
                another(), task.instructions[3], EditSetting(first), EditSetting(second)
            ),
        )
    )
    assert another() != item
    page.get_by_text("Exact prompt").click()
    assert page.locator("pre.prompt").text_content().startswith(task.instructions[3])


def test_text_neurons_and_marks(page: Any, served: Served) -> None:
    item = item_shown(page, task := sb.task("mini:age"))
    (first, _) = served.edits.values()
    one = Task("one", (item,), task.instructions[:1])
    rows = sb.evaluate(served.lm, one, [first], reading=Reading(generate=True)).table.to_pylist()
    assert page.locator("figure blockquote").all_text_contents() == [row["text"] for row in rows]
    for mark, option in (("gold", item.gold), ("biased", item.biased), ("unknown", item.unknown)):
        (text,) = page.locator(f".option:has(.mark.{mark}) .text").all_text_contents()
        assert text == item.options[option]
    page.get_by_role("button", name="Show all 10 neurons").click()
    eventually(lambda: page.locator("table.neurons th code").count() == 10)
    names = page.locator("table.neurons th code").all_text_contents()
    assert sorted(names) == sorted(f"{site} #{unit}" for site, unit in first.neurons)
    # One neuron left alone by the keyboard: the numbers follow, and the focus stays.
    box = page.get_by_role("checkbox", name=f"Scale {names[0]}")
    box.focus()
    page.keyboard.press("Space")
    site, unit = names[0].split(" #")
    off = frozenset({sb.Neuron(site, int(unit))})
    expected = served.numbers(item, task.instructions[0], EditSetting(first, off=off))
    eventually(lambda: agree(page, expected))
    eventually(lambda: focused(page) == f"Scale {names[0]}")
    assert page.locator("table.neurons tr", has_text=names[0]).get_by_text("1 (off)").count() == 1
    # Its tokens with h at each.
    assert page.locator("ol.tokens").count() == 1
    page.get_by_role("button", name=f"Tokens of {names[1]}").click()
    eventually(lambda: page.locator("ol.tokens").count() == 2)


def test_by_keyboard_alone(page: Any, served: Served) -> None:
    task = sb.task("mini:age")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the answers"
    tab_to(page, "Next")
    page.keyboard.press("Enter")
    eventually(lambda: page.locator("input[aria-label=Row]").input_value() == "2")
    assert focused(page).strip() == "Next"
    tab_to(page, f"Strength of {TEN}")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    on = [EditSetting(served.edits[TEN], 0.8)]
    expected = lambda: served.numbers(item_shown(page, task), task.instructions[0], *on)  # noqa: E731
    eventually(lambda: agree(page, expected()))
    tab_to(page, THIRTY)
    page.keyboard.press("Space")
    on.append(EditSetting(served.edits[THIRTY]))
    eventually(lambda: agree(page, expected()))
    more = f"Show all {len(together(served.lm, on))} neurons"
    eventually(lambda: page.get_by_role("button", name=more).count() == 1)
    name = f"Tokens of {page.locator('table.neurons th code').first.text_content()}"
    button = page.get_by_role("button", name=name)
    was_open = button.get_attribute("aria-expanded")
    tab_to(page, name)
    page.keyboard.press("Enter")
    eventually(lambda: button.get_attribute("aria-expanded") != was_open)


def test_an_own_question(page: Any, served: Served) -> None:
    page.get_by_role("button", name="Change this question").click()
    page.get_by_role("textbox", name="Context").fill(f"{HOSTILE} {{{{ 7*7 }}}} {LONG}")
    page.get_by_role("textbox", name="Question").fill("Who was it, </script><b>?")
    page.get_by_role("textbox", name="Option 1").fill(HOSTILE)
    page.get_by_role("textbox", name="Option 2").fill("")
    page.get_by_role("button", name="Ask").click()
    alert = page.get_by_role("alert")
    eventually(lambda: "Option 2 is empty" in alert.text_content())
    assert page.locator("ul.options").count() == 0
    page.get_by_role("button", name="Remove option 2").press("Enter")
    eventually(lambda: focused(page).strip() == "Add an option")
    page.get_by_role("button", name="Add an option").click()
    page.get_by_role("textbox", name="Option 3").fill("“a' aria-label=x onclick=hacked()")
    page.evaluate(LISTEN)
    page.get_by_role("button", name="Ask").click()
    eventually(lambda: page.locator("ul.options li").count() == 3)
    assert page.evaluate("heard[0]") == ["", "The model is being asked."]
    assert alert.text_content() == ""
    texts = page.locator(".option .text").all_text_contents()
    assert texts[0] == HOSTILE
    item = own(f"{HOSTILE} {{{{ 7*7 }}}} {LONG}", "Who was it, </script><b>?", texts)
    instruction = sb.task("mini:age").instructions[0]
    eventually(
        lambda: agree(page, served.numbers(item, instruction, EditSetting(served.edits[TEN])))
    )
    assert "{{ 7*7 }}" in page.locator("pre.prompt").text_content()
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None
    assert_fits(page, 1280)
    page.set_viewport_size({"width": 360, "height": 740})
    assert_fits(page, 360)


def test_stale_swapped_random_and_linked(page: Any, served: Served) -> None:
    """What is answered is told from what is typed, and an address opens the same page again."""
    page.get_by_role("button", name="Swap the two people").first.click()
    eventually(lambda: page.get_by_role("textbox", name="Context").is_visible())
    typed = page.get_by_role("textbox", name="Context").input_value()
    eventually(lambda: typed in page.locator("pre.prompt").text_content())
    note = page.locator(".stale-note")
    eventually(lambda: note.text_content() == "")
    page.get_by_role("textbox", name="Question").fill("Who was late?")
    eventually(lambda: "press Ask" in note.text_content())
    page.get_by_role("button", name="Ask").click()
    eventually(lambda: note.text_content() == "")
    page.get_by_text("Compare with as many random neurons").click()
    eventually(lambda: page.locator(".bar.random").count() == 3)
    bars = page.locator(".bar").all_text_contents()
    page.goto(page.url)
    eventually(lambda: page.locator(".bar.random").count() == 3)
    assert page.locator(".bar").all_text_contents() == bars
    assert page.get_by_role("textbox", name="Question").input_value() == "Who was late?"
    edit = page.get_by_role("switch", name=TEN)
    assert edit.get_attribute("aria-checked") == "true"
    edit.click()  # an address without any edit is not one that says nothing of edits
    # Not page.url, which stands still while nothing is asked of the browser.
    eventually(lambda: "%22edits%22%3A%7B%7D" in page.evaluate("location.href"))
    page.goto(page.url)
    eventually(lambda: edit.get_attribute("aria-checked") == "false")


def assert_fits(page: Any, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_at_phone_width(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert_fits(page, 360)
    page.get_by_role("switch", name=THIRTY).click()
    page.get_by_role("button", name="Show all").click()
    for button in page.get_by_role("button", name="Tokens of").all():
        if button.text_content() == "Show":
            button.click()
    page.get_by_text("Exact prompt").click()
    assert_fits(page, 360)
    for text in ("Dark", "Light"):
        page.get_by_role("button", name=text).click()
        eventually(
            lambda name=text: f"body--{name.lower()}" in page.locator("body").get_attribute("class")
        )


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("light", 1280, 1300, "light"), ("dark", 1280, 1300, "dark"), ("phone", 360, 1700, "light")],
)
def test_its_looks(page: Any, name: str, width: int, height: int, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector(f"body.body--{scheme}")
    seen = page.locator("tr", has_text="encoder").get_by_role("button").first
    seen.click()
    eventually(lambda: page.locator("ol.tokens").count() == 2)
    assert all(contrast >= 4.5 for contrast in page.evaluate(CONTRASTS))
    assert_fits(page, width)
    page.get_by_role("heading", level=1).click()
    screenshot(page, f"play-{name}")
    results = axe.Axe().run(page)
    assert {v["id"]: [n["html"] for n in v["nodes"]] for v in results.response["violations"]} == {}


def test_what_does_not_fit_is_said(page: Any) -> None:
    text = page.get_by_role("region", name="Edits", exact=True).text_content()
    assert "The edit was found on other weights" in text
    assert "does not fit demo" in text
    assert page.get_by_role("switch", name="other-model").is_disabled()
    assert page.get_by_role("switch", name="other-weights").is_enabled()


def test_other_pages_and_names_are_refused(served: Served) -> None:
    token = served.url.partition("?")[2]
    socket_io = f"{root(served)}_nicegui_ws/socket.io/?EIO=4&transport=polling"
    known = f"{socket_io}&{token}"
    assert status(served.url, {}) == 200
    assert status(root(served), {}) == status(socket_io, {}) == 403
    assert status(known, {"Origin": root(served).rstrip("/")}) == 200
    assert status(served.url, {"Host": "evil.example"}) == 403
    assert status(known, {"Origin": "http://evil.example"}) == 403
    with urllib.request.urlopen(served.url) as reply:
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


def test_an_interrupt_ends_it(page: Any, served: Served) -> None:
    """The last test of the file: the server is gone then."""
    files = {path.name for path in served.folder.iterdir()}
    assert files == {"age", "other-weights", "other-model"}  # nothing was written
    page.goto("about:blank")
    served.process.send_signal(signal.SIGINT)
    out, err = served.process.communicate(timeout=60)
    assert (served.process.returncode, out) == (0, "")
    assert err == "stopped.\n"
