"""The glossary: every column that a comparison shows is explained, and nothing else is."""

from snipbias.base.table import Grid
from snipbias.base.words import ALWAYS_UNKNOWN
from snipbias.evaluation.glossary import TERMS, explained, legend, legend_markdown
from snipbias.evaluation.measures import ELSEWHERE
from snipbias.evaluation.tables import ANSWERS, CHANGES, SIDES


def test_what_stands_in_a_table_is_explained_and_nothing_else() -> None:
    grid = Grid("t", ("method", "p Holm", "KL"), (("3 random neurons !", "1", "2"),))
    assert [names for names, _ in explained([grid])] == ["p", "p Holm", "KL", "random neurons", "!"]
    floors = legend([Grid("t", ("method", "KL"), ((ALWAYS_UNKNOWN, "1"),))])
    assert floors.startswith("KL: ")
    assert "; always unknown: answering every row" in floors
    assert list(explained([])) == []
    assert legend_markdown([grid]).splitlines()[2].startswith("- **KL**: ")


def test_no_term_stands_twice() -> None:
    columns = [column for columns in TERMS for column in columns.split(" / ")]
    assert len(set(columns)) == len(columns)


def test_every_column_of_a_comparison_is_explained() -> None:
    apart = ("kind", "AUROC", "twin AUROC", "vs offset")
    columns = {*ANSWERS, *SIDES, *ELSEWHERE, *CHANGES, *apart} - {"method", "percent", "now"}
    assert [name for name in columns if not list(explained([Grid("t", (name,), ())]))] == []
