"""The report's page says what the runs say, loads nothing, and lets no text be markup."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
import snipbias as sb
from report_runs import runs as runs
from snipbias.base.hub import OFFLINE
from snipbias.base.plot import Plot
from snipbias.base.record import RunRecord
from snipbias.base.table import Grid, percent
from snipbias.base.words import ORIGINAL
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.harness_scores import HarnessScore
from snipbias.evaluation.measured import measured
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.trial import Trial
from snipbias.evaluation.verdicts import Verdict
from snipbias.experiment.reading import read_experiment
from snipbias.report.examples import changed_examples
from snipbias.report.first_screen import case, lines, shift_grid
from snipbias.report.page import Case, Example, Finding, Line, Part, Section
from snipbias.report.render import page
from snipbias.report.size_curve import Step, by_size
from snipbias.report.texts import Texts, texts_of
from snipbias.report.write import write_report

ALL = ("found", "evaluated", "demo", "reproduced")
EVIL = "</script><script>window.bad=1</script><img src=x onerror=window.bad=1>'\"&"


class Read(HTMLParser):
    """The page's tags, its tables by caption, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self._caption = ""
        self._into: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
        if tag in ("caption", "th", "td", "script", "style"):
            self._into = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._into:
            self._into = None
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if self._into == "caption":
            self._caption += data
        elif self._into in ("th", "td"):
            self._rows[-1][-1] += data
        if self._into not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def pages(runs: Path, tmp_path_factory) -> dict[str, Read]:
    place = tmp_path_factory.mktemp("pages")
    return {
        name: Read(write_report([runs / name], place / f"{name}.html").read_text()) for name in ALL
    }


def test_figures_are_those_of_the_summary(pages: dict[str, Read], runs: Path) -> None:
    summary = json.loads((runs / "evaluated" / "summary.json").read_text())
    header, *rows = pages["evaluated"].tables["Answers"]
    answers = {row[0].removesuffix(" !"): dict(zip(header, row, strict=True)) for row in rows}
    for name, found in summary["methods"].items():
        accuracy = found["accuracy"]
        named = found["changes"]["stereotyped"]["value"]
        assert answers[name]["n"] == str(found["neurons"])
        assert answers[name]["stereotyped"] == percent(named)
        assert answers[name]["acc."] == percent(accuracy["overall"])
        assert answers[name]["ambig."] == percent(accuracy["ambiguous"])
        assert answers[name]["disambig."] == percent(accuracy["disambiguated"])
    assert answers["always unknown"]["acc."] == "50.0"
    sides = {
        row[0].removesuffix(" !"): row for row in pages["evaluated"].tables["Bias and retention"]
    }
    for name, found in summary["methods"].items():
        assert sides[name][-1] == percent(found["retention"]["kept.jsonl"])
    edit = next(m for m, f in summary["methods"].items() if m != ORIGINAL and not f["control"])
    change = summary["methods"][edit]["changes"]["overall"]["difference"]
    words = " ".join(pages["evaluated"].text.split())
    before = percent(summary["methods"][ORIGINAL]["accuracy"]["overall"])
    after = percent(summary["methods"][edit]["accuracy"]["overall"])
    said = (
        f"took accuracy from {before} to {after} %"
        if before != after
        else f"left accuracy at {after} %"
    )
    assert said in words
    bounds = f"interval {100 * change['low']:+.1f} to {100 * change['high']:+.1f}"
    assert f"{100 * change['estimate']:+.1f} points (95 % {bounds})" in words
    for sentence in (s["sentence"] for s in summary["methods"][edit]["retained"]):
        assert sentence in words


def test_tables_are_those_that_evaluate_wrote(pages: dict[str, Read], runs: Path) -> None:
    written = (runs / "evaluated" / "tables.md").read_text().splitlines()
    rows = [
        line.strip("| ").split(" | ") for line in written if line[0:1] == "|" and "---" not in line
    ]
    shown = pages["evaluated"].tables
    titles = (
        *("Answers", "Tells unanswerable rows from answerable ones [95 % CI]"),
        *("How sure, and the change from the original", "Bias and retention", "Elsewhere"),
    )
    on_page = [row for title in titles for row in shown.get(title, ())]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows if any(row)] == [
        [c for c in row[1 if _repeated(row, above) else 0 :] if c]
        for row, above in zip(on_page, [[""], *on_page], strict=False)
    ]


def _repeated(row: list[str], above: list[str]) -> bool:
    """Whether the row's name only repeats, for screen readers, that of the row above."""
    return row[0] == above[0]


def test_an_experiment_is_read_back_as_it_was(pages: dict[str, Read], runs: Path) -> None:
    folder = runs / "reproduced"
    written = (folder / "tables.md").read_text()
    again = read_experiment(folder).markdown()
    data = [
        line
        for line in again.splitlines()
        if line not in written.splitlines()  # only the pool of items is not kept
    ]
    assert len(data) == 1
    assert data[0].startswith("| mini:age | 2 | 0 / 10 / 22 |")
    for name in ("reproduced", "demo"):  # a demonstration is an experiment
        assert any(title.startswith("Table 1") for title in pages[name].tables)
    assert "More accurate than" in written or "Not shown to differ" in written
    drawn = (folder / "plots.html").read_text()
    assert drawn.count('class="plotly-graph-div"') >= 4  # three plots and a map of each stack
    assert '"color":"#0067a5"' in drawn
    assert '"color":"@' not in drawn  # as the style sheet of a report would resolve it


def test_found_neurons_are_counted_and_claim_nothing(pages: dict[str, Read], runs: Path) -> None:
    edit = sb.NeuronEdit.load(runs / "found" / "n30")
    sites = pages["found"].tables["The largest edit's neurons"][1:]
    assert sum(len(row[1].split(",")) for row in sites) == len(edit) == 30
    maps = [rows for title, rows in pages["found"].tables.items() if title.startswith("Neurons by")]
    counted = sum(int(cell) for rows in maps for row in rows[1:] for cell in row[1:] if cell != "-")
    assert counted == 30  # the last of each: that of n30
    assert "Nothing is measured yet" in pages["found"].text
    assert "What happened" not in pages["found"].text


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


def test_of_several_runs_each_finding_says_its_own(runs: Path, tmp_path: Path) -> None:
    for name in ("before", "after"):
        shutil.copytree(runs / "evaluated", tmp_path / name)
    both = write_report([tmp_path / "before", tmp_path / "after"], tmp_path / "r.html")
    words = " ".join(Read(both.read_text()).text.split())
    for name in ("before", "after"):  # a link, the table, two findings, a section, the record
        run = f"evaluate: demo ({tmp_path / name})"
        assert words.count(run) == 1 + 1 + 2 + 1 + 1


def test_every_mark_has_its_reason(runs: Path, tmp_path: Path, monkeypatch) -> None:
    control = Comparison.load(runs / "evaluated").controls[0]
    said = {ORIGINAL: "it is blind", control: "it is mute"}
    monkeypatch.setattr(
        Comparison, "verdicts", lambda _, m: (Verdict("blind", said[m]),) if m in said else ()
    )
    read = Read(write_report([runs / "evaluated"], tmp_path / "r.html").read_text())
    marked = [row[0] for row in read.tables["Answers"]]
    words = " ".join(read.text.split())
    for name, why in said.items():
        assert f"{name} !" in marked
        assert f"{name}: {why}" in words


def test_what_is_wrong_with_the_original_stands_above_the_findings(
    runs: Path, tmp_path: Path, monkeypatch
) -> None:
    said = "does not read which named option is right (named accuracy 50%, chance 50%)"
    wanted = f"On mini:age the original model {said}: what edits change on these rows says little."
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, margin in zip(folders, (0.1, 0.2), strict=True):
        shutil.copytree(runs / "evaluated", folder)
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps({**summary, "margin": margin}))
    load = Comparison.load

    def judged(folder: Path) -> Comparison:
        found = load(folder)
        wrong = (Verdict("x", said),) if found.margin == 0.1 else ()
        vars(found.measured[ORIGINAL])["verdicts"] = wrong
        return found

    monkeypatch.setattr(Comparison, "load", judged)
    words = " ".join(Read(write_report(folders[:1], tmp_path / "r.html").read_text()).text.split())
    assert (
        words.index("What happened") < words.index(wanted) < words.index("stereotyped person named")
    )
    both = Read(write_report(folders, tmp_path / "both.html").read_text())
    words = " ".join(both.text.split())
    assert f"{wanted} evaluate: demo ({folders[0]})" in words  # and of the other nothing
    assert words.count("says little") == 1


def test_an_experiment_warns_too(runs: Path, tmp_path: Path) -> None:
    read = read_experiment(runs / "reproduced")  # of a model that never learned anything
    said = read.measured["mini:age"][ORIGINAL].verdicts
    text = write_report([runs / "reproduced"], tmp_path / "second.html").read_text()
    known = [str(each) for each in said if each.settled]
    words = " ".join(Read(text).text.split())
    assert said
    assert (f"On mini:age the original model {', and '.join(known)}" in words) is bool(known)


def test_no_text_becomes_markup() -> None:
    grid = Grid(EVIL, (EVIL, "b"), ((EVIL, EVIL),), (EVIL,))
    figure = {"data": [{"type": "scatter", "name": EVIL, "x": [1], "y": [1]}], "layout": {}}
    finding = Finding(
        *(EVIL, EVIL, EVIL, 0.5, 0.6, None),
        rivals=((EVIL, 0.5),),
        gain=None,
        shifted=False,
        alarms=(EVIL,),
        kept=((True, EVIL, EVIL),),
    )
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
        lines=(Line(EVIL, "edit", EVIL, 0, 0.5, None, 0.1, (0.5, None), ("good", EVIL)),),
        case=Case(EVIL, EVIL, EVIL, EVIL, ((EVIL, EVIL),), ((EVIL, 0, (1.0,)),)),
    )
    record = RunRecord("evaluate", [EVIL], {EVIL: EVIL}, {EVIL: {"weights": EVIL}}, {EVIL: EVIL})
    read = Read(page([Part(EVIL, [section], record, EVIL)], EVIL))
    assert sum(tag == "script" for tag, _ in read.tags) == 3
    assert not any(tag == "img" for tag, _ in read.tags)
    assert read.text.count("window.bad=1</script>") >= 11  # said as it is, many times


def test_examples_by_hand() -> None:
    """P is .6 for the answer and .2 for the rest, so every row moves by .4 or not at all."""
    before = experiments.table(ORIGINAL, experiments.says(experiments.BIASED), templates=2)
    after = experiments.table("edit", experiments.says(experiments.UNKNOWN), templates=2)
    found = changed_examples(before, after, "edit", Texts({}, ()))
    # Ambiguous rows became right. Of the disambiguated ones template 0 had the biased option right,
    # template 1 the other one, which nobody said before or after: its P never moved.
    assert [(e.item, round(e.delta, 6), e.outcome) for e in found] == [
        ("0-disambiguated", -0.4, "became wrong"),
        ("0-ambiguous", 0.4, "became right"),
        ("1-ambiguous", 0.4, "became right"),
    ]
    assert found[0].options == (
        ("option 1", "right, stereotyped", pytest.approx(0.6), pytest.approx(0.2)),
        ("option 2", "", pytest.approx(0.2), pytest.approx(0.2)),
        ("option 3", "unknown", pytest.approx(0.2), pytest.approx(0.6)),
    )
    assert (found[0].before, found[0].after, found[0].text) == ("option 1", "option 3", None)


def test_the_first_screen_by_hand() -> None:
    """The stereotyped person is named before, and "unknown" said after, each with P .6."""
    tables = {
        name: experiments.table(name, experiments.says(answer), templates=2)
        for name, answer in ((ORIGINAL, experiments.BIASED), ("e", experiments.UNKNOWN))
    }
    before, after = map(rows_of, tables.values())
    trials = {
        ORIGINAL: [Trial(before, retention={"kept": after})],
        "e": [Trial(after, size=3), Trial(before, size=3)],
    }
    kinds = {ORIGINAL: "original", "e": "edit"}
    first, edit = lines(measured("mini:age", trials), kinds, {"e": ("good", "A gain")})
    assert (first.stereotyped, first.answerable, first.kept, first.number) == (1, 0.5, 0.5, -1)
    assert (edit.stereotyped, edit.answerable, edit.kept, edit.number) == (0.5, 0.25, None, 0)
    assert edit.gold == pytest.approx(((0.6 + 0.2) / 2, (0.2 + 0.4) / 2))
    assert edit.tag == ("good", "A gain")
    shift = shift_grid({"e": [after]})
    assert shift.rows[0] == ("e", "60.0", "20.0", "20.0", "20.0", "60.0", "60.0")
    shown = case(tables, Texts({}, ()))
    assert shown.item.endswith("ambiguous")
    assert [kind for _, kind in shown.options if "unknown" in kind] == ["right, unknown"]
    chosen = {name: shown.options[at][1] for name, at, _ in shown.answers}
    assert chosen == {ORIGINAL: "stereotyped", "e": "right, unknown"}


def test_examples_show_the_prompt_that_was_asked(pages: dict[str, Read], runs: Path) -> None:
    record = RunRecord.read(runs / "evaluated")
    texts = texts_of(record, "mini:age")
    rows = sb.task("mini:age").with_instructions(texts.instructions)
    assert texts.items == {item.id: item for item in rows.items}
    assert texts.instructions == sb.task("mini:age").instructions[:2]
    assert any(item.question in pages["evaluated"].text for item in rows.test.items)
    assert f"{texts.instructions[0]}\nContext: " in pages["evaluated"].text


def test_texts_that_changed_or_are_not_wanted_are_not_shown(
    runs: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.delenv(OFFLINE, raising=False)
    record = RunRecord.read(runs / "evaluated")
    changed = replace(
        record, data={"mini:age": {**record.data["mini:age"], "fingerprint": "0" * 64}}
    )
    found = texts_of(changed, "mini:age")
    assert (found.items, "no longer those of the run" in found.missing) == ({}, True)
    gone = replace(record, data={"there/no.jsonl": record.data["mini:age"]})
    assert "The texts of there/no.jsonl are not shown" in texts_of(gone, "there/no.jsonl").missing
    assert OFFLINE not in __import__("os").environ  # as it was
    without = write_report([runs / "evaluated"], tmp_path / "r.html", texts=False).read_text()
    assert "left out of this report on request" in without
    assert sb.task("mini:age").test.items[0].question not in Read(without).text
    assert "Context: " not in Read(without).text


def test_tasks_of_the_harness_stand_beside_the_others(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "evaluated", folder)
    change = Interval(-0.1, -0.3, 0.1, 0.95, 20, 1, False)
    scores = sb.HarnessScores(
        (
            HarnessScore("piqa", "acc", ORIGINAL, 0.65, 0.1, 20, True, True),
            HarnessScore("piqa", "acc", "v1 n=3", 0.55, 0.1, 20, True, True, change),
        ),
        {"piqa": "1.0"},
    )
    (folder / "lm_eval.json").write_text(json.dumps(scores.to_dict(0.02)))
    read = Read(write_report([folder], tmp_path / "r.html").read_text())
    assert read.tables["lm-evaluation-harness"][2] == [
        *("v1 n=3", "piqa", "acc", "0.55", "0.1", "20", "-10.0 [-30.0, +10.0] points")
    ]
    assert "may be worse by more than 2.0 points: -10.0 [-30.0, +10.0]" in read.text


CHANGE = Interval(0.1, 0.05, 0.15, 0.95, 11, 10, True)


def gained(gain: float) -> Interval:
    return replace(CHANGE, estimate=gain, low=gain - 0.05, high=gain + 0.05)


@pytest.mark.parametrize(
    ("change", "gain", "shifted", "alarms", "tag", "said"),
    [
        (CHANGE, 0.08, False, (), "A gain", "this is a gain"),
        (
            CHANGE,
            0.0,
            True,
            (),
            "A shift, not a gain",
            "is a shift and not a gain, +0.0",
        ),
        (CHANGE, 0.0, False, (), "Perhaps a shift", "may do as well"),
        (CHANGE, None, False, (), "More accurate", "+10.0 points"),
        (CHANGE, -0.2, True, (), "A shift, not a gain", "does better: the edit has -20.0 ["),
        (CHANGE, 0.08, False, ("broken",), "Something broke", "falls short: the edit has +8.0 ["),
        (replace(CHANGE, low=-0.01), 0.08, False, (), "No change shown", "-1.0 to +15.0"),
        (replace(CHANGE, low=-0.2, high=-0.1), 0.0, False, (), "Less accurate", "-20.0 to -10.0"),
        (None, None, False, (), "Not settled", "too few templates"),
    ],
)
def test_a_bad_finding_is_as_plain_as_a_good_one(
    change: Interval | None, gain: float | None, shifted: bool, alarms: Any, tag: str, said: str
) -> None:
    finding = Finding(
        *("t", "v1", "3", 0.5, 0.6, change),
        rivals=(("random neurons", 0.4), ("nobody", None)),
        gain=None if gain is None else gained(gain),
        shifted=shifted,
        alarms=alarms,
    )
    words = " ".join(finding.answers.values())
    assert finding.tag[1] == tag
    assert said in words
    assert "random neurons 40.0" in words
    assert "nobody" not in words
    assert ("this is a gain" in words) == (tag == "A gain")
    if tag == "A gain":  # on plain rows alone it is none
        assert replace(finding, gained="no").tag[1] == "A shift, not a gain"


LESS = replace(CHANGE, estimate=-0.01, low=-0.044, high=-0.0004)


@pytest.mark.parametrize(
    ("change", "p_value", "tag", "said"),
    [
        (LESS, 0.05, "Less accurate", "(95 % interval -4.4 to +0.0)."),
        (LESS, 0.051, "Not settled", "the interval excludes 0, and the p-value"),
        (CHANGE, 1.0, "Not settled", "the p-value by sign flip is 1.000"),
        (replace(LESS, templates=6), 0.03125, "Less accurate", "-1.0 points"),
        (replace(LESS, templates=5), None, "Not settled", "with 5 templates the interval is"),
        (replace(CHANGE, low=-0.1, templates=5), 1.0, "Not settled", "no p-value can be below"),
        (replace(CHANGE, low=-0.1), 1.0, "No change shown", "interval -10.0 to +15.0)."),
    ],
)
def test_what_the_evidence_does_not_carry_is_not_settled(
    change: Interval, p_value: float | None, tag: str, said: str
) -> None:
    finding = Finding(
        *("t", "v1", "3", 0.5, 0.6, change),
        rivals=(),
        gain=gained(0.08),
        shifted=False,
        p_value=p_value,
    )
    words = " ".join(finding.answers.values()).replace("\N{NO-BREAK SPACE}", " ")
    assert finding.tag[1] == tag
    assert said in words
    assert ("Not settled" in words) == (tag == "Not settled")


def test_plots_are_figures_that_plotly_knows(runs: Path) -> None:
    pytest.importorskip("plotly")
    from snipbias.report.write import _part

    plots = [
        plot
        for name in ALL
        for section in _part(runs / name, None, "part1", texts=False).sections
        for plot in section.plots
    ]
    kinds = {plot.name.split("-")[-1] for plot in plots}
    assert kinds == {"plane", "forest", "spread", "sizes", *(f"map{i}" for i in range(2))}
    for plot in plots:
        plot.drawn()  # raises for what plotly or the colours do not know
        assert plot.table.rows
        assert plot.summary.endswith(".")


def test_the_plane_and_the_sizes_by_hand() -> None:
    spots = [
        Spot("original", ByCondition(0.5, 0.1, 0.9), "original"),
        Spot("edit", ByCondition(0.7, 0.6, 0.8), "edit"),
        Spot("nowhere", ByCondition(0.7, None, 0.8), "control"),
    ]
    drawn = tradeoff("p", spots, None)
    assert drawn is not None
    assert [(t["name"], t["x"], t["y"]) for t in drawn.figure["data"]] == [
        ("original", [10.0], [90.0]),
        ("edit", [60.0], [80.0]),
    ]
    assert drawn.table.rows == (("original", "10.0", "90.0"), ("edit", "60.0", "80.0"))
    assert tradeoff("p", spots[2:], None) is None
    steps = [
        Step(30, ByCondition(0.8, None, None), {"overall": (0.7, 0.9)}),
        Step(3, ByCondition(0.6, None, None), {"overall": (0.6, 0.65)}),
    ]
    lines = by_size("p", steps, ByCondition(0.5, None, None), 0.5, "Here.")
    assert lines is not None
    first, level, floor = lines.figure["data"]
    assert (first["x"], first["y"]) == ([3, 30], [60.0, 80.0])
    np.testing.assert_allclose(first["error_y"]["array"], [5, 10])
    np.testing.assert_allclose(first["error_y"]["arrayminus"], [0, 10], atol=1e-9)
    assert (level["y"], floor["y"], floor["name"]) == ([50.0] * 2, [50.0] * 2, "always unknown")
    assert lines.table.rows[1] == ("30", "80.0 [70.0, 90.0]", "-", "-")
    assert by_size("p", steps[:1], ByCondition(0.5, None, None), None, "") is None


def test_many_edits_of_a_name_and_of_no_neurons_that_are_known(runs: Path, tmp_path: Path) -> None:
    from snipbias.edits.run_folder import read_edits, read_sites, write_edits, write_sites

    edits = [
        sb.NeuronEdit({"a": {i: 0.0}}, ModelId("m", "M", 9, "0"), label=f"v1 n={i}/x")
        for i in range(12)
    ]
    write_edits(edits, tmp_path)
    assert read_edits(tmp_path) == edits  # in their order, ten and more
    write_sites(experiments.sites(), tmp_path)
    assert read_sites(tmp_path) == experiments.sites()


def test_what_no_report_can_be_made_of_is_one_sentence(
    runs: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "r.html"
    with pytest.raises(sb.SnipbiasError, match="give the folder of one"):
        write_report([], out)
    with pytest.raises(sb.SnipbiasError, match="no edit or run record"):
        write_report([tmp_path], out)
    RunRecord("apply", [], {}).write(tmp_path)
    with pytest.raises(sb.SnipbiasError, match="`snipbias apply`: a report is made of find"):
        write_report([tmp_path], out)
    old = tmp_path / "old"
    shutil.copytree(runs / "evaluated", old)
    (old / "sites.json").unlink()
    with pytest.raises(sb.SnipbiasError, match=r"has no sites\.json"):
        write_report([old], out)
    (old / "summary.json").write_text("{")
    with pytest.raises(sb.SnipbiasError, match="damaged"):
        write_report([old], out)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(runs / "reproduced", unfinished)
    (unfinished / "rows.parquet").unlink()
    with pytest.raises(sb.SnipbiasError, match="no finished experiment"):
        write_report([unfinished], out)
    with pytest.raises(sb.SnipbiasError, match="is a folder"):
        write_report([runs / "found"], tmp_path)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(sb.SnipbiasError, match=r"snipbias\[report\]"):
        write_report([runs / "found"], out)
    assert not out.exists()
