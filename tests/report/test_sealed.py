"""A report's page loads nothing, lets no text be markup, and names everything once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import snipbias as sb
from report_runs import ALL, Read
from snipbias.base.plot import Plot
from snipbias.base.record import RunRecord
from snipbias.base.table import Grid
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.verdicts import Verdict
from snipbias.report.page import Case, Example, Finding, Line, Part, Section
from snipbias.report.render import page
from snipbias.report.write import write_report

EVIL = "</script><script>window.bad=1</script><img src=x onerror=window.bad=1>'\"&"


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_loaded_from_anywhere(pages: dict[str, Read], name: str) -> None:
    loading = {"src", "srcset", "data", "poster", "action", "formaction", "background", "ping"}
    for tag, attrs in pages[name].tags:
        assert not loading & set(attrs), (tag, attrs)
        target = attrs.get("href")
        assert target is None or target.startswith(("#", "data:,")), target
        assert not any(key.startswith("on") for key in attrs), (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "base", "form")
    policy = next(a["content"] for t, a in pages[name].tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    assert sum(tag == "script" for tag, _ in pages[name].tags) == 3  # data, plotly, our own
    assert "url(" not in (Path(sb.__path__[0]) / "report/static/report.css").read_text()


@pytest.mark.parametrize("name", ALL)
def test_ids_are_unique_and_what_names_them_exists(pages: dict[str, Read], name: str) -> None:
    ids = [attrs["id"] for _, attrs in pages[name].tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for _, attrs in pages[name].tags:
        for key in ("aria-labelledby", "for"):
            assert set((attrs.get(key) or "").split()) <= set(ids)
        if (attrs.get("href") or "").startswith("#"):
            assert str(attrs["href"])[1:] in ids


def test_two_runs_in_one_page_share_no_id(runs: Path, tmp_path: Path) -> None:
    both = write_report(
        [runs / "evaluated", runs / "evaluated", runs / "found"], tmp_path / "r.html"
    )
    read = Read(both.read_text())
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert both.read_text().count("plotly.js v") == 1  # its banner: inlined once


def test_no_text_becomes_markup() -> None:
    grid = Grid(EVIL, (EVIL, "b"), ((EVIL, EVIL),), (EVIL,))
    figure = {"data": [{"type": "scatter", "name": EVIL, "x": [1], "y": [1]}], "layout": {}}
    verdicts, nothing = (Verdict("blind", EVIL),), lambda name: Estimate(None)
    found: Any = SimpleNamespace(
        **{"task": EVIL, "method": EVIL, "pruned": EVIL, "apart": {}, "gain": Estimate(None)},
        before=SimpleNamespace(value=nothing),
        **{"value": nothing, "change": nothing, "sign_flip": lambda name: None},
        **{"by_trial": {None: verdicts}, "verdicts": verdicts},
    )
    finding = Finding(found, [(EVIL, 0.5)], [(True, EVIL, EVIL)], [EVIL])
    example = Example(
        *(EVIL, EVIL, 0, EVIL, EVIL, EVIL, ((EVIL, EVIL, 0.1, 0.9),), EVIL, EVIL, 0.8, EVIL)
    )
    section = Section(
        *("evil", EVIL, EVIL, (finding,), (EVIL,), (grid,)),
        plots=(Plot("p", EVIL, EVIL, figure, grid, EVIL, EVIL),),
        examples=(example,),
        notes=(EVIL,),
        warning=EVIL,
        changed=(EVIL,),
        lines=(Line(EVIL, "edit", 0, 0.5, None, 0.1, (0.5, None), ("good", EVIL)),),
        case=Case(EVIL, EVIL, EVIL, ((EVIL, EVIL),), ((EVIL, 0, (1.0,)),)),
    )
    record = RunRecord("evaluate", [EVIL], {EVIL: EVIL}, {EVIL: {"weights": EVIL}}, {EVIL: EVIL})
    read = Read(page([Part(EVIL, [section], record, EVIL)], EVIL))
    assert sum(tag == "script" for tag, _ in read.tags) == 3
    assert not any(tag == "img" for tag, _ in read.tags)
    assert read.text.count("window.bad=1</script>") >= 11  # said as it is, many times
