"""The report in a real browser: quiet, sealed, readable by anyone, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import browser as browser
from browser import run_to_show, screenshot
from snipbias.report.write import write_report

pytestmark = pytest.mark.slow
PHONE = {"width": 360, "height": 780}
DESK = {"width": 1280, "height": 900}
# Below this a text is hard to read for many (WCAG 2.2, AA).
CONTRAST = "color-contrast"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def files(runs: Path, tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    asked = {
        "evaluated": [run_to_show(runs / "evaluated")],
        "all": [runs / name for name in ("found", "evaluated", "demo", "reproduced")],
    }
    return {name: write_report(folders, place / f"{name}.html") for name, folders in asked.items()}


@pytest.fixture
def visit(browser: Any, files: dict[str, Path]) -> Iterator[Open]:
    """Open a report; at the end nothing was complained of and nothing was asked of a network."""
    heard: list[str] = []
    contexts: list[Any] = []

    def to(name: str = "evaluated", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("request", lambda request: _note(heard, request.url))
        page.goto(files[name].as_uri())
        return page

    yield to
    for context in contexts:
        context.close()
    assert heard == []


def _note(heard: list[str], url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        heard.append(f"request: {url}")


def until(page: Any, condition: str) -> None:
    """Wait in the page itself: its policy forbids the eval that playwright's own wait takes."""
    page.evaluate(
        f"""async () => {{
          const end = performance.now() + 20000;
          while (!({condition})) {{
            if (performance.now() > end) throw new Error("waited for 20 s");
            await new Promise(requestAnimationFrame);
          }}
        }}"""
    )


def draw_all(page: Any) -> None:
    """Scroll through the page, so that every plot is drawn."""
    page.evaluate(
        """async () => {
          for (const box of document.querySelectorAll("[data-plot]")) {
            if (!box.offsetParent) continue;
            box.scrollIntoView();
            while (!box.querySelector(".main-svg")) await new Promise(requestAnimationFrame);
          }
          scrollTo({ top: 0, behavior: "instant" });
        }"""
    )


def test_every_plot_is_drawn_and_nothing_is_asked_of_a_network(visit: Open) -> None:
    page = visit("all")
    draw_all(page)
    shown = page.locator("[data-plot]:visible")
    assert shown.count() >= 10
    assert shown.count() == page.locator("[data-plot]:visible:has(.main-svg)").count()


@pytest.mark.parametrize("name", ["evaluated", "all"])
def test_a_phone_scrolls_no_page_sideways(visit: Open, name: str) -> None:
    page = visit(name, viewport=PHONE)
    draw_all(page)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = page.evaluate(
        """[...document.querySelectorAll("main :is(p, pre, h2, h3, h4, figure, summary, dl, svg)")]
          .filter((e) => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Open, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    page = visit("evaluated" if scheme == "light" else "all", color_scheme=scheme)
    draw_all(page)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    results = axe.Axe().run(page)
    found = {v["id"]: [n["html"][:120] for n in v["nodes"]] for v in results.response["violations"]}
    assert found == {}
    assert any(rule["id"] == CONTRAST for rule in results.response["passes"])


def test_dark_reaches_the_plots(visit: Open) -> None:
    page = visit(color_scheme="light")
    draw_all(page)
    ink = "getComputedStyle(document.body).color"
    tick = "document.querySelector('.main-svg .xtick text')"  # none while it is drawn anew
    drawn = f"{tick} && getComputedStyle({tick}).fill === {ink}"
    until(page, drawn)
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    until(page, drawn)
    assert page.evaluate(ink) != light
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 23, 28)"


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(visit: Open) -> None:
    page = visit()
    draw_all(page)
    wanted = page.evaluate(
        """() => {
          const kinds = "a[href], button, input, select, summary, [tabindex='0']";
          const all = document.querySelectorAll(kinds);
          const seen = [...all].filter((e) => e.checkVisibility({ visibilityProperty: true }));
          seen.forEach((e, i) => (e.dataset.stop = i));
          return seen.length;
        }"""
    )
    assert wanted > 40
    reached, unmarked = set(), []
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        stop, outline = page.evaluate(
            "((e) => [e.dataset.stop, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        reached.add(stop)
        if stop is not None and outline == "none":
            unmarked.append(stop)
    assert {str(i) for i in range(wanted)} <= reached
    assert unmarked == []


def test_the_examples_are_filtered_sorted_and_searched(visit: Open) -> None:
    page = visit()
    shown = page.locator(".example:visible")
    deltas = [float(each) for each in page.eval_on_selector_all(".example:not([hidden])", DELTAS)]
    assert len(deltas) == 10
    assert min(deltas) < 0 < max(deltas)  # in turn
    page.get_by_label("Order").select_option("best first")
    best = [float(each) for each in page.eval_on_selector_all(".example:not([hidden])", DELTAS)]
    assert best == sorted(best, reverse=True)
    assert best[0] == max(deltas)
    page.get_by_label("Outcome").select_option("became right")
    page.get_by_role("button", name="Show more").click()
    total = page.locator(".example[data-outcome='became right']").count()
    assert shown.count() == total > 10
    assert page.get_by_role("status").inner_text() == f"{total} of {total} shown"
    page.get_by_label("Containing").fill("no such words")
    assert shown.count() == 0
    page.get_by_label("Containing").fill("")
    assert shown.count() == 10
    shown.first.locator("summary").press("Enter")
    assert "Context:" in shown.first.locator(".prompt").inner_text()


DELTAS = "(all) => all.map((e) => e.dataset.delta)"


def test_the_legend_hides_and_the_picker_shows(visit: Open) -> None:
    page = visit()
    draw_all(page)
    plot = page.locator("figure:has([data-plot$='-plane'])")
    marks = plot.locator(".scatterlayer .trace:visible path.point:visible")
    before = marks.count()
    plot.get_by_label("found n=30").uncheck()
    points = "document.querySelectorAll(\"[data-plot$='-plane'] path.point\").length"
    until(page, f"{points} < {before}")
    assert marks.count() == before - 1
    maps = page.locator("figure:has([data-plot*='-map'])")
    assert page.locator("figure:visible h4:has-text('found n=30')").count() == 1
    page.locator(".picker").select_option("found n=3")
    assert page.locator("figure:visible h4:has-text('found n=30')").count() == 0
    assert page.locator("figure:visible h4:has-text('found n=3')").count() == 1
    assert maps.count() == 2


def test_print_is_light_and_cuts_no_plot(visit: Open) -> None:
    page = visit(color_scheme="dark")
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")
    paper = {"width": 690, "height": 980}  # A4 less its margins, in CSS pixels
    page.set_viewport_size(paper)
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    plots = "[...document.querySelectorAll('[data-plot]')]"
    until(page, f"{plots}.every((b) => b.querySelector('.main-svg'))")
    cut = page.evaluate(
        """[...document.querySelectorAll(".main-svg, .lines")].map((e) => e.getBoundingClientRect())
          .filter((r) => r.width && (r.right > innerWidth + 1 || r.left < -1)).length"""
    )
    assert cut == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert not page.locator(".filters").first.is_visible()
    widths = "(all) => all.map((e) => e.viewBox.baseVal.width)"
    assert set(page.eval_on_selector_all(".main-svg", widths)) == {840}  # letters as a table's
    assert not page.locator(".all").is_visible()  # no page of JSON
    for closed in (".cost", ".example:not([hidden]) .prompt"):
        assert page.locator(closed).first.is_visible(), closed
    assert len(page.pdf(format="A4", print_background=True)) > 50_000


def test_without_a_script_tables_stand_for_the_plots(visit: Open) -> None:
    page = visit(java_script_enabled=False)
    for shown in (".plot table", ".plot[data-choice='found n=3'] table", ".example summary"):
        assert page.locator(shown).first.is_visible(), shown
    for useless in (".drawing", ".filters", ".pick", ".copy"):
        assert page.locator(useless).count()
        assert not page.locator(useless).first.is_visible(), useless


def test_what_a_browser_makes_of_hostile_texts(browser: Any, tmp_path: Path) -> None:
    from test_sealed import test_no_text_becomes_markup as said

    pages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        import test_sealed

        real = test_sealed.page
        patch.setattr(test_sealed, "page", lambda *a: pages.append(real(*a)) or pages[0])
        said()
    file = tmp_path / "hostile.html"
    file.write_text(pages[0], encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    draw_all(page)
    page.wait_for_timeout(100)
    assert page.evaluate("window.bad") is None
    assert page.locator("img, script:not([id])").count() == 2  # plotly and our own script
    page.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"viewport": {"width": 1280, "height": 1500}}),
        ("dark", {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "dark"}),
        ("phone", {"viewport": PHONE}),
    ],
)
def test_how_it_looks(visit: Open, name: str, options: dict[str, Any]) -> None:
    page = visit(**options)
    draw_all(page)
    screenshot(page, f"report-{name}")
    assert page.title() == "demo on mini:age - snipbias report"
