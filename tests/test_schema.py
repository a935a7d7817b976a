"""Every event that the program appends has a schema, and is what that says."""

import ast
import asyncio
import json
import re
from pathlib import Path

import pytest

from gateway import schema
from gateway.app import open_gateway
from gateway.cli import main
from gateway.clock import Clock
from gateway.driver import load
from gateway.event import Event, event
from gateway.hub.inlet import Publish, Read
from gateway.settings import Gateway, Listener, Settings

root = Path(__file__).parent.parent
named = re.compile(r"(device|alarm|clock|log|gateway|dlq|command)\.[a-z_]+")
not_types = {"gateway.toml", "gateway.store", "gateway.driver", "gateway.event", "gateway.errors"}


def told_in_the_source() -> set[str]:
    """Types as they stand in the source: first arguments of event() and _happened(), and whatever looks like one."""
    found = set()
    for path in sorted([*(root / "gateway").rglob("*.py"), *(root / "rules").rglob("*.py")]):
        if path.name == "schema.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and named.fullmatch(node.value):
                found.add(node.value)
            if isinstance(node, ast.Call) and node.args:
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                first = node.args[0]
                if (
                    called in ("event", "_happened")
                    and isinstance(first, ast.Constant)
                    and isinstance(first.value, str)
                ):
                    found.add(first.value)
    modules = {".".join(path.with_suffix("").relative_to(root).parts) for path in (root / "gateway").rglob("*.py")}
    packages = {module.rpartition(".")[0] for module in modules}
    return found - modules - packages - not_types


def test_every_type_in_the_source_is_registered() -> None:
    found = told_in_the_source()
    assert {"reading", "rejected", "gap", "device.online", "log.restored", "clock.synced"} <= found
    assert found <= schema.types.keys()


@pytest.mark.parametrize("type", schema.types)
def test_a_type_exports_a_schema_with_a_description(type: str) -> None:
    found = schema.exported(type)
    assert found["type"] == "object"
    assert found["title"] == type
    assert len(found["description"]) > 10
    json.dumps(found)


def test_unknown_types_and_unknown_fields_pass() -> None:
    assert schema.fault(event("my.own", "a", {"x": [1, 2]}, time=1)) is None
    assert schema.fault(event("dlq.dropped", "a", {"offset": 3, "more": True}, time=1)) is None


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("dlq.dropped", {}),
        ("dlq.dropped", {"offset": "3"}),
        ("reading", {"temperature": [1]}),
        ("gap", {"reason": "cap", "count": 1, "ranges": [[1, 2]]}),
        ("alarm.raised", {"alarm": ""}),
    ],
)
def test_what_isnt_as_its_schema_says_is_found(type: str, data: dict[str, object]) -> None:
    assert schema.fault(event(type, "a", data, time=1))


rules = """
[rule.hot]
on = "*"
when = "temperature > 30 °C"
severity = "high"
text = "{device} has {temperature}"
"""


def test_what_a_gateway_appends_is_as_its_schemas_say(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(rules)
    wall = [1_790_000_000 * 10**9]
    clock = Clock(lambda: wall[0], lambda: wall[0] % 10**15, lambda: wall[0] > 0, "boot")
    binding = load("json").config(
        driver="json", topics=["plant/{area}/{device}"], source="{area}/{device}", allow=["cellar/*"]
    )
    own = Gateway(name="g", data=str(tmp_path / "data"), rules=[str(tmp_path / "rules.toml")])

    async def story() -> list[Event]:
        async with open_gateway(
            Settings(gateway=own, listener=[Listener(port=0)], binding=[binding]), clock=clock
        ) as found:
            for topic, payload in (
                ("plant/cellar/air", b'{"temperature": 35, "humidity": 140}'),
                ("plant/cellar/air", b'{"temperature": }'),
                ("plant/attic/air", b'{"temperature": 3}'),
                ("some/topic", b"\xff"),
                ("plant/cellar/air", b'{"temperature": 3}'),
                ("plant/cellar/air", b'{"temperature": 3, "timestamp": 1790009999}'),
            ):
                stored = found.ingest.publish([Read([Publish(topic, payload, 1, True, client="c")])])
                assert stored is not None
                await stored
            wall[0] += 3_600 * 10**9
            found.log.notice_time()
            async with asyncio.timeout(20):
                events: list[Event] = []
                while not any(one.type == "alarm.cleared" for one in events):
                    await asyncio.sleep(0.05)
                    events = await found.log.read(1)
            return events

    events = asyncio.run(story())
    types = {one.type for one in events}
    assert types >= {
        "gateway.started",
        "reading",
        "rejected",
        "message",
        "device.discovered",
        "alarm.raised",
        "alarm.cleared",
    }
    assert types >= {"device.clock_wrong"}
    assert types <= schema.types.keys()
    assert [(one.type, fault) for one in events if (fault := schema.fault(one))] == []


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(schema.types)
    assert main(["schema", "gap"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["from"]["description"] == "time of the first"
    assert main(["schema", "--all"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == schema.types.keys()
    assert main(["schema", "nothing"]) == 2
    assert "there is no type 'nothing'" in capsys.readouterr().err
