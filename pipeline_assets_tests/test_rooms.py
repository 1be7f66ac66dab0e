"""The rooms of the package, and the one rule: a room imports only rooms that stand before it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pipeline_assets

PACKAGE = "pipeline_assets"
ABOVE_THE_LINE = (
    *("errors", "logs", "core", "documents", "store", "search", "state", "accelerator", "models"),
    *("alerting", "fetch", "healing", "feed", "sample", "settings", "resources"),
)
"""None of these takes `Resources`: what a function of theirs touches is in its signature."""
BELOW_THE_LINE = (
    *("ingest", "stages", "upkeep", "engine", "monitoring", "drill", "assets", "checks"),
    *("automation", "definitions", "commands", "api", "analytics", "serve", "cli"),
)
ORDER = (*ABOVE_THE_LINE, *BELOW_THE_LINE)
RULE = (
    f"a room imports only rooms that stand before it: {', '.join(ORDER)}. "
    "Move the shared part to the lower room, or hand it in"
)


@dataclass(frozen=True)
class Import:
    """That a module imports another one of the package."""

    file: str
    line: int
    module: str
    imported: str

    @property
    def rooms(self) -> tuple[str, str]:
        """The room that it is in, and the room that it reaches into."""
        return self.module.split(".")[1], self.imported.split(".")[1]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.imported}"


def imports(source: str, file: str, module: str, modules: frozenset[str]) -> Iterator[Import]:
    """What a module imports of the package, for types and inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name if name in modules else node.module for name in inside]
        else:
            continue
        for name in dict.fromkeys(named):
            if name.startswith(f"{PACKAGE}."):
                yield Import(file, node.lineno, module, name)


def broken(found: list[Import]) -> list[str]:
    """What breaks the rule, said with the rule."""
    place = {room: at for at, room in enumerate(ORDER)}
    said = []
    for each in found:
        room, other = each.rooms
        if place[other] > place[room]:
            rule = "nothing above `resources` takes Resources" if other == "resources" else RULE
            said.append(f"{each}: {rule}")
    return said


def circle(found: list[Import]) -> list[str]:
    """Modules that import each other in a circle, if some do."""
    graph: dict[str, set[str]] = {}
    for each in found:
        if each.module != each.imported:
            graph.setdefault(each.module, set()).add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def house() -> list[Import]:
    """Every import of the package."""
    root = Path(pipeline_assets.__file__).parent
    files = {
        ".".join((PACKAGE, *path.relative_to(root).with_suffix("").parts)): path
        for path in sorted(root.rglob("*.py"))
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    modules = frozenset(files)
    return [
        each
        for name, path in files.items()
        if name != PACKAGE
        for each in imports(
            path.read_text(encoding="utf-8"), str(path.relative_to(root.parent)), name, modules
        )
    ]


def test_each_room_is_in_the_list() -> None:
    """A new folder or module at the top has its place, and no place is empty."""
    root = Path(pipeline_assets.__file__).parent
    rooms = {path.parent.name for path in root.glob("*/__init__.py")}
    loose = {path.stem for path in root.glob("*.py")} - {"__init__"}
    assert rooms | loose == set(ORDER)


def test_a_room_imports_only_rooms_that_stand_before_it(house: list[Import]) -> None:
    """Also for types alone, and inside functions: whoever reads has to follow those, too."""
    assert not broken(house), "\n".join(broken(house))


def test_no_module_imports_itself_by_a_detour(house: list[Import]) -> None:
    """Within a room neither."""
    assert len(house) > 1000
    assert circle(house) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from pipeline_assets.state.database import State", "imports pipeline_assets.state.data"),
        ("def f():\n    import pipeline_assets.cli", "core/x.py:2 imports pipeline_assets.cli"),
        ("from pipeline_assets.resources import Resources", "nothing above `resources` takes Res"),
    ],
)
def test_what_breaks_the_rule_is_named_with_file_line_and_rule(source: str, said: str) -> None:
    """Whoever broke it need not look for it."""
    found = list(imports(source, "core/x.py", f"{PACKAGE}.core.x", frozenset()))
    [sentence] = broken(found)
    assert said in sentence
    assert "core/x.py:" in sentence


def test_a_circle_is_found() -> None:
    """Of three modules as of two."""
    names = [f"{PACKAGE}.core.{letter}" for letter in "abc"]
    pairs = zip(names, [*names[1:], names[0]], strict=True)
    assert set(circle([Import("x.py", 1, *pair) for pair in pairs])) == set(names)
