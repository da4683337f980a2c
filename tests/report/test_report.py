"""The report's page says what the runs say."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import experiments
import snipbias as sb
from report_runs import ALL, Read
from snipbias.base.hub import OFFLINE
from snipbias.base.record import RunRecord
from snipbias.base.table import percent
from snipbias.base.words import ORIGINAL
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.harness_scores import HarnessScore
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.verdicts import Verdict
from snipbias.experiment.reading import read_experiment
from snipbias.report.texts import texts_of
from snipbias.report.write import write_report

EVIL = "</script><script>window.bad=1</script><img src=x onerror=window.bad=1>'\"&"


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
        f"moved accuracy from {before} to {after} %"
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

    def verdicts(found: Measured) -> tuple[Verdict, ...]:
        return (Verdict("blind", said[found.method]),) if found.method in said else ()

    monkeypatch.setattr(Measured, "verdicts", property(verdicts))
    read = Read(write_report([runs / "evaluated"], tmp_path / "r.html").read_text())
    marked = [row[0] for row in read.tables["Answers"]]
    words = " ".join(read.text.split())
    for name, why in said.items():
        assert f"{name} !" in marked
        assert f"{name}: {why}" in words


def test_what_is_wrong_with_the_original_stands_above_the_findings(
    runs: Path, tmp_path: Path, monkeypatch
) -> None:
    said = "does not read which person is right (named accuracy 50%, chance 50%)"
    wanted = (
        f"On mini:age the original model {said}: changes that edits make on these rows mean little."
    )
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
    assert words.count("mean little") == 1


def test_an_experiment_warns_too(runs: Path, tmp_path: Path) -> None:
    read = read_experiment(runs / "reproduced")  # of a model that never learned anything
    said = read.measured["mini:age"][ORIGINAL].verdicts
    text = write_report([runs / "reproduced"], tmp_path / "second.html").read_text()
    known = [str(each) for each in said if each.settled]
    words = " ".join(Read(text).text.split())
    assert said
    assert (f"On mini:age the original model {', and '.join(known)}" in words) is bool(known)


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
    with pytest.raises(sb.SnipbiasError, match="`snipbias apply`: give a folder of find"):
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
    with pytest.raises(
        sb.SnipbiasError, match=r"no finished experiment \(rows\.parquet is missing\)"
    ):
        write_report([unfinished], out)
    with pytest.raises(sb.SnipbiasError, match="is a folder"):
        write_report([runs / "found"], tmp_path)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(sb.SnipbiasError, match=r"snipbias\[report\]"):
        write_report([runs / "found"], out)
    assert not out.exists()


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
