"""The architecture, read from the imports: which room may use which, and how long a file may be."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import snipbias

ROOT = Path(snipbias.__file__).parent
# From the ground up; rooms of one floor do not import each other.
FLOORS = [
    {"base"},
    {"tasks", "models"},
    {"edits"},
    {"method", "evaluation"},
    {"experiment", "play"},
    {"report"},
    {"cli"},
]
LONGEST = 300
TESTS = [*Path(__file__).parent.rglob("*.py")]


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(file): file for file in ROOT.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it and for types as well."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively: write the module's whole path"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return (found & MODULES.keys()) - {name}


GRAPH = {name: imports(name) for name in MODULES}


def floor(name: str) -> int | None:
    room = name.split(".")[1] if "." in name else ""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def test_every_room_has_a_floor() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == set.union(*FLOORS)


def test_no_module_imports_one_of_its_own_floor_or_above() -> None:
    upward = [
        f"{name} -> {other}"
        for name, others in GRAPH.items()
        for other in others
        if name.split(".")[1:2] != other.split(".")[1:2]
        and floor(name) is not None
        and (floor(other) or 0) >= floor(name)  # type: ignore[operator]
    ]
    assert upward == []


def test_imports_run_in_no_circle() -> None:
    assert len(list(TopologicalSorter(GRAPH).static_order())) == len(MODULES)


def test_no_module_is_called_like_one_of_the_standard_library() -> None:
    hidden = {name for name in MODULES if name.split(".")[-1] in sys.stdlib_module_names}
    assert hidden == set()


def test_a_file_can_be_read_in_one_sitting() -> None:
    files = [*MODULES.values(), *TESTS]
    long = [f for f in files if len(f.read_text(encoding="utf-8").splitlines()) > LONGEST]
    assert long == []


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports each by its name alone."""
    assert [name for name, many in Counter(f.name for f in TESTS).items() if many > 1] == [
        "conftest.py"
    ]


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The public functions and methods of a module."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node


def _raises(node: ast.FunctionDef) -> bool:
    """Whether it raises anything but an assertion, which no caller can cause."""
    raised = (each.exc for each in ast.walk(node) if isinstance(each, ast.Raise))
    return any(exc and "AssertionError" not in ast.unparse(exc) for exc in raised)


def test_docstrings_say_what_a_public_function_takes_and_raises() -> None:
    """`Args:` from three parameters on, and `Raises:` with a `raise`."""
    missing = []
    for file in MODULES.values():
        for name, node in _functions(ast.parse(file.read_text(encoding="utf-8")).body, ""):
            said, a = ast.get_docstring(node) or "", node.args
            names = {each.arg for each in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
            due = {"Args:": len(names - {"self", "cls"}) >= 3, "Raises:": _raises(node)}
            lacking = [part for part in due if due[part] and part not in said]
            where = f"{file.relative_to(ROOT)}:{node.lineno} {name}"
            missing += [f"{where} lacks {part}" for part in lacking]
    assert missing == []
