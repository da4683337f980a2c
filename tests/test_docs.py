"""Links between the documents lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    ROOT / "src/snipbias/data/demo/README.md",
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not missing


def test_the_map_of_the_architecture_names_files_that_exist():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"\b([a-z_]+(?:/[a-z_]+)*\.py)\b", page))
    package = ROOT / "src/snipbias"
    assert len(names) > 20
    assert not [name for name in names if not (package / name).exists()]


def test_the_tables_of_the_results_are_those_of_their_files():
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs/web/results.py")
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
    texts = [path.read_text(encoding="utf-8") for path in results.PAGES]
    assert sum(len(results.BLOCK.findall(text)) for text in texts) >= 5
    assert [results.page(text) for text in texts] == texts
