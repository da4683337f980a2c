"""The audit pack: limits first, worst first, figures by hand, and nothing that was not measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import _chromium
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.edits.controls import random_edit
from snipbias.edits.run_folder import write_edits
from snipbias.evaluation.compare import Comparison, compare
from snipbias.report.audit import Scenario, write_audit
from toys import task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lm, folder = tiny("llama"), tmp_path_factory.mktemp("run")
    edit = random_edit(lm, 9, 3)
    compare(lm, task(), edit, texts=(), controls=1).save(folder)
    write_edits([edit], folder)
    record = RunRecord("evaluate", ["evaluate", "m", "toy"], {"task": "toy", "options": "text"})
    record.models["m"] = {"weights": "abc123", "revision": None}
    record.write(folder)
    return folder


def test_limits_come_first_and_worst_rows_first(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.html"
    write_audit(run, out, Scenario("men and women", "a chatbot", threshold=0.0))
    page = out.read_text()
    titles = ["What this does not cover", "What is wrong, or may be", "The scenario"]
    titles += ["What was done", "How often the stereotyped person is named", "checked by"]
    places = [page.index(f">{title}") for title in titles[:-1]]
    assert places == sorted(places)
    found = Comparison.load(run)
    for told in ("men and women", "a chatbot", "abc123", *found.fingerprints.values()):
        assert told in page
    for duty in ("Article 10 (data governance): not served", "Local Law 144", "no certificate"):
        assert duty in page
    assert "not stated" not in page
    rows = found.evaluation.table.to_pylist()
    edit = found.edits[0]
    shares: dict[str, list[bool]] = {}
    for row in rows:
        if row["method"] == edit and row["condition"] == "ambiguous":
            shares.setdefault(row["template"], []).append(row["chosen"] == row["biased"])
    worst = max(shares.values(), key=lambda named: sum(named) / len(named))
    table = page[page.index(f"{edit}: the worst") :]
    first = table[table.index("<tbody>") :].split("<td>")[1].split("</td>")[0]
    assert first == f"{100 * sum(worst) / len(worst):.1f}"
    with pytest.raises(SnipbiasError, match="exists"):
        write_audit(run, out)


def test_what_is_not_stated_is_said(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.html"
    write_audit(run, out)
    page = out.read_text()
    assert page.count("not stated by the maker of this pack") == 4
    assert "No threshold was set" in page


def test_refusals(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord("find", [], {})
    record.write(tmp_path)
    with pytest.raises(SnipbiasError, match="give the folder of a run of `snipbias evaluate`"):
        write_audit(tmp_path, tmp_path / "audit.html")
    with pytest.raises(SnipbiasError, match="HTML page"):
        write_audit(run, tmp_path / "audit.pdf", pdf=True)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SnipbiasError, match="no chromium"):
        write_audit(run, tmp_path / "audit.html", pdf=True)
    assert not (tmp_path / "audit.html").exists()


@pytest.mark.skipif(_chromium() is None, reason="no chromium")
def test_pdf(run: Path, tmp_path: Path) -> None:
    files = write_audit(run, tmp_path / "audit.html", pdf=True)
    assert files[1].read_bytes().startswith(b"%PDF")


def test_rows_that_all_tell_the_answer_do_not_show_whom_a_model_names(tmp_path: Path) -> None:
    answerable = task().where(lambda item: item.condition == "disambiguated")
    folder = tmp_path / "run"
    compare(tiny("llama"), answerable, texts=(), controls=0, elsewhere=0).save(folder)
    RunRecord("evaluate", ["evaluate", "m", "toy"], {"task": "toy"}).write(folder)
    with pytest.raises(SnipbiasError, match="in ambiguous rows too, and evaluate again"):
        write_audit(folder, tmp_path / "audit.html", Scenario())
    assert not (tmp_path / "audit.html").exists()


def test_a_page_is_neither_a_folder_nor_a_pdf(run: Path, tmp_path: Path) -> None:
    for out, said in ((".", "give the name of a file"), (tmp_path / "A.PDF", "ending .html")):
        with pytest.raises(SnipbiasError, match=said):
            write_audit(run, out, Scenario(), overwrite=True)
    assert not list(tmp_path.iterdir())


def test_a_pdf_that_is_there_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.pdf").write_text("mine")
    with pytest.raises(SnipbiasError, match=r"audit\.pdf exists"):
        write_audit(run, tmp_path / "audit.html", pdf=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
