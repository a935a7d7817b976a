"""The borders of the house, held over the source's syntax trees."""

import ast
import re
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
sources = sorted(path for package in ("gateway", "drivers", "rules") for path in (root / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("gateway", "drivers", "rules")}


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


drivers = [path for path in sources if path.parts[-2] == "drivers" and path.name != "__init__.py"]


@pytest.mark.parametrize("path", drivers, ids=ids(drivers))
def test_a_driver_imports_from_three_modules_only(path: Path) -> None:
    allowed = ("gateway.driver", "gateway.event", "gateway.errors")
    strangers = {
        name for name in imports(path) if not any(name == one or name.startswith(f"{one}.") for one in allowed)
    }
    assert strangers <= {"gateway"}


core = [path for path in sources if "drivers" not in path.parts]


@pytest.mark.parametrize("path", core, ids=ids(core))
def test_the_core_names_no_driver(path: Path) -> None:
    demo = "demo" in path.parts
    assert demo or not any(name.startswith("drivers.") for name in imports(path))


rules = [path for path in sources if "rules" in path.parts and "cli" not in path.parts]


@pytest.mark.parametrize("path", rules, ids=ids(rules))
def test_rules_never_import_the_store(path: Path) -> None:
    assert not any(
        name.startswith(("gateway.store", "gateway.hub", "gateway.app", "gateway.ingest")) for name in imports(path)
    )


hub = [path for path in sources if "hub" in path.parts]


@pytest.mark.parametrize("path", hub, ids=ids(hub))
def test_the_hub_knows_nothing_of_the_log(path: Path) -> None:
    assert not any(
        name.startswith(("gateway.store", "gateway.ingest", "gateway.app", "rules")) for name in imports(path)
    )


def test_the_map_of_the_hub_names_every_file() -> None:
    (front,) = (path for path in hub if path.name == "__init__.py" and path.parts[-2] == "hub")
    named = set(re.findall(r"\w+", front.read_text()))
    assert {path.stem for path in hub if path.parts[-2] == "hub"} - {"__init__"} <= named


def test_app_is_the_one_place_that_knows_everyone() -> None:
    knowing = {
        str(path.relative_to(root))
        for path in sources
        if {"gateway.hub.listener", "gateway.store.log", "gateway.ingest"} <= imports(path)
    }
    assert knowing == {"gateway/app.py"}


def test_one_place_catches_everything() -> None:
    catching = {
        str(path.relative_to(root))
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception"
    }
    assert catching <= {"gateway/supervise.py"}


def test_nobody_evaluates_text() -> None:
    calling = {
        str(path.relative_to(root))
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
    }
    assert calling <= {"rules/compile.py"}  # which compiles the tree it has checked


def test_clocks_are_read_in_one_place() -> None:
    reading = {
        str(path.relative_to(root))
        for path in sources
        if "cli" not in path.parts and "demo" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("time", "time"), ("time", "time_ns"), ("datetime", "now")}
    }
    assert reading <= {"gateway/clock.py"}


def test_no_test_imports_from_another() -> None:
    """What they share has a file of its own, whose name says what it is. (Those of faults/ hand each other victims.)"""
    guilty = {
        str(path.relative_to(root))
        for path in (root / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    }
    assert {path for path in guilty if not path.startswith("tests/faults/")} == set()
