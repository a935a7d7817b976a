"""Types change, the log doesn't: old data is lifted when it is read."""

from typing import Any

import pytest

from gateway import versions
from gateway.event import Event, event
from gateway.store import block


@pytest.fixture(autouse=True)
def _no_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "current", {})
    monkeypatch.setattr(versions, "lifts", {})
    versions.newer.clear()


def written(*types: str, **data: Any) -> block.Row:
    events = [event(type, "a", dict(data), time=n) for n, type in enumerate(types)]
    for n, one in enumerate(events, 1):
        one.offset, one.recorded = n, 5
    return block.encode(events)


def shown(events: list[Event]) -> list[tuple[str, dict[str, Any]]]:
    return [(one.type, one.data) for one in events]


def rename(data: dict[str, Any]) -> dict[str, Any]:
    return {"temperature" if key == "temp" else key: value for key, value in data.items()}


def halve(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "temperature": data["temperature"] / 2}


def test_old_data_is_lifted_and_the_bytes_stay() -> None:
    row = written("reading", "message", temp=8, other="kept")
    before = row.data
    versions.current["reading"] = 3
    versions.lifts["reading", 1] = rename
    versions.lifts["reading", 2] = halve
    assert shown(block.decode(row)) == [
        ("reading", {"temperature": 4, "other": "kept"}),
        ("message", {"temp": 8, "other": "kept"}),
    ]
    assert next(one.body for one in block.decode(row)) == b'{"temperature":4.0,"other":"kept"}'
    assert shown(block.decode(row, 2)) == [("message", {"temp": 8, "other": "kept"})]
    assert row.data == before


def test_versions_stand_in_the_block_and_events_keep_their_bare_type() -> None:
    versions.current["reading"] = 2
    row = written("reading", "message", temperature=8)
    assert b'"reading@2"' in row.data
    assert block.outline(row).types == ["reading", "message"]
    assert shown(block.decode(row)) == [("reading", {"temperature": 8}), ("message", {"temperature": 8})]


def test_what_is_newer_than_we_know_passes_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.current, "reading", 9)
    row = written("reading", x=1)
    monkeypatch.delitem(versions.current, "reading")
    assert shown(block.decode(row)) == [("reading", {"x": 1})]
    assert versions.newer == {"reading@9": 1}


def test_blocks_that_are_merged_keep_the_versions_they_were_written_in() -> None:
    old = block.decode(written("reading", temp=8), as_stored=True)
    versions.current["reading"] = 2
    versions.lifts["reading", 1] = rename
    new = block.decode(written("message", "reading", temperature=9), as_stored=True)
    for one in new:
        one.offset += 1
    merged = block.encode(old + new, as_stored=True)
    assert shown(block.decode(merged)) == [
        ("reading", {"temperature": 8}),
        ("message", {"temperature": 9}),
        ("reading", {"temperature": 9}),
    ]


@pytest.mark.parametrize("name", ["a@b", "a@0", "a@1", "@", "x@", "@2", "é@²"])
def test_an_at_sign_in_a_type_is_no_version(name: str) -> None:
    row = written(name, x=1)
    found = block.decode(row)
    assert [one.data for one in found] == [{"x": 1}]
    assert found[0].type == name


def test_a_block_that_retention_makes_smaller_keeps_its_versions() -> None:
    row = written("reading", "reading", "message", temp=8)
    versions.current["reading"] = 2
    versions.lifts["reading", 1] = rename
    left = block.part(row, block.decode(row)[1:])
    assert b'"temp":8' in left.data
    assert [(one.offset, *shown([one])[0]) for one in block.decode(left)] == [
        (2, "reading", {"temperature": 8}),
        (3, "message", {"temp": 8}),
    ]
